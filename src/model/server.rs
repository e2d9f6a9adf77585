//! Servers and the ids they give.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A kind of InfluxDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Product {
    /// InfluxDB Clustered.
    Clustered,
    /// InfluxDB Cloud Dedicated.
    Dedicated,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clustered => "clustered",
            Self::Dedicated => "dedicated",
        })
    }
}

/// What a list calls a server: the NAME of `[servers.NAME]`, or `default` for `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerName(pub String);

impl ServerName {
    /// The one of `[server]`.
    pub const DEFAULT: &'static str = "default";
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a server the same server, whatever a list calls it and however it is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerKey {
    /// Its kind.
    pub product: Product,
    /// Scheme, host, port and path of the management URL, without the scheme's own port and a slash at the end.
    pub origin: String,
    /// Which cluster, where one origin manages several: [`ClusterIds`] as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        self.cluster.iter().try_for_each(|cluster| write!(f, " (cluster {cluster})"))
    }
}

/// Which cluster of which account: one console manages those of all accounts. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIds {
    /// The account's.
    pub account: Uuid,
    /// The cluster's, which is a part of its data host's name too.
    pub cluster: Uuid,
}

/// Both, for the data host does not tell the account, and a management token is for one.
impl fmt::Display for ClusterIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.cluster)
    }
}

/// An id as RFC 9562 writes it, in lower case whatever it was read from: the same id is the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uuid(String);

impl Uuid {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a UUID such as \"11111111-1111-4111-8111-111111111111\"")]
pub struct NotUuid;

impl FromStr for Uuid {
    type Err = NotUuid;

    fn from_str(text: &str) -> Result<Self, NotUuid> {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits =
            |(at, byte): (usize, u8)| if is_dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        let is_uuid = text.len() == 36 && text.bytes().enumerate().all(fits);
        is_uuid.then(|| Self(text.to_ascii_lowercase())).ok_or(NotUuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token's id on its server; not a secret. Shared by all copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub Arc<str>);

impl std::borrow::Borrow<str> for TokenId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
