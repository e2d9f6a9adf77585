//! `management_token` of a server.

use super::{
    context::ListContext,
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
    section: &mut Section<'_>,
    plain: bool,
    context: &ListContext,
) -> Option<ManagementTokenConfig> {
    const KEY: &str = "management_token";
    let value = section.get(KEY)?;
    let oauth = value.get_ref().as_table().filter(|table| table.contains_key("oauth"));
    if oauth.is_none() {
        return source(section, KEY, context).map(ManagementTokenConfig::Source);
    }
    let mut table = section.section(KEY)?;
    let oauth = table.section("oauth");
    table.finish();
    Some(ManagementTokenConfig::OAuth(Box::new(client(oauth?, plain, context)?)))
}
