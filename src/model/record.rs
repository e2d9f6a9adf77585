//! What the store knows about one name.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use super::{
    Allow, BootTime, Credential, Grants, Marker, MintAttempt, Moment, Name, ServerKey, Time, TokenId,
    credential::{sealed, wiped_json},
};

/// The largest record, as JSON, in bytes: thousands of times what one holds in practice.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// The format of a record, `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordVersion {
    /// Another one cannot be read.
    pub major: u16,
    /// A higher one is delivered, but neither planned for nor rewritten.
    pub minor: u16,
}

impl RecordVersion {
    /// What this program writes.
    pub const CURRENT: Self = Self { major: 1, minor: 3 };
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for RecordVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        };
        parse().ok_or_else(|| D::Error::custom("expected a version like \"1.0\""))
    }
}

/// All that the store knows about one name: one JSON object inside one sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// First, so that it is read before anything that may have changed.
    pub version: RecordVersion,
    /// Must be the name that the file has.
    pub name: Name,
    /// How many values the name has had; grows by one at each promote.
    pub generation: u64,
    /// When the current one became it.
    #[serde(default)]
    pub promoted_at: Option<Time>,
    /// As of the last valid list.
    pub allow: Arc<Allow>,
    /// The token that is delivered.
    #[serde(default)]
    pub current: Option<Held>,
    /// Minted and sealed, not yet promoted.
    #[serde(default)]
    pub next: Option<Held>,
    /// Former tokens that still work, or may.
    #[serde(default, deserialize_with = "exactly")]
    pub retiring: Vec<Retiring>,
    /// Mints begun and not known to have ended.
    #[serde(default, deserialize_with = "exactly")]
    pub intents: Vec<Intent>,
    /// Tokens we ended; kept until a list shows it and 30 days have passed.
    #[serde(default, deserialize_with = "exactly")]
    pub ended: Vec<Ended>,
    /// When a refused `next` was minted anew (at most once a day).
    #[serde(default)]
    pub remints: Vec<Time>,
    /// The mints of the last day, and the markers of those that came to nothing.
    #[serde(default, deserialize_with = "exactly", skip_serializing_if = "Vec::is_empty")]
    pub mints: Vec<MintAttempt>,
    /// The name has left the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Moment>,
    /// Since when the current token may do more than the list asks for: it is narrowed after `grace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus_since: Option<Moment>,
    /// What the list asked for then: what it asks for no more since has a `grace` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus_beside: Option<Grants>,
    /// When the list was seen to ask for a lifetime that the current token has outlived already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortened_at: Option<Time>,
    /// A person has undone a rotation: the schedule waits for the next one that is asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The current token was promoted although no probe could be made (rule 6), and has not been accepted since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprobed: bool,
    /// 0 to 1000: the share, in ten-thousandths of the lifetime, by which rotation comes early; drawn once.
    #[serde(default)]
    pub jitter: u16,
}

impl Record {
    /// A name of which nothing is known yet.
    #[must_use]
    pub fn new(name: Name, allow: impl Into<Arc<Allow>>, jitter: u16) -> Self {
        Self {
            version: RecordVersion::CURRENT,
            name,
            generation: 0,
            promoted_at: None,
            allow: allow.into(),
            current: None,
            next: None,
            retiring: vec![],
            intents: vec![],
            ended: vec![],
            remints: vec![],
            mints: vec![],
            removed: None,
            surplus_since: None,
            surplus_beside: None,
            shortened_at: None,
            suspended: false,
            unprobed: false,
            jitter,
        }
    }

    /// Every held token: current, next, then the retiring ones.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.current.iter().chain(&self.next).chain(self.retiring.iter().map(|retiring| &retiring.held))
    }

    /// The same, to be changed.
    pub fn held_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.current
            .iter_mut()
            .chain(&mut self.next)
            .chain(self.retiring.iter_mut().map(|retiring| &mut retiring.held))
    }

    /// Whether nothing on any server has to do with it any more, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held().next().is_none() && self.intents.is_empty() && self.ended.is_empty()
    }

    /// Whether some mint of this record bore the marker.
    #[must_use]
    pub fn knows_marker(&self, marker: &Marker) -> bool {
        self.intents.iter().any(|intent| intent.marker == *marker)
            || self.held().any(|held| held.marker.as_ref() == Some(marker))
            || self.ended.iter().any(|ended| ended.marker.as_ref() == Some(marker))
            || self.mints.iter().any(|attempt| attempt.marker == *marker)
    }

    /// The JSON that is sealed, in memory that is wiped.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        wiped_json(self)
    }
}

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
    /// Rule 8: whether it is ours to change and to end. What others may use is not.
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
    /// Made unusable, not yet ended.
    Disabled,
    /// Its end has been asked for, and nobody knows whether that was heard: it may come late.
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
    pub secret: Option<super::Secret>,
}

/// A token that we ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lived.
    pub server: ServerKey,
    /// The marker it was minted under.
    #[serde(default)]
    pub marker: Option<Marker>,
    /// When.
    pub at: Time,
    /// The same on the boot-time clock, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootTime>,
    /// Nobody ever had its secret: if it lives, it is revoked whatever its name has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unused: bool,
}

/// Without room for more: serde leaves some for four, which is most of what a record takes.
fn exactly<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Box::deserialize(deserializer).map(<[T]>::into_vec)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Product, Secret};

    #[test]
    fn what_is_written_is_what_is_read() {
        let server = ServerKey { product: Product::Clustered, origin: "https://c".into(), cluster: None };
        let mut record = Record::new("a".parse().expect("a name"), Allow::default(), 7);
        record.current = Some(Held {
            id: TokenId("1".into()),
            server: server.clone(),
            marker: Some(Marker::from_bits([7; 16])),
            secret: Credential::Token(Secret::new("canary".into())),
            grants: Grants::default(),
            created_at: Time::UNIX_EPOCH,
            claimed_created_at: Some(Time::UNIX_EPOCH),
            expires_at: None,
            was_to_expire_at: Some(Time::UNIX_EPOCH),
            origin: Origin::Minted,
        });
        record.intents.push(Intent {
            marker: Marker::from_bits([8; 16]),
            server,
            deadline: Time::UNIX_EPOCH,
            boot: None,
            secret: None,
        });
        let json = record.to_json();
        assert_eq!(serde_json::from_slice::<Record>(&json).expect("a record"), record);
    }
}
