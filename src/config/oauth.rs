//! `management_token` of a server: kept somewhere, or issued by an identity provider.

use std::collections::BTreeSet;

use super::{
    Context, ManagementToken, OAuthAuthentication, OAuthClient,
    address::address,
    fault::{Faults, Shown},
    path::path,
    server::missing,
    source::source,
    tree::{At, Section, neither},
};

/// What is sent anyway, and has a key of its own or none.
const OWN_PARAMETERS: [&str; 5] = ["grant_type", "client_id", "client_secret", "scope", "audience"];
/// The most parameters, and the longest of their names and values, in bytes.
const MAX_PARAMETERS: usize = 32;
const MAX_PARAMETER: usize = 1024;

/// `None` where there is none, or something is wrong with it, and said.
pub(super) fn management_token(
    section: &mut Section<'_, '_>,
    plain: bool,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<ManagementToken> {
    const KEY: &str = "management_token";
    let value = section.get(KEY)?;
    let oauth = value.get_ref().as_table().filter(|table| table.contains_key("oauth"));
    let Some(table) = oauth else {
        return source(section, KEY, context, faults).map(ManagementToken::Kept);
    };
    let mut table = Section::new(table, section.key(KEY), value.span());
    let oauth = table.section("oauth", faults);
    table.finish(faults);
    Some(ManagementToken::Issued(Box::new(client(oauth?, plain, context, faults)?)))
}

fn client(
    mut section: Section<'_, '_>,
    plain: bool,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<OAuthClient> {
    let token_url = address(&mut section, "token_url", plain, faults);
    let id = text(&mut section, "client_id", faults);
    let secret = source(&mut section, "client_secret", context, faults);
    for required in ["token_url", "client_id", "client_secret"] {
        if section.get(required).is_none() {
            missing(&section, required, faults);
        }
    }
    let authentication = authentication(&mut section, faults);
    let parameters = parameters(&mut section, faults);
    let ca_file = path(&mut section, "ca_file", context, faults);
    let proxy = address(&mut section, "proxy", true, faults);
    section.finish(faults);
    Some(OAuthClient {
        token_url: token_url?,
        id: id?,
        secret: secret?,
        authentication: authentication?,
        parameters,
        ca_file,
        proxy,
    })
}

fn authentication(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<OAuthAuthentication> {
    if section.get("authentication").is_none() {
        return Some(OAuthAuthentication::Basic);
    }
    match section.string("authentication", faults)? {
        At { value: "basic", .. } => Some(OAuthAuthentication::Basic),
        At { value: "post", .. } => Some(OAuthAuthentication::Post),
        other => {
            neither(other, &section.key("authentication"), ["basic", "post"], faults);
            None
        }
    }
}

/// `scopes`, `audience` and `parameters`, as they are sent.
fn parameters(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    if let Some(At { value: scopes, .. }) = section.strings("scopes", faults) {
        parameters.extend(scope(section, &scopes, faults));
    }
    parameters.extend(text(section, "audience", faults).map(|value| ("audience".to_owned(), value)));
    if let Some(others) = section.section("parameters", faults) {
        parameters.extend(others_of(&others, faults));
    }
    parameters
}

/// Scopes are sent as one, with a space between any two (RFC 6749, 3.3).
fn scope(
    section: &Section<'_, '_>,
    scopes: &[At<&str>],
    faults: &mut Faults<'_>,
) -> Option<(String, String)> {
    let is_scope = |c: u8| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\');
    for At { value, span } in scopes {
        if value.is_empty() || value.len() > MAX_PARAMETER || !value.bytes().all(is_scope) {
            let what = format!("expected one scope in each string, found {}", Shown(value));
            faults.add(span.clone(), &section.key("scopes"), what);
        }
    }
    let scopes: BTreeSet<&str> = scopes.iter().map(|scope| scope.value).collect();
    let scope = scopes.into_iter().collect::<Vec<_>>().join(" ");
    (!scope.is_empty()).then(|| ("scope".to_owned(), scope))
}

/// What this provider wants beside.
fn others_of(section: &Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<(String, String)> {
    let entries = section.texts(faults);
    if entries.len() > MAX_PARAMETERS {
        faults.add(
            section.span.clone(),
            section.path(),
            format!("expected at most {MAX_PARAMETERS} parameters"),
        );
    }
    for (name, value) in &entries {
        if OWN_PARAMETERS.contains(&name.value) {
            let what = format!("{:?} may not stand here", name.value);
            let hint = "beside `parameters` stand client_id, client_secret, scopes and audience";
            faults.add_with_hint(name.span.clone(), section.path(), what, hint);
            continue;
        }
        check(name, section.path(), faults);
        check(value, &section.key(name.value), faults);
    }
    let parameter = |(name, value): (At<&str>, At<&str>)| (name.value.to_owned(), value.value.to_owned());
    entries.into_iter().map(parameter).collect()
}

fn text(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<String> {
    let at = section.string(key, faults)?;
    check(&at, &section.key(key), faults).then(|| at.value.to_owned())
}

/// Something printable of some length.
fn check(At { value, span }: &At<&str>, key: &str, faults: &mut Faults<'_>) -> bool {
    let is_text = !value.is_empty() && value.len() <= MAX_PARAMETER && !value.contains(char::is_control);
    if !is_text {
        let what =
            format!("expected 1 to {MAX_PARAMETER} bytes without control characters, found {}", Shown(value));
        faults.add(span.clone(), key, what);
    }
    is_text
}
