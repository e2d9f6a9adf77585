//! What a plan consists of: one thing to do, and why.

use std::sync::Arc;

use crate::model::{Allow, Grants, Marker, Name, ServerKey, TokenId};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Seal a change to a record that concerns nothing but the record.
    Note {
        /// Whose.
        name: Name,
        /// What.
        change: Change,
    },
    /// Intend, mint and seal a token as `next`.
    Mint {
        /// Which.
        name: Name,
        /// Why.
        why: Why,
    },
    /// Ask the data plane about a token until it is accepted.
    Probe {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// Ask this one too, to tell a refusal of the token from one of the server (rule 6).
        control: Option<TokenId>,
    },
    /// Ask the data plane about a token once.
    Verify {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
    },
    /// Make `next` the current token.
    Promote {
        /// Which.
        name: Name,
        /// The token that was looked at.
        id: TokenId,
    },
    /// End a token on the server.
    Revoke {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// The marker in its label.
        marker: Marker,
    },
    /// Replace all grants of a token of ours in place.
    Patch {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// What it may do from then on.
        grants: Grants,
    },
    /// End a held token.
    End {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// Why.
        why: EndWhy,
    },
    /// Take a name of which nothing is left out of the store.
    Drop {
        /// Which.
        name: Name,
    },
    /// Somebody else works with a copy of this store: take a new instance and mint afresh (rule 3).
    Separate,
}

impl Step {
    /// The token that the server is asked to change or to revoke.
    #[must_use]
    pub fn changed_token(&self) -> Option<&TokenId> {
        match self {
            Self::Patch { id, .. } | Self::Revoke { id, .. } | Self::End { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Whose record or tokens it is about.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Note { name, .. }
            | Self::Mint { name, .. }
            | Self::Probe { name, .. }
            | Self::Verify { name, .. }
            | Self::Promote { name, .. }
            | Self::Revoke { name, .. }
            | Self::Patch { name, .. }
            | Self::End { name, .. }
            | Self::Drop { name } => Some(name),
            Self::Separate => None,
        }
    }
}

/// Why a token is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// What there was is gone; counts as a replacement.
    Gone,
    /// `next` has been refused for too long; counts as a replacement, and takes its place.
    Refused,
    /// The current one belongs to another machine, or another server.
    Inherited,
    /// Its time has come.
    Due,
    /// The list asks for other grants, and they cannot be changed in place.
    Grants,
    /// It is due by the server's clock, though this host's tells that it was minted a short while ago.
    Early,
    /// Another for the same reason within a day: what the last mint gave is missing, or is not what was asked for.
    Again,
    /// A person wants a new value; no replacement that counts, and what was counted before is forgotten (rule 11).
    Asked,
}

impl Why {
    /// Whether schedule, list or person ask for it; the brake counts what nothing explains.
    #[must_use]
    pub fn is_explained(self) -> bool {
        match self {
            Self::Missing | Self::Inherited | Self::Due | Self::Grants | Self::Asked => true,
            Self::Gone | Self::Refused | Self::Early | Self::Again => false,
        }
    }
}

/// Why a held token is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndWhy {
    /// A former token's overlap is over (rule 9).
    Overlap,
    /// Its name left the list, and its grace is over (rule 20).
    Removed,
}

/// A change to a record alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `allow` as the list has it now.
    Allow(Arc<Allow>),
    /// The name has left the list, or is back.
    Removed(bool),
    /// The current token may do more than this, which the list asks for; or does not any more.
    Surplus(Option<Grants>),
    /// What a token may do is something else than was known, by somebody else's doing or by our own unheard.
    Grants {
        /// Which.
        id: TokenId,
        /// What the list shows.
        grants: Grants,
    },
    /// The current token, which could not be probed before it was promoted, is accepted.
    Accepted,
    /// The list asks for a lifetime that the current token has outlived already.
    Shortened,
    /// A token that is not ours to end, of a name that nobody wants any more, leaves its place.
    Withdraw(TokenId),
    /// An intent whose token is known to have ended, or never to have been.
    CloseIntent(Marker),
    /// A held token that is gone: current and next leave their place.
    SetAside {
        /// Which.
        id: TokenId,
        /// How it went.
        gone: Gone,
    },
    /// A retiring token that works becomes current again (rule 4).
    Reinstate(TokenId),
    /// An ended token that nobody needs to know about any more.
    Forget(TokenId),
    /// The server is known by another address (rule 12).
    Adopt {
        /// How records knew it.
        from: ServerKey,
    },
}

/// How a token went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The server says so.
    Ended,
    /// The server does not show it and refuses it: its secret is kept for a while in case it comes back.
    Absent,
}
