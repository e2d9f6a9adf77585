//! `oauth = { … }`: a client of an identity provider that issues management tokens.

use std::{collections::BTreeSet, path::PathBuf};

use url::Url;

use super::{
    address::address,
    context::ListContext,
    excerpt::Excerpt,
    path::path,
    section::{Located, Section},
    source::{TokenSource, source},
};

/// `oauth = { … }`: who asks an identity provider for management tokens (client credentials, RFC 6749, 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthClient {
    /// The provider's token endpoint.
    pub token_url: Url,
    /// The name it knows us by.
    pub id: String,
    /// Where what proves it is kept.
    pub secret: TokenSource,
    /// How both are sent.
    pub authentication: OAuthAuthentication,
    /// Other parameters, in the order they are sent: `scope`, `audience`, and those of this provider.
    pub parameters: Vec<(String, String)>,
    /// PEM file with the certificates that may have signed the provider's, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The only proxy that is used on the way to it.
    pub proxy: Option<Url>,
}

/// How a client proves to an identity provider who it is (RFC 6749, 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthAuthentication {
    /// In the header `Authorization: Basic`, which every provider has to take.
    Basic,
    /// In the body.
    Post,
}

/// Parameters that are sent anyway: they have keys of their own, or none.
const OWN_PARAMETERS: [&str; 5] = ["grant_type", "client_id", "client_secret", "scope", "audience"];
/// The most parameters, and the longest of their names and values, in bytes.
const MAX_PARAMETERS: usize = 32;
const MAX_PARAMETER: usize = 1024;

/// `None` where a key is missing or wrong, which is a fault.
pub(super) fn client(mut section: Section<'_>, plain: bool, context: &ListContext) -> Option<OAuthClient> {
    let token_url = address(&mut section, "token_url", plain);
    let id = text(&mut section, "client_id");
    let secret = source(&mut section, "client_secret", context);
    for required in ["token_url", "client_id", "client_secret"] {
        section.require(required);
    }
    let ways = [("basic", OAuthAuthentication::Basic), ("post", OAuthAuthentication::Post)];
    let authentication = section.choice("authentication", &ways);
    let parameters = parameters(&mut section);
    let ca_file = path(&mut section, "ca_file", context);
    let proxy = address(&mut section, "proxy", true);
    section.finish();
    Some(OAuthClient {
        token_url: token_url?,
        id: id?,
        secret: secret?,
        authentication: authentication.unwrap_or(OAuthAuthentication::Basic),
        parameters,
        ca_file,
        proxy,
    })
}

/// `scopes`, `audience` and `parameters`, as they are sent.
fn parameters(section: &mut Section<'_>) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    if let Some(Located { value: scopes, .. }) = section.strings("scopes") {
        parameters.extend(scope(section, &scopes));
    }
    parameters.extend(text(section, "audience").map(|value| ("audience".to_owned(), value)));
    if let Some(others) = section.section("parameters") {
        parameters.extend(other_parameters(&others));
    }
    parameters
}

/// Scopes are sent as one, with a space between any two (RFC 6749, 3.3).
fn scope(section: &Section<'_>, scopes: &[Located<&str>]) -> Option<(String, String)> {
    let is_scope = |c: u8| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\');
    for Located { value, span } in scopes {
        if value.is_empty() || value.len() > MAX_PARAMETER || !value.bytes().all(is_scope) {
            let what = format!("expected one scope in each string, found {}", Excerpt(value));
            section.faults.add(span.clone(), &section.key("scopes"), what);
        }
    }
    let scopes: BTreeSet<&str> = scopes.iter().map(|scope| scope.value).collect();
    let scope = scopes.into_iter().collect::<Vec<_>>().join(" ");
    (!scope.is_empty()).then(|| ("scope".to_owned(), scope))
}

/// What this provider expects besides.
fn other_parameters(section: &Section<'_>) -> Vec<(String, String)> {
    let entries = section.texts();
    if entries.len() > MAX_PARAMETERS {
        let what = format!("expected at most {MAX_PARAMETERS} parameters");
        section.faults.add(section.span.clone(), section.path(), what);
    }
    for (name, value) in &entries {
        if OWN_PARAMETERS.contains(&name.value) {
            let what = format!("{:?} cannot be set here", name.value);
            let hint = "set client_id, client_secret, scopes and audience beside parameters";
            section.faults.add_with_hint(name.span.clone(), section.path(), what, hint);
            continue;
        }
        check(name, section.path(), section);
        check(value, &section.key(name.value), section);
    }
    let parameter =
        |(name, value): (Located<&str>, Located<&str>)| (name.value.to_owned(), value.value.to_owned());
    entries.into_iter().map(parameter).collect()
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let at = section.string(key)?;
    check(&at, &section.key(key), section).then(|| at.value.to_owned())
}

/// Something printable of some length.
fn check(Located { value, span }: &Located<&str>, key: &str, section: &Section<'_>) -> bool {
    let is_text = !value.is_empty() && value.len() <= MAX_PARAMETER && !value.contains(char::is_control);
    if !is_text {
        let what = format!(
            "expected 1 to {MAX_PARAMETER} bytes without control characters, found {}",
            Excerpt(value)
        );
        section.faults.add(span.clone(), key, what);
    }
    is_text
}
