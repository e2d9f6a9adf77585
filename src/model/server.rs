//! Servers and the ids they give.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Product;

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
    /// Which organisation, where one deployment has several: its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
}

impl ServerKey {
    /// A deployment that has its own origin.
    #[must_use]
    pub fn new(product: Product, origin: impl Into<String>) -> Self {
        Self { product, origin: origin.into(), cluster: None, organisation: None }
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        self.cluster.iter().try_for_each(|cluster| write!(f, " (cluster {cluster})"))?;
        self.organisation.iter().try_for_each(|organisation| write!(f, " (organisation {organisation})"))
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

/// A text that is not a UUID.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisations_and_clusters_at_one_origin_are_servers_of_their_own() {
        let plain = ServerKey::new(Product::Clustered, "https://c");
        let of =
            |organisation: &str| ServerKey { organisation: Some(organisation.to_owned()), ..plain.clone() };
        let both = ServerKey { cluster: Some("1/2".to_owned()), ..of("0a") };
        assert!(plain != of("0a") && of("0a") != of("0b") && of("0a") != both);
        let shown = [&plain, &of("0a"), &both].map(ToString::to_string);
        assert_eq!(
            shown,
            ["https://c", "https://c (organisation 0a)", "https://c (cluster 1/2) (organisation 0a)"]
        );
        for key in [plain, both] {
            let json = serde_json::to_string(&key).expect("JSON");
            assert_eq!(json.contains("organisation"), key.organisation.is_some(), "{json}");
            assert_eq!(serde_json::from_str::<ServerKey>(&json).expect("a key"), key);
        }
    }
}
