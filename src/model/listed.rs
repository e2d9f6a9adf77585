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
    /// Where the list gives it, and it can be read.
    pub created_at: Option<Time>,
    /// Where it expires; `None` for one that never does, and for one before its creation.
    pub expires_at: Option<Time>,
    /// Where it was revoked. Where the server says so in a way that cannot be read: the answer's date.
    pub revoked_at: Option<Time>,
}

impl Listed {
    /// Neither revoked nor past its expiry.
    #[must_use]
    pub fn is_live(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }
}

/// One whole list, as complete as the server gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only the rows that concern this store: nobody else's tokens are kept in memory.
    pub tokens: Vec<Listed>,
    /// Rows of this store of which something cannot be read.
    pub faults: Vec<RowFault>,
    /// How many rows there were.
    pub rows: usize,
    /// Length of the answer in bytes.
    pub bytes: usize,
    /// The answer's Date header.
    pub date: ServerDate,
    /// Some time had no zone, and was read as UTC.
    pub zoneless: bool,
}

/// A row of this store, by its label or its id, of which something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The server's id for it, where that can be read.
    pub id: Option<TokenId>,
    /// Our label, where that can be read.
    pub label: Option<Label>,
    /// Which field, and what was expected there; never what stands there.
    pub what: String,
}

/// The Date header of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerDate {
    /// The server's time.
    At(Time),
    /// There is one, and it is not a date: its text, as it may be shown.
    Unreadable(String),
    /// There is none.
    Absent,
}

impl ServerDate {
    /// The server's time, where it can be read.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        match self {
            Self::At(at) => Some(*at),
            Self::Unreadable(_) | Self::Absent => None,
        }
    }
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
