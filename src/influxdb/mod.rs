//! The servers that mint, list and end tokens.
//!
//! [`Server`] is all that the life cycle knows of a product; one file per product implements it, over the one
//! HTTP client of `http.rs`, or by influxctl.

use std::{collections::BTreeSet, fmt, future::Future, time::Duration};

use crate::model::{
    Credential, Descriptor, Grants, Instance, Listed, Listing, Marker, ServerDate, Time, TokenId,
};

mod any;
mod cluster;
mod cluster_ids;
mod data_plane;
mod error;
mod hint;
mod http;
mod influxctl;
mod list;
mod management_api;
mod management_token;
mod oauth;
mod rows;
mod server_text;
#[cfg(test)]
mod tests;
mod times;
mod tls;

pub use any::AnyServer;
pub use cluster::Cluster;
pub use error::{ErrorKind, ServerError};
pub use influxctl::{KnownCluster, known_clusters, remove_leftovers};
pub use tls::TlsCause;

/// One InfluxDB deployment.
pub trait Server: Send + Sync {
    /// What it can do, by its product and the way to it.
    fn descriptor(&self) -> Descriptor;

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
    /// What is wrong with fields of the answer: not to be read, or not to be true.
    pub oddities: Vec<String>,
    /// Some time had no zone, and was read as UTC.
    pub zoneless: bool,
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
