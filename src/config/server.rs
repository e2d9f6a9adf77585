//! `[server]` and `[servers.NAME]`.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, time::Duration};

use url::{Host, Url};

use super::{
    ClientCertificate, Context, ServerConfig,
    fault::{Faults, Shown},
    influxctl::via,
    list::duration,
    tree::{At, Section, nearest},
};
use crate::model::{Product, ServerName};

/// The longest name of a server.
const MAX_NAME: usize = 64;
/// For one request, where the list does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn servers(
    root: &mut Section<'_, '_>,
    context: &Context,
    faults: &mut Faults<'_>,
) -> BTreeMap<ServerName, Option<ServerConfig>> {
    let mut servers = BTreeMap::new();
    let single = root.section("server", faults);
    let several = root.section("servers", faults);
    if let (Some(single), Some(_)) = (&single, &several) {
        let what = "[server] and [servers.NAME] exclude each other";
        faults.add_with_hint(single.span.clone(), "[server]", what, "call it [servers.NAME] too");
    }
    if let Some(section) = single {
        servers.insert(ServerName(ServerName::DEFAULT.to_owned()), server(section, context, faults));
    }
    if let Some(sections) = several {
        for (name, section) in sections.named(faults) {
            let valid = name.value.len() <= MAX_NAME
                && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            if !valid {
                let what =
                    format!("server name {}: expected letters, digits, '_', '-' and '.'", Shown(name.value));
                faults.add(name.span, section.path(), what);
            }
            servers.insert(ServerName(name.value.to_owned()), server(section, context, faults));
        }
    }
    servers
}

/// `None` where something that it cannot do without is missing or wrong, and said.
fn server(mut section: Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> Option<ServerConfig> {
    let product = product(&mut section, faults);
    let plain = section.boolean("allow_plain_http", faults).unwrap_or(false);
    let url = required_url(&mut section, "url", plain, faults);
    let data_url = url_of(&mut section, "data_url", plain, faults);
    let via = via(&mut section, context, faults);
    let ca_file = section.string("ca_file", faults).map(|at| PathBuf::from(at.value));
    let client_certificate = client_certificate(&mut section, faults);
    let insecure_skip_verify = section.boolean("insecure_skip_verify", faults).unwrap_or(false);
    let proxy = url_of(&mut section, "proxy", true, faults);
    let timeout = duration(&mut section, "timeout", false, faults).map_or(TIMEOUT, |at| at.value);
    section.finish(faults);
    let url = url?;
    Some(ServerConfig {
        product: product?,
        data_url: data_url.unwrap_or_else(|| url.clone()),
        url,
        via: via?,
        ca_file,
        client_certificate,
        insecure_skip_verify,
        proxy,
        timeout,
    })
}

fn product(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Product> {
    let Some(At { value, span }) = section.string("product", faults) else {
        if section.get("product").is_none() {
            missing(section, "product", faults);
        }
        return None;
    };
    let key = section.key("product");
    match value {
        "clustered" => return Some(Product::Clustered),
        "dedicated" | "v2" | "v3" | "v1" => {
            faults.add(
                span,
                &key,
                format!("{value:?} is not supported by this version, only \"clustered\" is"),
            );
        }
        other => {
            let what = format!("expected \"clustered\", found {}", Shown(other));
            match nearest(other, std::iter::once("clustered")) {
                Some(near) => faults.add_with_hint(span, &key, what, format!("did you mean {near:?}?")),
                None => faults.add(span, &key, what),
            }
        }
    }
    None
}

pub(super) fn missing(section: &Section<'_, '_>, key: &str, faults: &mut Faults<'_>) {
    faults.add(section.span.clone(), section.path(), format!("needs {key:?}"));
}

fn required_url(
    section: &mut Section<'_, '_>,
    key: &'static str,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    let url = url_of(section, key, plain, faults);
    if url.is_none() && section.get(key).is_none() {
        missing(section, key, faults);
    }
    url
}

fn url_of(
    section: &mut Section<'_, '_>,
    key: &'static str,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    let At { value, span } = section.string(key, faults)?;
    let key = section.key(key);
    let url = match Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        // A password may stand in it: it is not shown.
        Ok(_) | Err(_) => {
            faults.add(span, &key, "expected an address such as \"https://cluster.example.com\"");
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        let what = "a secret may not stand in the list, nor in an address";
        faults.add_with_hint(span, &key, what, "leave user and password out of the address");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        faults.add(span, &key, "expected an address without '?' and '#'");
        return None;
    }
    if url.scheme() == "http" && !plain && !is_loopback(&url) {
        let what = "http:// would send the management token in clear over the network";
        faults.add_with_hint(
            span,
            &key,
            what,
            "use https://, or set allow_plain_http = true where the way is safe otherwise",
        );
        return None;
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn client_certificate(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<ClientCertificate> {
    let certificate = section.string("client_certificate", faults);
    let key = section.string("client_key", faults);
    let alone = |at: At<&str>, other: &str, faults: &mut Faults<'_>| {
        let span: Range<usize> = at.span;
        faults.add(span, section.path(), format!("needs {other:?} too"));
        None
    };
    match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(ClientCertificate {
            certificate: PathBuf::from(certificate.value),
            key: PathBuf::from(key.value),
        }),
        (Some(certificate), None) => alone(certificate, "client_key", faults),
        (None, Some(key)) => alone(key, "client_certificate", faults),
    }
}
