//! What a plan consists of: one thing to do, and why.

use crate::model::{Event, Grants, Marker, Name, TokenId};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Seal an event that concerns nothing but the record.
    Note {
        /// Whose.
        name: Name,
        /// What.
        event: Event,
    },
    /// Intend, mint and seal a token as `next`.
    Mint {
        /// Which.
        name: Name,
        /// Why.
        why: MintReason,
    },
    /// Ask the data plane about a token until it is accepted.
    Probe {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// Ask this one too, to distinguish a refusal of the token from one of the server (rule 6).
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
    /// Revoke a live token of ours that is in no record.
    RevokeStray {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// The marker in its label, if it has one.
        marker: Option<Marker>,
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
    /// Revoke a held token.
    Revoke {
        /// Whose.
        name: Name,
        /// Which.
        id: TokenId,
        /// Why.
        why: RevokeReason,
    },
    /// Take a name of which nothing is left out of the store.
    Drop {
        /// Which.
        name: Name,
    },
    /// Another machine uses a copy of this store: take a new instance and mint again (rule 3).
    Separate,
}

impl Step {
    /// The token that the server is asked to change or to revoke.
    #[must_use]
    pub fn changed_token(&self) -> Option<&TokenId> {
        match self {
            Self::Patch { id, .. } | Self::RevokeStray { id, .. } | Self::Revoke { id, .. } => Some(id),
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
            | Self::RevokeStray { name, .. }
            | Self::Patch { name, .. }
            | Self::Revoke { name, .. }
            | Self::Drop { name } => Some(name),
            Self::Separate => None,
        }
    }
}

/// Why a token is minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintReason {
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
    /// It is due by the server's clock, though by this host's it was minted a short while ago.
    Early,
    /// Another for the same reason within a day: what the last mint gave is missing, or is not what was asked for.
    Again,
    /// A person asked for a new value; no replacement that counts, and what was counted before is forgotten (rule 11).
    Asked,
}

impl MintReason {
    /// Whether schedule, list or person ask for it; the brake counts what nothing explains.
    #[must_use]
    pub fn is_explained(self) -> bool {
        match self {
            Self::Missing | Self::Inherited | Self::Due | Self::Grants | Self::Asked => true,
            Self::Gone | Self::Refused | Self::Early | Self::Again => false,
        }
    }
}

/// Why a held token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    /// A former token's overlap is over (rule 9).
    Overlap,
    /// It was replaced before anybody had it.
    Unused,
    /// Its name left the list, and its grace is over (rule 20).
    Removed,
}
