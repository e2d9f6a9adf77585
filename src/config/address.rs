//! Addresses.

use url::{Host, Url};

use super::{
    fault::Faults,
    tree::{At, Section},
};

/// What is asked for at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    /// Paths below it.
    ToACluster,
    /// Itself.
    Anywhere,
}

/// An address that is refused, and what to write instead.
struct Refused {
    what: &'static str,
    hint: Option<String>,
}

/// The address of a cluster, or of what manages it: without the path of its API, and without slashes at its end.
pub(super) fn cluster_address(
    section: &mut Section<'_, '_>,
    key: &'static str,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    let mut url = read(section, key, Leads::ToACluster, plain, faults)?;
    trim(&mut url);
    Some(url)
}

/// Any other one. `plain`: `http://` will do.
pub(super) fn address(
    section: &mut Section<'_, '_>,
    key: &'static str,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    read(section, key, Leads::Anywhere, plain, faults)
}

fn read(
    section: &mut Section<'_, '_>,
    key: &'static str,
    leads: Leads,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    let At { value, span } = section.string(key, faults)?;
    match checked(value, leads, plain) {
        Ok(url) => Some(url),
        Err(Refused { what, hint: Some(hint) }) => {
            faults.add_with_hint(span, &section.key(key), what, hint);
            None
        }
        Err(Refused { what, hint: None }) => {
            faults.add(span, &section.key(key), what);
            None
        }
    }
}

fn checked(text: &str, leads: Leads, plain: bool) -> Result<Url, Refused> {
    let refused = |what, hint: String| Err(Refused { what, hint: Some(hint) });
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        Ok(_) | Err(_) => return Err(no_address(text)),
    };
    if !url.username().is_empty() || url.password().is_some() {
        let what = "a secret may not stand in the list, nor in an address";
        return refused(what, "leave user and password out of the address".to_owned());
    }
    let instead = || format!("write \"{}\"", bare(&url, leads));
    if url.query().is_some() || url.fragment().is_some() {
        return refused("expected an address without '?' and '#'", instead());
    }
    if leads == Leads::ToACluster && api(&url).is_some() {
        return refused("expected the address of the cluster alone, found a path of its API", instead());
    }
    if url.scheme() == "http" && !plain && !is_loopback(&url) {
        let what = "http:// would send the management token in clear over the network";
        return refused(
            what,
            "use https://, or set allow_plain_http = true where the way is safe otherwise".to_owned(),
        );
    }
    Ok(url)
}

/// A password may stand in it: it is not shown, but for what is left of it as an address.
fn no_address(text: &str) -> Refused {
    let zone = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    if zone.is_some_and(|(host, _)| host.contains('%')) {
        return Refused {
            what: "an address with a zone ('%') is not supported",
            hint: Some("write a host name, or an address that needs no zone".to_owned()),
        };
    }
    let rest = text.split_once("://").map_or(text.trim_start_matches('/'), |(_, rest)| rest);
    let meant = Url::parse(&format!("https://{}", rest.trim())).ok();
    // One word may be anything, a secret too.
    let is_like_a_host = rest.contains(['.', ':']) && !rest.contains('@') && !rest.starts_with('/');
    let meant = meant.filter(|_| is_like_a_host);
    Refused {
        what: "expected an address such as \"https://cluster.example.com\"",
        hint: meant.map(|url| format!("write \"{}\"", bare(&url, Leads::ToACluster))),
    }
}

/// The address alone.
fn bare(url: &Url, leads: Leads) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    if leads == Leads::ToACluster
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
