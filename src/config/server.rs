//! `[server]` and `[servers.NAME]`.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, time::Duration};

use url::Url;

use super::{
    address::{address, cluster_address},
    bounds::{self, duration},
    context::ListContext,
    excerpt::Excerpt,
    faults::Faults,
    influxctl::{InfluxctlConfig, Login, influxctl},
    management_token::ManagementTokenConfig,
    path::path,
    section::{Located, Section},
    source::TokenSource,
    via::{Via, via},
};
use crate::model::{Address, ClusterIds, NotUuid, Product, ServerKey, ServerName, Uuid};

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Its kind.
    pub product: Product,
    /// Which one, where one address manages several: of Cloud Dedicated.
    pub cluster: Option<ClusterIds>,
    /// Where tokens are managed.
    pub url: Url,
    /// Where data is written and queried.
    pub data_url: Url,
    /// How tokens are managed there.
    pub via: Via,
    /// PEM file with the certificates that may have signed the server's, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with our certificate and its key.
    pub client_certificate: Option<ClientCertificate>,
    /// The certificate of the server is not checked.
    pub insecure_skip_verify: bool,
    /// The only proxy that is ever used.
    pub proxy: Option<Url>,
    /// For one request, connection included.
    pub timeout: Duration,
}

impl ServerConfig {
    /// The key of this server in records.
    #[must_use]
    pub fn key(&self) -> ServerKey {
        // Below each path of a gateway may be another cluster.
        let path = self.url.path().trim_end_matches('/');
        let origin = format!("{}{}", self.url.origin().ascii_serialization(), path);
        let cluster = self.cluster.as_ref().map(ToString::to_string);
        ServerKey { cluster, ..ServerKey::new(self.product, origin) }
    }

    /// Where the secret is kept that this process logs in with, if any: the management token, or the client secret that
    /// gets one.
    #[must_use]
    pub fn secret(&self) -> Option<&TokenSource> {
        match &self.via {
            Via::Http(ManagementTokenConfig::Source(token))
            | Via::Influxctl(InfluxctlConfig { login: Login::ManagementToken(token), .. }) => Some(token),
            Via::Http(ManagementTokenConfig::OAuth(client)) => Some(&client.secret),
            Via::Influxctl(_) => None,
        }
    }
}

/// A certificate to show to the server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM file, the leaf first.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
}

/// The longest name of a server.
const MAX_NAME: usize = 64;
/// For one request, where the list does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn servers(
    root: &mut Section<'_>,
    context: &ListContext,
) -> BTreeMap<ServerName, Option<ServerConfig>> {
    let mut servers = BTreeMap::new();
    let mut keys = Vec::new();
    let single = root.section("server");
    let several = root.section("servers");
    if let (Some(single), Some(_)) = (&single, &several) {
        let what = "[server] and [servers.NAME] exclude each other";
        root.faults.add_with_hint(single.span.clone(), "[server]", what, "rename [server] to [servers.NAME]");
    }
    if let Some(section) = single {
        servers.insert(ServerName(ServerName::DEFAULT.to_owned()), server(section, context));
    }
    if let Some(sections) = several {
        for (name, section) in sections.tables() {
            let valid = name.value.len() <= MAX_NAME
                && name.value.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            if !valid {
                let what = format!(
                    "server name {}: expected letters, digits, '_', '-' and '.'",
                    Excerpt(name.value)
                );
                section.faults.add(name.span, section.path(), what);
            }
            let address = section.span_of("url");
            let server = server(section, context);
            keys.extend(server.iter().map(|server| (address.clone(), name.value, server.key())));
            servers.insert(ServerName(name.value.to_owned()), server);
        }
    }
    refuse_equal(keys, root.faults);
    servers
}

/// Tokens are known by their server: under two names for one server, each would take the tokens of the other for lost.
fn refuse_equal(mut keys: Vec<(Range<usize>, &str, ServerKey)>, faults: &Faults<'_>) {
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
        let hint = format!("remove one of them, and name the other in its tokens: server = {other:?}");
        faults.add_with_hint(at, &format!("[servers.{name}]"), what, hint);
    }
}

