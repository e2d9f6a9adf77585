//! The servers that mint, list and end tokens.
//!
//! [`Server`] is all that the life cycle knows of a product; one file per product implements it, over the one
//! HTTP client of `http.rs`, or by influxctl.

use std::{collections::BTreeSet, ffi::OsString, fmt, future::Future, path::PathBuf, time::Duration};

use crate::{
    hint::Hint,
    model::{
        Capabilities, Credential, Grants, Instance, Listed, Listing, Marker, ServerDate, ServerName, Time,
        TokenId,
    },
    source::SourceError,
};

mod any;
mod cluster;
mod cluster_ids;
mod data_plane;
mod http;
mod influxctl;
mod list;
mod management_api;
mod management_token;
mod oauth;
mod rows;
#[cfg(test)]
mod tests;
mod times;

pub use any::AnyServer;
pub use cluster::Cluster;
pub use influxctl::{KnownCluster, known_clusters, remove_leftovers};

/// One InfluxDB deployment.
pub trait Server: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Its whole list, of which the rows are read and kept that concern this store.
    fn list(&self, interest: &Interest<'_>) -> impl Future<Output = Result<Listing, ServerError>> + Send;

    /// The names of all its databases.
    fn databases(&self) -> impl Future<Output = Result<BTreeSet<String>, ServerError>> + Send;

    /// Mints one token. Never repeats a request whose fate is unknown.
    fn mint(&self, order: &Order) -> impl Future<Output = Result<Minted, MintError>> + Send;

    /// One token; `None` where the server does not know it.
    fn get(&self, id: &TokenId) -> impl Future<Output = Result<Option<Listed>, ServerError>> + Send;

    /// Replaces all grants of a token.
    fn patch(
        &self,
        id: &TokenId,
        grants: &Grants,
    ) -> impl Future<Output = Result<Listed, ServerError>> + Send;

    /// Ends a token. One that the server does not know has ended.
    fn revoke(&self, id: &TokenId) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Asks the data plane, on a new connection, whether it takes the credential. Changes nothing there.
    fn check(&self, credential: &Credential, check: &Check) -> impl Future<Output = Verdict> + Send;
}

/// Which rows of a list concern this store.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// Tokens by their ids, whatever their label.
    pub ids: &'a BTreeSet<TokenId>,
    /// Whose labels are ours: this store's instance, and those it had before.
    pub instances: &'a [Instance],
}

/// What is minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The whole description, label included.
    pub description: String,
    /// What it may do.
    pub grants: Grants,
    /// When it expires by itself.
    pub expires_at: Option<Time>,
    /// The label's, so that errors can say which.
    pub marker: Marker,
}

/// A token that exists since a moment ago. The secret is in no other place: seal it. The rest is what the server claims.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a minted secret is shown once: seal it"]
pub struct Minted {
    /// The server's id for it.
    pub id: TokenId,
    /// What consumers get.
    pub secret: Credential,
    /// What the server says it granted; the order's where it does not.
    pub grants: Grants,
    /// When the server says it was created.
    pub created_at: Option<Time>,
    /// When the server says it will expire; as ordered where that cannot be read.
    pub expires_at: Option<Time>,
    /// Whether the token bears the label it was ordered with.
    pub label: LabelEcho,
    /// The answer's Date header.
    pub date: ServerDate,
    /// Fields of the answer that cannot be read, and what was expected there.
    pub oddities: Vec<String>,
}

/// What the answer to a mint shows of the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelEcho {
    /// Nothing: it has no description.
    Untold,
    /// It is there, to the letter.
    Kept,
    /// The description has another end: in a list the token is not known again.
    Lost,
}

/// A mint that gave no secret.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Surely nothing was minted: no byte was sent, or the server refused (a 4xx other than 408, 409, 429).
    #[error(transparent)]
    NotMinted(ServerError),
    /// A token may exist, now or later: only a list can tell.
    #[error(transparent)]
    Unknown(ServerError),
}

/// One question to the data plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// Which part of the server is asked.
    pub plane: Plane,
    /// About which database; never `*`.
    pub database: String,
}

/// The parts of a server that learn of a token separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// Takes writes.
    Write,
    /// Answers queries.
    Query,
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Query => "query",
        })
    }
}

