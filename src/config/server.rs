//! `[server]` and `[servers.NAME]`.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use url::Url;

use super::{
    ClientCertificate, Context, Influxctl, Login, ServerConfig, Via,
    address::{address, cluster_address},
    bounds::{self, duration},
    fault::{Faults, Shown},
    influxctl::{by_a_person, via},
    path::path,
    tree::{At, Section, neither},
};
use crate::model::{ClusterIds, NotUuid, Product, ServerKey, ServerName, Uuid};

/// The longest name of a server.
const MAX_NAME: usize = 64;
/// For one request, where the list does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Where the clusters of Cloud Dedicated are managed.
const CONSOLE: &str = "https://console.influxdata.com";

pub(super) fn servers(
    root: &mut Section<'_, '_>,
    context: &Context,
    faults: &mut Faults<'_>,
) -> BTreeMap<ServerName, Option<ServerConfig>> {
    let mut servers = BTreeMap::new();
    let mut keys = Vec::new();
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
            let address = section.span_of("url");
            let server = server(section, context, faults);
            keys.extend(server.iter().map(|server| (address.clone(), name.value, server.key())));
            servers.insert(ServerName(name.value.to_owned()), server);
        }
    }
    refuse_equal(keys, faults);
    servers
}

/// Tokens are known by the server they live on: two names for one would take each other's for lost.
fn refuse_equal(mut keys: Vec<(Range<usize>, &str, ServerKey)>, faults: &mut Faults<'_>) {
    keys.sort_by_key(|(at, ..)| at.start);
    let mut places = faults.places();
    let mut first = BTreeMap::new();
    for (at, name, key) in keys {
        let (line, _) = places.at(at.start);
        let Some((line, other)) = first.get(&key) else {
            first.insert(key, (line, name));
            continue;
        };
        let what = format!(
            "the same server as [servers.{other}], line {line}: product, address and cluster are equal"
        );
        let hint = format!("leave one of them out, and name the other one in its tokens: server = {other:?}");
        faults.add_with_hint(at, &format!("[servers.{name}]"), what, hint);
    }
}

/// `None` where something that it cannot do without is missing or wrong, and said.
fn server(mut section: Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> Option<ServerConfig> {
    let product = product(&mut section, faults);
    let cluster = cluster_ids(&mut section, product, faults);
    let plain = section.boolean("allow_plain_http", faults).unwrap_or(false);
    let url = url_or_default(&mut section, product, plain, faults);
    let data_url = cluster_address(&mut section, "data_url", plain, faults);
    let via = via(&mut section, plain, context, faults);
    let ca_file = path(&mut section, "ca_file", context, faults);
    let client_certificate = client_certificate(&mut section, context, faults);
    let insecure_skip_verify = section.boolean("insecure_skip_verify", faults).unwrap_or(false);
    let proxy = address(&mut section, "proxy", true, faults);
    let timeout = duration(&mut section, &bounds::TIMEOUT, faults).map_or(TIMEOUT, |at| at.value);
    let at = section.span_of("url");
    if let (Some(Product::Clustered), Some(url), Some(Via::Influxctl(Influxctl { login, .. }))) =
        (product, &url, &via)
        && matches!(login, Login::ManagementToken(_))
        && url.path() != "/"
    {
        let what = format!("influxctl takes host and port alone, found the path {}", Shown(url.path()));
        let hint = "remove via = \"influxctl\", or name a profile for this address: influxctl = { config = \"PATH\" }";
        faults.add_with_hint(at, &section.key("url"), what, hint);
    }
    section.finish(faults);
    let (product, url) = (product?, url?);
    let cluster = match product {
        Product::Clustered => None,
        Product::Dedicated => Some(cluster?),
    };
    let data_url = data_url.or_else(|| data_host(cluster.as_ref())).unwrap_or_else(|| url.clone());
    Some(ServerConfig {
        product,
        cluster,
        data_url,
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
        "dedicated" => return Some(Product::Dedicated),
        "v2" | "v3" | "v1" => {
            let what = format!(
                "{value:?} is not supported by this version, only \"clustered\" and \"dedicated\" are"
            );
            faults.add(span, &key, what);
        }
        _ => neither(At { value, span }, &key, ["clustered", "dedicated"], faults),
    }
    None
}

pub(super) fn missing(section: &Section<'_, '_>, key: &str, faults: &mut Faults<'_>) {
    faults.add(section.span.clone(), section.path(), format!("needs {key:?}"));
}

/// `account` and `cluster`, of Cloud Dedicated and of nothing else.
fn cluster_ids(
    section: &mut Section<'_, '_>,
    product: Option<Product>,
    faults: &mut Faults<'_>,
) -> Option<ClusterIds> {
    let [account, cluster] = ["account", "cluster"].map(|key| match product {
        Some(Product::Dedicated) => required_id(section, key, faults),
        Some(Product::Clustered) => {
            if let Some(value) = section.get(key) {
                let hint = "leave it out, or write product = \"dedicated\" if it is Cloud Dedicated";
                let what = "is of Cloud Dedicated, not of Clustered";
                faults.add_with_hint(value.span(), &section.key(key), what, hint);
            }
            None
        }
        // What is wrong with the product is told; this may be as it should.
        None => section.get(key).and(None),
    });
    Some(ClusterIds { account: account?, cluster: cluster? })
}

/// How a person's influxctl is run for a server of Cloud Dedicated, where its ids are not all there.
pub(super) fn unidentified(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Influxctl> {
    let product = product(&mut section, faults)?;
    let is_known =
        product != Product::Dedicated || cluster_ids(&mut section, Some(product), faults).is_some();
    (!is_known).then(|| by_a_person(&mut section, faults))
}

fn required_id(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<Uuid> {
    let hint = format!("`influxctl cluster list --format json` shows it, as {key}_id");
    let Some(At { value, span }) = section.string(key, faults) else {
        if section.get(key).is_none() {
            faults.add_with_hint(section.span.clone(), section.path(), format!("needs {key:?}"), hint);
        }
        return None;
    };
    let failed = |error: NotUuid| {
        faults.add_with_hint(span, &section.key(key), format!("{error}, found {}", Shown(value)), hint);
    };
    value.parse().map_err(failed).ok()
}

/// What manages the clusters of Cloud Dedicated has one address; of Clustered, each cluster has its own.
fn url_or_default(
    section: &mut Section<'_, '_>,
    product: Option<Product>,
    plain: bool,
    faults: &mut Faults<'_>,
) -> Option<Url> {
    let url = cluster_address(section, "url", plain, faults);
    if url.is_some() || section.get("url").is_some() {
        return url;
    }
    if product == Some(Product::Dedicated) {
        return Url::parse(CONSOLE).ok();
    }
    missing(section, "url", faults);
    None
}

/// Where the data of a cluster of Cloud Dedicated is written and queried.
fn data_host(cluster: Option<&ClusterIds>) -> Option<Url> {
    Url::parse(&format!("https://{}.a.influxdb.io", cluster?.cluster)).ok()
}

fn client_certificate(
    section: &mut Section<'_, '_>,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<ClientCertificate> {
    let pair = ["client_certificate", "client_key"];
    let [certificate, key] = pair.map(|key| path(section, key, context, faults));
    for [one, other] in [pair, [pair[1], pair[0]]] {
        if section.get(one).is_some() && section.get(other).is_none() {
            faults.add(section.span_of(one), section.path(), format!("needs {other:?} too"));
        }
    }
    Some(ClientCertificate { certificate: certificate?, key: key? })
}
