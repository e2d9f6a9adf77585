//! Tokens as a record knows them: held, retiring, intended, revoked.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{
    BootTime, Credential, Grants, Marker, Moment, Secret, ServerKey, Time, TokenId, credential::sealed,
};

/// A token in our hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerKey,
    /// The marker it was minted under; none for an imported one.
    #[serde(default)]
    pub marker: Option<Marker>,
    /// What consumers get.
    pub secret: Credential,
    /// What it may do.
    pub grants: Grants,
    /// When the server says it was created; the date of its answer where that claim cannot be true (rule 10).
    pub created_at: Time,
    /// The server's claim, where it cannot be true: lists show the token with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_created_at: Option<Time>,
    /// As the server said.
    #[serde(default)]
    pub expires_at: Option<Time>,
    /// When the server was asked to let it expire, where it said something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_to_expire_at: Option<Time>,
    /// How we came by it.
    pub origin: Origin,
}

impl Held {
    /// The creation time that the server's list shows for it.
    #[must_use]
    pub fn listed_created_at(&self) -> Time {
        self.claimed_created_at.unwrap_or(self.created_at)
    }

    /// Whether the server lets it live longer than it was asked to.
    #[must_use]
    pub fn outlives(&self) -> bool {
        self.was_to_expire_at.is_some_and(|asked| self.expires_at.is_none_or(|at| at > asked))
    }
}

/// How we came by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Minted by this store.
    Minted,
    /// Given to us by a person.
    Imported {
        /// Nobody else uses it.
        exclusive: bool,
    },
    /// In a store that was copied from another machine.
    Inherited,
}

impl Origin {
    /// Rule 8: whether it is ours to change and to revoke. Tokens that others may use are not.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Minted | Self::Imported { exclusive: true })
    }
}

/// A former token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retiring {
    /// The token.
    pub held: Held,
    /// Since when it is not current.
    pub since: Time,
    /// The same on the boot-time clock, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootTime>,
    /// Which value of its name it was; zero: that is not known, or it never was one.
    #[serde(default)]
    pub generation: u64,
    /// What is done with it.
    pub state: RetiringState,
}

/// What is done with a retiring token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetiringState {
    /// It still works, for those who have not picked up the new one.
    Overlap,
    /// It was replaced before anybody had it: revoked at once.
    Unused,
    /// Its revocation is about to be requested, or was: nobody may count on it any more.
    Revoking,
    /// The server does not show it any more (rule 4); kept in case it comes back.
    Absent,
}

/// A sealed note, written before a mint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// In the description of the token that comes of it.
    pub marker: Marker,
    /// Where it is minted.
    pub server: ServerKey,
    /// After this the request is not answered any more.
    pub deadline: Time,
    /// The same on the boot-time clock, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootTime>,
    /// Where the secret is chosen here.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_secret")]
    pub secret: Option<Secret>,
}

/// A token that was revoked, or found to be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lived.
    pub server: ServerKey,
    /// The marker it was minted under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<Marker>,
    /// The creation time that the server's list shows for it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When.
    pub at: Time,
    /// The same on the boot-time clock, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootTime>,
    /// Rule 8: if it lives all the same, it is ours to revoke again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ours: bool,
    /// Nobody ever had its secret: if it lives, it is revoked whatever its name has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unused: bool,
}

impl Revoked {
    pub(super) fn of(held: Held, now: &Moment) -> Self {
        let (created_at, is_ours) = (Some(held.listed_created_at()), held.origin.is_ours());
        let (id, server, marker) = (held.id, held.server, held.marker);
        let Moment { at, boot } = now.clone();
        Self { id, server, marker, created_at, at, boot, is_ours, unused: false }
    }
}

/// How a token was found to be gone (rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The server's list shows it as revoked or expired, and it is refused.
    Shown,
    /// The list lacks it, and it is refused: its secret is kept for a while in case it comes back.
    Absent,
}

mod optional_secret {
    use super::{Deserializer, Serializer, sealed};
    use crate::model::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => sealed::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        sealed::deserialize(deserializer).map(Some)
    }
}
