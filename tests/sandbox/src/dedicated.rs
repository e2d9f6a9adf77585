//! What Cloud Dedicated has and Clustered has not: ids in paths and rows, a data host of its own, `expirationType`.

use std::{io, net::SocketAddr};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::Answer;

/// A cluster of Cloud Dedicated.
#[derive(Clone, Debug)]
pub struct Dedicated {
    /// A UUID.
    pub account: String,
    /// A UUID.
    pub cluster: String,
    /// Where data is written and queried, which is not where tokens are managed; port 0 for any.
    pub data_listen: SocketAddr,
    /// What it makes of `expirationType`: the guide has it, the description of the API has not.
    pub expiration_type: ExpirationType,
}

impl Default for Dedicated {
    fn default() -> Self {
        Self {
            account: "11111111-1111-4111-8111-111111111111".to_owned(),
            cluster: "33333333-3333-4333-8333-333333333333".to_owned(),
            data_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            expiration_type: ExpirationType::Known,
        }
    }
}

/// What a server makes of `expirationType` in a mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpirationType {
    /// As the guide says: `datetime` with `expiresAt`, `noExpiration` without. A mint may leave it out.
    Known,
    /// As the description says: there is no such field, and a mint that has it is refused.
    Unknown,
}

impl Dedicated {
    pub(crate) fn checked(self) -> io::Result<Self> {
        for id in [&self.account, &self.cluster] {
            if !is_uuid(id) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{id:?} is no UUID")));
            }
        }
        Ok(self)
    }

    /// What is left of a path below `/api/v0`, if it is one of this cluster's.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Result<&'p str, Answer> {
        let not_found = || Answer::error(404, "not found");
        let (account, rest) =
            path.strip_prefix("/accounts/").and_then(|rest| rest.split_once('/')).ok_or_else(not_found)?;
        let rest = rest.strip_prefix("clusters/").ok_or_else(not_found)?;
        let (cluster, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        for (id, own, what) in [(account, &self.account, "accountId"), (cluster, &self.cluster, "clusterId")]
        {
            if !is_uuid(id) {
                return Err(Answer::error(400, &format!("{what} is not a UUID")));
            }
            if !id.eq_ignore_ascii_case(own) {
                return Err(not_found());
            }
        }
        Ok(rest)
    }

    /// Whether `expirationType` and `expiresAt` go together.
    pub(crate) fn check_expiration(
        &self,
        kind: Option<&str>,
        expires_at: Option<Timestamp>,
    ) -> Result<(), Answer> {
        let wrong = match (self.expiration_type, kind, expires_at) {
            (_, None, _)
            | (ExpirationType::Known, Some("datetime"), Some(_))
            | (ExpirationType::Known, Some("noExpiration"), None) => return Ok(()),
            (ExpirationType::Unknown, Some(_), _) => "unknown field expirationType",
            (ExpirationType::Known, Some("datetime"), None) => "datetime needs expiresAt",
            (ExpirationType::Known, Some("noExpiration"), Some(_)) => "noExpiration has no expiresAt",
            (ExpirationType::Known, Some(_), _) => "expirationType is datetime or noExpiration",
        };
        Err(Answer::error(400, wrong))
    }

    /// A row says whose it is.
    pub(crate) fn sign(&self, row: &mut Value) {
        row["accountId"] = json!(self.account);
        row["clusterId"] = json!(self.cluster);
    }
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .char_indices()
            .all(|(at, c)| if matches!(at, 8 | 13 | 18 | 23) { c == '-' } else { c.is_ascii_hexdigit() })
}
