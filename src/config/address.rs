//! Addresses.

use url::{Host, Url};

use super::section::{Located, Section};

#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressKind {
    /// Requests go to paths below it.
    Base,
    /// Requests go to it.
    Endpoint,
}

/// What is wrong with an address, and what to write instead.
struct InvalidAddress {
    what: &'static str,
    hint: Option<String>,
}

/// The address of a cluster, or of what manages it: without the path of its API, and without slashes at its end.
pub(super) fn cluster_address(section: &mut Section<'_>, key: &'static str, plain: bool) -> Option<Url> {
    let mut url = read(section, key, AddressKind::Base, plain)?;
    trim(&mut url);
    Some(url)
}

/// Any other one. `plain`: `http://` is allowed.
pub(super) fn address(section: &mut Section<'_>, key: &'static str, plain: bool) -> Option<Url> {
    read(section, key, AddressKind::Endpoint, plain)
}

fn read(section: &mut Section<'_>, key: &'static str, kind: AddressKind, plain: bool) -> Option<Url> {
    let Located { value, span } = section.string(key)?;
    let fault = |InvalidAddress { what, hint }| section.faults.push(span, &section.key(key), what, hint);
    checked(value, kind, plain).map_err(fault).ok()
}

fn checked(text: &str, kind: AddressKind, plain: bool) -> Result<Url, InvalidAddress> {
    let invalid = |what, hint: String| Err(InvalidAddress { what, hint: Some(hint) });
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        Ok(_) | Err(_) => return Err(not_an_address(text)),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let what = "do not put a secret in an address: anyone with the list or a backup would have it";
        return invalid(what, "remove user and password from the address".to_owned());
    }
    let instead = || format!("write \"{}\"", bare(&url, kind));
    if url.query().is_some() || url.fragment().is_some() {
        return invalid("expected an address without '?' and '#'", instead());
    }
    if kind == AddressKind::Base && api(&url).is_some() {
        return invalid("expected the address of the cluster, found a path of its API", instead());
    }
    if url.scheme() == "http" && !plain && !is_loopback(&url) {
        let what = "http:// would send the management token unencrypted over the network";
        return invalid(
            what,
            "use https://, or set allow_plain_http = true where the network is safe".to_owned(),
        );
    }
    Ok(url)
}

/// It may have a password: it is not quoted, but for the part that is an address.
fn not_an_address(text: &str) -> InvalidAddress {
    let zone = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    if zone.is_some_and(|(host, _)| host.contains('%')) {
        return InvalidAddress {
            what: "an address with a zone ('%') is not supported",
            hint: Some("write a host name, or an address without a zone".to_owned()),
        };
    }
    let rest = text.split_once("://").map_or(text.trim_start_matches('/'), |(_, rest)| rest);
    let meant = Url::parse(&format!("https://{}", rest.trim())).ok();
    // One word may be anything, a secret too.
    let is_like_a_host = rest.contains(['.', ':']) && !rest.contains('@') && !rest.starts_with('/');
    let meant = meant.filter(|_| is_like_a_host);
    InvalidAddress {
        what: "expected an address such as \"https://cluster.example.com\"",
        hint: meant.map(|url| format!("write \"{}\"", bare(&url, AddressKind::Base))),
    }
}

/// The address alone.
fn bare(url: &Url, kind: AddressKind) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if kind == AddressKind::Base
        && let Some(path) = api(&url).map(str::to_owned)
    {
        url.set_path(&path);
    }
    trim(&mut url);
    url.as_str().trim_end_matches('/').to_owned()
}

fn trim(url: &mut Url) {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
}

/// What lies before the path of InfluxDB's API, `/api/v0` and the like, if that is part of an address.
fn api(url: &Url) -> Option<&str> {
    let path = url.path();
    let is_api = |at: &usize| {
        let version = path[*at..].strip_prefix("/api/v").unwrap_or_default();
        let digits = version.trim_start_matches(|c: char| c.is_ascii_digit());
        digits.len() < version.len() && (digits.is_empty() || digits.starts_with('/'))
    };
    path.match_indices("/api/v").map(|(at, _)| at).find(is_api).map(|at| &path[..at])
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
