//! What a server tells of its tokens and databases.

use std::collections::BTreeSet;

use super::{Grants, Label, Time, TokenId};

/// One token of a server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The server's id for it.
    pub id: TokenId,
    /// Our label at the end of its description, whoever's instance it names.
    pub label: Option<Label>,
    /// What it may do; `None` where the server says it in a way we do not know.
    pub grants: Option<Grants>,
    /// Where the list gives it.
    pub created_at: Option<Time>,
    /// Where it expires.
    pub expires_at: Option<Time>,
    /// Where it was ended.
    pub revoked_at: Option<Time>,
}

impl Listed {
    /// Not ended, and not past its expiry.
    #[must_use]
    pub fn is_live(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }
}

/// One whole list, as complete as the server gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only the rows that bear a label or whose id was asked for: nobody else's tokens are kept in memory.
    pub tokens: Vec<Listed>,
    /// How many rows there were.
    pub rows: usize,
    /// Length of the answer in bytes.
    pub bytes: usize,
    /// The answer's Date header.
    pub date: Option<Time>,
}

/// The databases of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// Nothing needed them in this pass.
    NotAsked,
    /// All of them.
    Known(BTreeSet<String>),
    /// They cannot be listed, and why: an older release, or no right to.
    Unlistable(String),
}

/// What a product and its transport can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Grants can be changed in place.
    pub patch: bool,
    /// Tokens can expire by themselves.
    pub expiry: bool,
    /// Ended tokens may stay in the list, marked as such.
    pub lists_revoked: bool,
}
