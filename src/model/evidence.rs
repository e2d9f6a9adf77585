//! What the plan may know besides list and records. Gathered by this process, forgotten with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Held, Marker, Moment, Name, Record, Time, TokenId};

/// A date that is so far from what was expected was set.
const JUMP: Duration = Duration::from_secs(600);

/// A record of the store, as far as it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Planned for and rewritten.
    Ours(Arc<Record>),
    /// Written by a later program: delivered, neither planned for nor rewritten.
    Later(Arc<Record>),
    /// Cannot be read: nothing is done for the name, and nothing of it is swept.
    Unreadable,
}

impl Known {
    /// The record, where there is one to read.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Ours(record) | Self::Later(record) => Some(record),
            Self::Unreadable => None,
        }
    }
}

/// What has been seen of one server's tokens since this process began.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// What the data plane said, by token.
    pub probes: BTreeMap<TokenId, Probed>,
    /// The generation of each name that has reached every delivery.
    pub delivered: Arc<BTreeMap<Name, u64>>,
    /// The Date of the first list that this process got.
    pub first_list: Option<Time>,
    /// What was sealed in another boot is told from there.
    pub anchor: Option<Anchor>,
    /// Held tokens that the list does not show as live, and the Date of the list that lacked them first.
    pub not_live_since: BTreeMap<TokenId, Time>,
    /// Live tokens of our instance that no record knows, and the Date of the list that showed them first.
    pub unknown_since: BTreeMap<TokenId, Time>,
    /// Mints that are under way.
    pub in_flight: BTreeSet<Marker>,
    /// Names whose last mint failed.
    pub waiting: BTreeMap<Name, FailedMint>,
    /// What a person has confirmed of a name.
    pub confirmed: BTreeMap<Name, Word>,
    /// A person wants these names to have a new value now. Forgotten once a token that was minted after the asking is
    /// sealed, or the `next` that was there already is promoted; not sealed itself: whoever asked is told if this
    /// process ends before.
    pub asked: BTreeSet<Name>,
    /// Of names with former tokens: who may still hold one.
    pub holders: BTreeMap<Name, Holders>,
    /// When this process first saw an imported token as `next`.
    pub imported: BTreeMap<TokenId, Time>,
}

/// A moment that a list told, from which it is counted how long ago something was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// On both clocks.
    pub moment: Moment,
    /// The local clock told the same time. Otherwise only what has passed since then is known to have passed: a server's
    /// clock that was set ahead while this host was off would revoke everything.
    pub agreed: bool,
}

impl Evidence {
    /// The first list is the anchor, until there is one on whose time both clocks agree.
    pub fn anchor(&mut self, moment: Moment, agreed: bool) {
        if self.anchor.as_ref().is_none_or(|anchor| agreed && !anchor.agreed) {
            self.anchor = Some(Anchor { moment, agreed });
        }
    }

    /// These held tokens the list does not show as live. What was refused before they were missed proves nothing (rule 4).
    pub fn note_not_live(&mut self, not_live: &BTreeSet<TokenId>, now: Time) {
        self.not_live_since.retain(|id, _| not_live.contains(id));
        for id in not_live {
            if self.not_live_since.contains_key(id) {
                continue;
            }
            self.not_live_since.insert(id.clone(), now);
            if let Some(probed) = self.probes.get_mut(id) {
                probed.refused = None;
            }
        }
    }

    /// A server whose clock is set tells nothing by the times it told before: what was seen then is to be seen again.
    pub fn forget_if_jumped(&mut self, expected: Time, now: Time) {
        let apart: Duration = now.duration_since(expected).unsigned_abs();
        if apart > JUMP {
            self.forget();
        }
    }

    /// What was seen at times that nothing holds together with those to come.
    pub fn forget(&mut self) {
        self.probes.clear();
        self.unknown_since.clear();
        self.not_live_since.clear();
        self.imported.clear();
        self.first_list = None;
    }

    /// Since when a `next` waits to be accepted: since it was minted, or was first seen where it was made elsewhere.
    #[must_use]
    pub fn next_since(&self, next: &Held) -> Time {
        self.imported.get(&next.id).copied().unwrap_or(next.created_at)
    }
}

/// A mint that failed: its name waits before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMint {
    /// Of what.
    pub why: String,
    /// How much longer the name waits.
    pub wait: Duration,
    /// Until when that is, as told when it failed.
    pub until: Time,
}

/// A person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The name moves to another server (rule 12).
    Move,
    /// The tokens of the name, which has left the list, are to be revoked (rule 11).
    Revoke,
}

/// Who may still hold a former value of a name (rule 9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// Readers of a former value that have not read the current one, hooks that have not acknowledged it, and relays
    /// that have handed a former one on; in words for people, sorted.
    pub known: BTreeSet<String>,
    /// From this generation on every reader is known; `None`: of no generation. What was read before this process
    /// began, or by a process that has ended since, nobody knows.
    pub complete_from: Option<u64>,
}

impl Holders {
    /// Whether nobody holds this former value any more.
    #[must_use]
    pub fn nobody_has(&self, generation: u64) -> bool {
        self.known.is_empty() && generation > 0 && self.complete_from.is_some_and(|from| from <= generation)
    }
}

/// What the data plane said of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// When it had last been accepted for everything, as often as the probe asks.
    pub accepted_at: Option<Time>,
    /// That was for some of what it may do only.
    pub partly: bool,
    /// The first and the last refusal since it was last accepted for anything.
    pub refused: Option<(Time, Time)>,
    /// Since when there was no answer that says anything about it, without one that does in between.
    pub unreachable_since: Option<Time>,
    /// When another token was last accepted on the same server, plane and database while this one was refused.
    pub control_accepted_at: Option<Time>,
    /// The last answer, for people.
    pub last: Option<String>,
}

impl Probed {
    /// Notes an acceptance of everything.
    pub fn accept(&mut self, now: Time) {
        *self = Self { accepted_at: Some(now), ..Self::default() };
    }

    /// Notes an acceptance of some of what was asked: it works, though not as it should.
    pub fn accept_partly(&mut self, now: Time) {
        self.accept(now);
        self.partly = true;
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, now: Time, answer: String) {
        let first = self.refused.map_or(now, |(first, _)| first);
        self.refused = Some((first, now));
        self.unreachable_since = None;
        self.last = Some(answer);
    }

    /// Notes an answer that says nothing about the token, or none at all.
    pub fn miss(&mut self, now: Time, answer: String) {
        self.unreachable_since.get_or_insert(now);
        self.last = Some(answer);
    }

    /// How far its first and last refusal are apart.
    #[must_use]
    pub fn refused_for(&self) -> Option<Duration> {
        let (first, last) = self.refused?;
        last.duration_since(first).try_into().ok()
    }
}