/// `None` where something is missing or wrong, which is a fault.
fn server(mut section: Section<'_>, context: &ListContext) -> Option<ServerConfig> {
    let product = product(&mut section);
    let cluster = cluster_ids(&mut section, product);
    let plain = section.boolean("allow_plain_http").unwrap_or(false);
    let url = url_or_default(&mut section, product, plain);
    let data_url = cluster_address(&mut section, "data_url", plain);
    let via = via(&mut section, plain, context);
    let ca_file = path(&mut section, "ca_file", context);
    let client_certificate = client_certificate(&mut section, context);
    let insecure_skip_verify = section.boolean("insecure_skip_verify").unwrap_or(false);
    let proxy = address(&mut section, "proxy", true);
    let timeout = duration(&mut section, &bounds::TIMEOUT).map_or(TIMEOUT, |at| at.value);
    let at = section.span_of("url");
    if let (Some(Address::Own), Some(url), Some(Via::Influxctl(InfluxctlConfig { login, .. }))) =
        (product.map(address_of), &url, &via)
        && matches!(login, Login::ManagementToken(_))
        && url.path() != "/"
    {
        let what = format!("influxctl takes host and port alone, found the path {}", Excerpt(url.path()));
        let hint = "remove via = \"influxctl\", or name a profile for this address: influxctl = { config = \"PATH\" }";
        section.faults.add_with_hint(at, &section.key("url"), what, hint);
    }
    section.finish();
    let (product, url) = (product?, url?);
    let (cluster, default_data_url) = match address_of(product) {
        Address::Own => (None, None),
        Address::Console { data_domain, .. } => {
            let ids = cluster?;
            let data_url = Url::parse(&format!("https://{}.{data_domain}", ids.cluster)).ok();
            (Some(ids), data_url)
        }
    };
    let data_url = data_url.or(default_data_url).unwrap_or_else(|| url.clone());
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

fn product(section: &mut Section<'_>) -> Option<Product> {
    let Some(name) = section.string("product") else {
        section.require("product");
        return None;
    };
    let product = Product::ALL.iter().find(|product| product.descriptor().name == name.value).copied();
    if product.is_none() {
        let names: Vec<&str> = Product::ALL.iter().map(|product| product.descriptor().name).collect();
        section.not_one_of("product", &name, &names);
    }
    product
}

fn address_of(product: Product) -> Address {
    product.descriptor().address
}

/// `account` and `cluster`: where a console manages clusters, and nowhere else.
fn cluster_ids(section: &mut Section<'_>, product: Option<Product>) -> Option<ClusterIds> {
    let [account, cluster] = ["account", "cluster"].map(|key| match product.map(address_of) {
        Some(Address::Console { .. }) => required_id(section, key),
        Some(Address::Own) => {
            if let (Some(value), Some(product)) = (section.get(key), product) {
                let what = format!("not used with product = \"{product}\"");
                let hint = "remove it, or write product = \"dedicated\" if it is Cloud Dedicated";
                section.faults.add_with_hint(value.span(), &section.key(key), what, hint);
            }
            None
        }
        // The product is the fault; this may be right.
        None => section.get(key).and(None),
    });
    Some(ClusterIds { account: account?, cluster: cluster? })
}

/// How a person runs influxctl for a server that needs both ids and does not have them.
pub(super) fn influxctl_for_missing_ids(mut section: Section<'_>) -> Option<InfluxctlConfig> {
    let product = product(&mut section)?;
    let is_known = address_of(product) == Address::Own || cluster_ids(&mut section, Some(product)).is_some();
    (!is_known).then(|| InfluxctlConfig { account: None, cluster: None, ..influxctl(&mut section) })
}

fn required_id(section: &mut Section<'_>, key: &'static str) -> Option<Uuid> {
    let hint = format!("find it with `influxctl cluster list --format json`, as {key}_id");
    let Some(Located { value, span }) = section.string(key) else {
        if section.get(key).is_none() {
            section.faults.add_with_hint(
                section.span.clone(),
                section.path(),
                format!("needs {key:?}"),
                hint,
            );
        }
        return None;
    };
    let failed = |error: NotUuid| {
        section.faults.add_with_hint(
            span,
            &section.key(key),
            format!("{error}, found {}", Excerpt(value)),
            hint,
        );
    };
    value.parse().map_err(failed).ok()
}

fn url_or_default(section: &mut Section<'_>, product: Option<Product>, plain: bool) -> Option<Url> {
    let url = cluster_address(section, "url", plain);
    if url.is_some() || section.get("url").is_some() {
        return url;
    }
    if let Some(Address::Console { url, .. }) = product.map(address_of) {
        return Url::parse(url).ok();
    }
    section.require("url");
    None
}

fn client_certificate(section: &mut Section<'_>, context: &ListContext) -> Option<ClientCertificate> {
    let pair = ["client_certificate", "client_key"];
    let [certificate, key] = pair.map(|key| path(section, key, context));
    for [one, other] in [pair, [pair[1], pair[0]]] {
        if section.get(one).is_some() && section.get(other).is_none() {
            section.faults.add(section.span_of(one), section.path(), format!("needs {other:?} too"));
        }
    }
    Some(ClientCertificate { certificate: certificate?, key: key? })
}