/// What the data plane said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the credential for this.
    Accepted,
    /// It does not: not yet, not any more, or never for this database. One answer cannot tell which.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// It did not say: no connection, no answer in time, 429 or 5xx.
    Unreachable {
        /// What happened.
        why: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// It answers something that says nothing about the credential (a 404, a redirect, a page of HTML).
    Misconfigured {
        /// What it answered.
        why: String,
    },
}

/// A request to the management API that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("server {name:?}: {verb}: {kind}", name = server.0)]
pub struct ServerError {
    /// Which server, by its name in the list.
    pub server: ServerName,
    /// What was asked: `list tokens`, `mint token` and so on.
    pub verb: &'static str,
    /// What came of it.
    pub kind: ErrorKind,
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server answered with a status that is no success.
    #[error("{status}{}", message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What its body says, shortened, control characters taken out.
        message: Option<String>,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// It points elsewhere; redirects are never followed.
    #[error("{status}: redirected to {location:?}, which is not followed")]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The Location header.
        location: String,
    },
    /// The host name has no address.
    #[error("no address for the host: {0}")]
    Dns(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server could not be trusted, or did not trust us.
    #[error("tls: {0}")]
    Tls(String),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection ended before the answer did.
    #[error("the answer was cut off: {0}")]
    Cut(String),
    /// The answer is larger than is read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what the API promises.
    #[error("unexpected answer: {0}")]
    Nonsense(String),
    /// The management token could not be had.
    #[error("management token: {0}")]
    ManagementToken(SourceError),
    /// What a management token is issued for could not be had.
    #[error("client secret: {0}")]
    ClientSecret(SourceError),
    /// The identity provider issued no management token.
    #[error("no management token from {by}: {why}")]
    NotIssued {
        /// The address it was asked at.
        by: String,
        /// What came of it.
        why: Box<ErrorKind>,
    },
    /// The server does not take what the identity provider issued.
    #[error("401{}: what {by} issued is not taken", message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    IssuedRefused {
        /// The provider's address.
        by: String,
        /// What the server's answer says.
        message: Option<String>,
    },
    /// It could not be handed to influxctl.
    #[error("the management token cannot be handed over: {0}")]
    NotHanded(String),
    /// There is no influxctl.
    #[error("there is no {program:?}{}", if program.components().count() > 1 { String::new() } else { format!(" on PATH ({path:?})") })]
    NoProgram {
        /// What was looked for.
        program: PathBuf,
        /// Where.
        path: OsString,
    },
    /// An influxctl that cannot do it.
    #[error("influxctl {found} is too old: {least} or later can do this")]
    Outdated {
        /// The version that is installed.
        found: String,
        /// The oldest that will do.
        least: String,
    },
    /// influxctl could not do it, or says so: what has been done, nobody knows.
    #[error("influxctl: {0}")]
    Failed(String),
    /// It cannot be asked for this, or its answer is not understood.
    #[error("cannot be told: {0}")]
    Untold(String),
}

impl ServerError {
    /// How long the server asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }

    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            ErrorKind::Status { status, .. } | ErrorKind::Redirect { status, .. } => Some(*status),
            ErrorKind::IssuedRefused { .. } => Some(401),
            _ => None,
        }
    }

    /// Whether what this process presents, kept where the list says, is not taken: as it stands it never will be.
    #[must_use]
    pub fn refuses_the_secret(&self) -> bool {
        match &self.kind {
            ErrorKind::Status { status, .. } => *status == 401,
            // A provider may answer that it does not know a client with 400, too (RFC 6749, 5.2).
            ErrorKind::NotIssued { why, .. } => {
                matches!(**why, ErrorKind::Status { status: 400 | 401 | 403, .. })
            }
            _ => false,
        }
    }

    /// Whether the server may have done what it was asked, or may yet do it.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        match &self.kind {
            ErrorKind::Status { status, .. } => !self.needs_a_person() || *status >= 500,
            ErrorKind::Redirect { .. }
            | ErrorKind::Dns(_)
            | ErrorKind::Connect(_)
            | ErrorKind::Tls(_)
            | ErrorKind::ManagementToken(_)
            | ErrorKind::ClientSecret(_)
            | ErrorKind::NotIssued { .. }
            | ErrorKind::IssuedRefused { .. }
            | ErrorKind::NotHanded(_)
            | ErrorKind::NoProgram { .. }
            | ErrorKind::Outdated { .. }
            | ErrorKind::Untold(_) => false,
            ErrorKind::Timeout(_)
            | ErrorKind::Cut(_)
            | ErrorKind::TooLarge(_)
            | ErrorKind::Nonsense(_)
            | ErrorKind::Failed(_) => true,
        }
    }

    /// Whether it cannot do this at all: an older release, or no right to.
    #[must_use]
    pub fn is_unable(&self) -> bool {
        matches!(self.status(), Some(403 | 404)) || matches!(self.kind, ErrorKind::Untold(_))
    }

    /// Whether trying again soon is pointless: somebody has to change something first.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        self.kind.needs_a_person()
    }
}

