//! The servers that mint, list and revoke tokens.
//!
//! [`Server`] is all that the life cycle knows of one; a folder per product implements it, over the one HTTP client of
//! `http.rs`. Files import one way: what all products use, then a product, then [`connect`].

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use async_trait::async_trait;

use crate::{
    config::ServerConfig,
    model::{
        Credential, Descriptor, Grants, Instance, Listed, Listing, Marker, Product, ServerDate, ServerName,
        Time, TokenId,
    },
};

mod cluster;
mod error;
mod hint;
mod http;
mod management_token;
mod oauth;
mod server_text;
#[cfg(test)]
mod tests;
mod times;
mod tls;

pub use cluster::{KnownCluster, known_clusters, remove_leftovers};
pub use error::{ErrorKind, RefusalCode, ServerError};
pub use tls::TlsCause;

/// A client of the server in a list, by its product; sends nothing. `private`: a folder on tmpfs that is ours alone.
///
/// # Errors
/// Certificates cannot be read, or the system has none and some are needed.
pub fn connect(
    name: &ServerName,
    config: &ServerConfig,
    private: &Path,
) -> Result<Box<dyn Server>, ServerError> {
    match config.product {
        Product::Clustered | Product::Dedicated => cluster::connect(name, config, private),
    }
}

/// One InfluxDB deployment.
#[async_trait]
pub trait Server: fmt::Debug + Send + Sync {
    /// What it can do, by its product and the way to it.
    fn descriptor(&self) -> Descriptor;

    /// Its whole list, of which the rows are read and kept that concern this store.
    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError>;

    /// The names of all its databases.
    async fn databases(&self) -> Result<BTreeSet<String>, ServerError>;

    /// Mints one token. Never repeats a request whose fate is unknown.
    async fn mint(&self, order: &Order) -> Result<Minted, MintError>;

    /// One token; `None` where the server does not know it.
    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError>;

    /// Replaces all grants of a token.
    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError>;

    /// Revokes a token. One that the server does not know is revoked.
    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError>;

    /// Asks the data plane, on a new connection, whether it accepts the credential. Changes nothing there.
    async fn check(&self, credential: &Credential, check: &Check) -> Verdict;
}

#[async_trait]
impl Server for Box<dyn Server> {
    fn descriptor(&self) -> Descriptor {
        (**self).descriptor()
    }

    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        (**self).list(interest).await
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        (**self).databases().await
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        (**self).mint(order).await
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        (**self).get(id).await
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        (**self).patch(id, grants).await
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        (**self).revoke(id).await
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        (**self).check(credential, check).await
    }
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
    /// What bears the label, label included: its description, or where else the product has it.
    pub description: String,
    /// What it may do.
    pub grants: Grants,
    /// How long it is to live; `None`: until it is revoked, as always where tokens do not expire.
    pub lifetime: Option<Duration>,
    /// When it is ordered, by the server's clock as far as that is known.
    pub at: Time,
    /// The label's.
    pub marker: Marker,
}

impl Order {
    /// When it is to expire, in whole seconds: for products that want a time.
    #[must_use]
    pub fn expires_at(&self) -> Option<Time> {
        Time::from_second(self.at.saturating_add(self.lifetime?).ok()?.as_second()).ok()
    }
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
    Missing,
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
