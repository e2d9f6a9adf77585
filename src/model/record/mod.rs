//! What the store knows about one name, and the events that alone change it.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use super::{Allow, Grants, Marker, MintAttempt, Moment, Name, Time, credential::wiped_json};

mod common;
mod event;
mod held;
#[cfg(test)]
mod tests;

pub use common::CommonValues;
pub use event::{Conflict, Event, NotAllowed};
pub use held::{Gone, Held, Intent, Origin, Retiring, RetiringState, Revoked};

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
    pub const CURRENT: Self = Self { major: 1, minor: 4 };
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

/// What a record holds: read through [`Record`], changed by [`Event`]s alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
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
    /// Mints of unknown fate.
    #[serde(default, deserialize_with = "exactly")]
    pub intents: Vec<Intent>,
    /// Tokens that were revoked or found gone; kept until a list shows it and 30 days have passed.
    #[serde(default, deserialize_with = "exactly")]
    pub revoked: Vec<Revoked>,
    /// When a refused `next` was replaced (at most once a day).
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
    /// The lifetime that the list asked for when the current token became it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Duration>,
    /// 0 to 1000: the share, in ten-thousandths of the lifetime, by which rotation comes early; drawn once.
    #[serde(default)]
    pub jitter: u16,
}

impl Contents {
    /// Every held token: current, next, then the retiring ones.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        self.current.iter().chain(&self.next).chain(self.retiring.iter().map(|retiring| &retiring.held))
    }

    /// The same, to be changed.
    pub(super) fn held_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.current
            .iter_mut()
            .chain(&mut self.next)
            .chain(self.retiring.iter_mut().map(|retiring| &mut retiring.held))
    }

    /// Whether nothing on any server has to do with it any more, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held().next().is_none() && self.intents.is_empty() && self.revoked.is_empty()
    }

    /// Whether some mint of this record bore the marker.
    #[must_use]
    pub fn knows_marker(&self, marker: &Marker) -> bool {
        self.intents.iter().any(|intent| intent.marker == *marker)
            || self.held().any(|held| held.marker.as_ref() == Some(marker))
            || self.revoked.iter().any(|revoked| revoked.marker.as_ref() == Some(marker))
            || self.mints.iter().any(|attempt| attempt.marker == *marker)
    }
}

/// All that the store knows about one name: one JSON object inside one sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(Contents);

/// Read-only: nothing but an [`Event`] changes a record.
impl Deref for Record {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.0
    }
}

/// Tests begin with records in any state.
#[cfg(test)]
impl std::ops::DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Contents {
        &mut self.0
    }
}

impl Record {
    /// A name of which nothing is known yet.
    #[must_use]
    pub fn new(name: Name, allow: impl Into<Arc<Allow>>, jitter: u16) -> Self {
        Self(Contents {
            version: RecordVersion::CURRENT,
            name,
            generation: 0,
            promoted_at: None,
            allow: allow.into(),
            current: None,
            next: None,
            retiring: vec![],
            intents: vec![],
            revoked: vec![],
            remints: vec![],
            mints: vec![],
            removed: None,
            surplus_since: None,
            surplus_beside: None,
            shortened_at: None,
            suspended: false,
            unprobed: false,
            lifetime: None,
            jitter,
        })
    }

    /// The JSON that is sealed, in memory that is wiped.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        wiped_json(self)
    }
}

/// Without room for more: serde leaves some for four, which is most of what a record takes.
fn exactly<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Box::deserialize(deserializer).map(<[T]>::into_vec)
}