impl ErrorKind {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NotIssued { why, .. } => why.retry_after(),
            _ => None,
        }
    }

    fn needs_a_person(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 400..=499) && !matches!(status, 408 | 409 | 429),
            Self::NotIssued { why, .. } => why.needs_a_person(),
            Self::Redirect { .. }
            | Self::Tls(_)
            | Self::ManagementToken(_)
            | Self::ClientSecret(_)
            | Self::IssuedRefused { .. }
            | Self::NotHanded(_)
            | Self::NoProgram { .. }
            | Self::Outdated { .. } => true,
            _ => false,
        }
    }
}

impl Hint for ServerError {
    fn hint(&self) -> Option<String> {
        let hint = match &self.kind {
            ErrorKind::Status { status: 401, .. } => {
                "the management token is unknown there, expired or revoked: make one with `influxctl management create`, \
                 put it where `management_token` says, and run `influx-tokend apply`; of a credential a restart alone \
                 reads another"
            }
            ErrorKind::Status { status: 403, .. } => {
                "the management token has no right to this: see who made it"
            }
            ErrorKind::Status { status: 404, .. } => {
                "the server has no such API: InfluxDB Clustered has it since release 20250508; see also that `url` is \
                 the cluster's address alone, and for Cloud Dedicated that `account` and `cluster` are those that \
                 `influxctl cluster list --format json` shows"
            }
            ErrorKind::Redirect { .. } => "write the address it points to as `url`, if you trust it",
            ErrorKind::Dns(_) => "check the host in `url`, and this host's resolver",
            ErrorKind::Connect(_) => "check host and port in `url`, and what lies between",
            ErrorKind::Tls(_) => {
                "name the certificate that signed the server's in `ca_file`, and see that `url` has the name it is made for"
            }
            ErrorKind::NoProgram { .. } => {
                "install influxctl 2.10.0 or later (InfluxData's documentation, \"Install influxctl\"), or name its path in \
                 `influxctl = { path = \"…\" }`"
            }
            ErrorKind::Outdated { .. } => "install influxctl 2.10.0 or later",
            ErrorKind::Nonsense(shape) if shape.contains("` answers ") => {
                "this answer of influxctl's is not known here: please report it, as it stands, with `influxctl version`"
            }
            ErrorKind::Timeout(_) => {
                "see whether it is overloaded; an answer that takes longer, a long list say, needs another `timeout`"
            }
            ErrorKind::Nonsense(_) => "something else than InfluxDB may answer at this address",
            ErrorKind::ManagementToken(error) | ErrorKind::ClientSecret(error) => return error.hint(),
            ErrorKind::NotIssued { why, .. } => return not_issued_hint(why).map(str::to_owned),
            ErrorKind::IssuedRefused { .. } => {
                "see that the cluster is set up with this provider, that `scopes` and `audience` are what it expects, and that \
                 this client may manage tokens there"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What to do where the identity provider is the trouble.
fn not_issued_hint(why: &ErrorKind) -> Option<&'static str> {
    Some(match why {
        ErrorKind::Status { status: 400 | 401 | 403, .. } => {
            "see that `client_id` and what `client_secret` names are the provider's, that it lets this client use the client \
             credentials grant with these `scopes`, and whether it wants authentication = \"post\""
        }
        ErrorKind::Status { status: 404 | 405, .. } | ErrorKind::Nonsense(_) => {
            "see that `token_url` is the provider's token endpoint: `token_endpoint` in what it shows at \
             /.well-known/openid-configuration"
        }
        ErrorKind::Redirect { .. } => "write the address it points to as `token_url`, if you trust it",
        ErrorKind::Dns(_) | ErrorKind::Connect(_) => {
            "check host and port in `token_url`, this host's resolver, and what lies between"
        }
        ErrorKind::Tls(_) => "name the certificate that signed the provider's in `oauth = { ca_file = … }`",
        _ => return None,
    })
}
