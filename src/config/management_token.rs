//! `management_token` of a server.

use super::{
    context::ListContext,
    faults::Faults,
    oauth::{OAuthClient, client},
    section::Section,
    source::{TokenSource, source},
};

/// `management_token = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagementTokenConfig {
    /// A person made it, and keeps it there.
    Source(TokenSource),
    /// An identity provider issues one for a while, again and again.
    OAuth(Box<OAuthClient>),
}

/// `None` where the key is missing, or something is wrong with it, which is a fault.
pub(super) fn management_token(
    section: &mut Section<'_, '_>,
    plain: bool,
    context: &ListContext,
    faults: &mut Faults<'_>,
) -> Option<ManagementTokenConfig> {
    const KEY: &str = "management_token";
    let value = section.get(KEY)?;
    let oauth = value.get_ref().as_table().filter(|table| table.contains_key("oauth"));
    let Some(table) = oauth else {
        return source(section, KEY, context, faults).map(ManagementTokenConfig::Source);
    };
    let mut table = Section::new(table, section.key(KEY), value.span());
    let oauth = table.section("oauth", faults);
    table.finish(faults);
    Some(ManagementTokenConfig::OAuth(Box::new(client(oauth?, plain, context, faults)?)))
}
