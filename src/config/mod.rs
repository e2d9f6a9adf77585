//! The TOML list: text in, a checked [`Config`] out, or all faults at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use url::Url;

use crate::{
    model::{ClusterIds, Lifecycle, Name, Product, ServerKey, ServerName, Spec},
    store::age::Plugins,
};

mod address;
mod bounds;
mod elsewhere;
mod fault;
mod hook;
mod influxctl;
mod list;
mod load;
mod oauth;
mod path;
mod server;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod tree;

pub use fault::{ConfigError, Fault};
pub use hook::{MAX_HOOK_BYTES, parse_hook, render_hook};
pub use load::{read, read_remains};

/// What a list means depends on this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// This host's name: `{host}`.
    pub host: String,
    /// The process ends by itself, so that a secret in its environment does not stay there.
    pub one_shot: bool,
    /// A person waits at a terminal.
    pub is_attended: bool,
    /// Where things are that the list does not place.
    pub defaults: Defaults,
}

/// Where things are that the list does not place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `[store] path`.
    pub store: PathBuf,
    /// `[deliver.socket] path`.
    pub socket: PathBuf,
    /// `[deliver.files] path`.
    pub files: PathBuf,
    /// The folder of hooks, `hooks.d` beside the list.
    pub hooks: PathBuf,
}

/// Everything a list says, checked, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often the servers are asked.
    pub reconcile: Duration,
    /// `[server]` (as [`ServerName::DEFAULT`]) or `[servers.NAME]`; may be empty: then nothing is minted.
    pub servers: BTreeMap<ServerName, ServerConfig>,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[deliver.files]`, where that table stands.
    pub files: Option<PathBuf>,
    /// `[deliver.socket]`: beside it stand the daemon's other run-time files.
    pub socket: PathBuf,
    /// The folder of hooks; not for the list to say.
    pub hooks: PathBuf,
    /// `[lifecycle]`.
    pub lifecycle: Lifecycle,
    /// `[[token]]`, by name; shared, for there may be many.
    pub specs: Arc<BTreeMap<Name, Spec>>,
}

impl Config {
    /// Reads and checks a list.
    ///
    /// # Errors
    /// It cannot be read, or has faults: all of them are said.
    pub fn load(path: &Path, context: &Context) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path, context)
    }

    /// Checks the text of a list; `file` is for faults only.
    ///
    /// # Errors
    /// It has faults: all of them are said.
    pub fn parse(text: &str, file: &Path, context: &Context) -> Result<Self, ConfigError> {
        list::parse(text, file, context)
    }

    /// What a list with faults still tells: where its store is and where it delivers to, but no server and no token.
    /// What is sealed can then be kept and delivered.
    #[must_use]
    pub fn salvage(text: &str, context: &Context) -> Self {
        list::salvage(text, context)
    }

    /// Of the first server of Cloud Dedicated in a list that does not tell which cluster it is: how a person's influxctl,
    /// which may know, is run for it.
    #[must_use]
    pub fn unidentified(text: &str) -> Option<Influxctl> {
        list::unidentified(text)
    }
}

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
    /// Whoever answers is believed.
    pub insecure_skip_verify: bool,
    /// The only proxy that is ever used.
    pub proxy: Option<Url>,
    /// For one request, connection included.
    pub timeout: Duration,
}

impl ServerConfig {
    /// What records know this server by.
    #[must_use]
    pub fn key(&self) -> ServerKey {
        // Below each path of a gateway may be another cluster.
        let path = self.url.path().trim_end_matches('/');
        ServerKey {
            product: self.product,
            origin: format!("{}{}", self.url.origin().ascii_serialization(), path),
            cluster: self.cluster.as_ref().map(ToString::to_string),
        }
    }

    /// Where the secret is kept that lets this process in, if it presents one: the management token, or what one is issued
    /// for.
    #[must_use]
    pub fn secret(&self) -> Option<&TokenSource> {
        match &self.via {
            Via::Http(ManagementToken::Kept(token))
            | Via::Influxctl(Influxctl { login: Login::ManagementToken(token), .. }) => Some(token),
            Via::Http(ManagementToken::Issued(client)) => Some(&client.secret),
            Via::Influxctl(_) => None,
        }
    }
}

/// How tokens are managed on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Over its management API, with this management token.
    Http(ManagementToken),
    /// By InfluxData's tool.
    Influxctl(Influxctl),
}

/// `management_token = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagementToken {
    /// Somebody made it, and keeps it there.
    Kept(TokenSource),
    /// An identity provider issues one for a while, again and again.
    Issued(Box<OAuthClient>),
}

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
    /// Everything else that is sent, in order: `scope`, `audience`, and what this provider wants beside.
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

/// `influxctl = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Influxctl {
    /// What is run: a path, or a name to be found on `PATH`.
    pub program: PathBuf,
    /// Who it logs in as.
    pub login: Login,
    /// `--account`, where the list says it.
    pub account: Option<String>,
    /// `--cluster`, where the list says it.
    pub cluster: Option<String>,
}

/// Who influxctl logs in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With this management token, which is handed to it in a file of ours.
    ManagementToken(TokenSource),
    /// As somebody's profile says.
    Profile {
        /// `--config`; `None`: where influxctl looks by itself.
        config: Option<PathBuf>,
        /// `--profile`; `None`: its default one.
        name: Option<String>,
    },
}

/// A certificate to show to the server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM file, the leaf first.
    pub certificate: PathBuf,
    /// PEM file.
    pub key: PathBuf,
}

/// Where a secret that a person made comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The content of a file.
    File(PathBuf),
    /// What a program prints.
    Command(Vec<String>),
    /// An environment variable; for one-shot commands only.
    Env(String),
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder.
    pub path: PathBuf,
    /// Where the records are.
    pub kind: StoreKind,
    /// What tells this machine from another.
    pub machine_id: PathBuf,
}

/// `[store] kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In the folder, as age files.
    Age(AgeConfig),
    /// In the keyring of whoever runs this.
    #[cfg(feature = "secret-service")]
    SecretService,
}

/// What else `[store]` says of age files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgeConfig {
    /// Who else may open them.
    pub recipients: Vec<String>,
    /// Where the host's identity comes from; `None`: `identity.txt` or `identity.age` in the folder, made on
    /// first use.
    pub identity: Option<TokenSource>,
    /// The passphrase of a wrapped identity.
    pub passphrase: Option<TokenSource>,
    /// The identity that a wrapped one is sealed for: a plugin's, or a key that is kept elsewhere.
    pub unwrap: Option<TokenSource>,
    /// How age plugins are run.
    pub plugins: Plugins,
}
