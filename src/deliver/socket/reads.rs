//! Who has read what, for the log and for `status`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Peer, view::Ready};
use crate::{
    deliver::lock,
    model::{Name, Time},
};

/// Counts are logged so often, when something is read.
const COUNT_EVERY: i64 = 3600;
/// A consumer that keeps asking for what it does not get is told of once in so many seconds.
const DENIAL_EVERY: i64 = 60;
/// A user's name is not looked up again for so long.
const FRESH: Duration = Duration::from_secs(10);
/// So many consumers are remembered; a host has a handful.
const MAX_CONSUMERS: usize = 1024;
/// So many names go on a line of the log.
const NAMES_PER_LINE: usize = 20;

/// A reader, as the log and `status` call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::deliver) enum Who {
    /// Whoever asks over the secrets socket.
    Process { uid: u32, unit: Option<String> },
    /// A unit for which systemd asks.
    Unit(String),
}

impl Who {
    pub(in crate::deliver) fn of(peer: &Peer) -> Self {
        Self::Process { uid: peer.uid, unit: peer.unit.clone() }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, unit: Some(unit) } => write!(f, "{unit} (uid {uid})"),
            Self::Process { uid, unit: None } => write!(f, "uid {uid}"),
            Self::Unit(unit) => write!(f, "{unit} (credential)"),
        }
    }
}

/// The last read of a name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LastRead {
    /// When.
    pub at: Time,
    /// By whom.
    pub by: String,
    /// Which value.
    pub generation: u64,
}

/// All consumers of this process's time.
#[derive(Debug, Default)]
pub(in crate::deliver) struct Reads {
    consumers: Mutex<BTreeMap<Who, Arc<Consumer>>>,
}

impl Reads {
    /// The consumer that somebody is, known from before or not.
    pub(in crate::deliver) fn consumer(&self, who: Who) -> Arc<Consumer> {
        let mut consumers = lock(&self.consumers);
        if let Some(known) = consumers.get(&who) {
            return known.clone();
        }
        let consumer =
            Arc::new(Consumer { who: who.clone(), notes: Mutex::default(), user: Mutex::default() });
        if consumers.len() < MAX_CONSUMERS {
            consumers.insert(who, consumer.clone());
        }
        consumer
    }

    /// When each name was read last, and by whom.
    pub(super) fn last(&self) -> BTreeMap<Name, LastRead> {
        let mut last: BTreeMap<Name, LastRead> = BTreeMap::new();
        for consumer in lock(&self.consumers).values() {
            for (name, read) in consumer.last() {
                let newer = last.get(&name).is_none_or(|known| known.at < read.at);
                if newer {
                    last.insert(name, read);
                }
            }
        }
        last
    }
}

/// One reader and what it has read.
#[derive(Debug)]
pub(in crate::deliver) struct Consumer {
    who: Who,
    notes: Mutex<Notes>,
    /// Its user's name, or that it has none, and when that was looked up.
    user: Mutex<Option<(Option<String>, Instant)>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// What it read last in one piece, and when.
    whole: Option<(Ready, Time)>,
    /// What it read by name.
    single: BTreeMap<Name, (u64, Time)>,
    /// The generations that the log has told of.
    told: BTreeMap<Name, u64>,
    /// Reads since they were last counted, and when that was.
    count: u64,
    counted_at: Option<Time>,
    /// What it did not get, as the log was told, and when.
    denied: Option<(Vec<Name>, Time)>,
    /// What it is not to get, as the log was told.
    not_its: Option<Arc<[Name]>>,
}

impl Consumer {
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// Its user's name, if that was looked up lately: the inner `None` is a user without one.
    pub(super) fn user(&self) -> Option<Option<String>> {
        let user = lock(&self.user);
        user.as_ref().filter(|(_, at)| at.elapsed() < FRESH).map(|(name, _)| name.clone())
    }

    /// It has been looked up.
    pub(super) fn set_user(&self, name: Option<String>) {
        *lock(&self.user) = Some((name, Instant::now()));
    }

    /// It has read all that it may read.
    pub(super) fn has_read(&self, names: &Ready, now: Time) {
        let mut notes = lock(&self.notes);
        let is_new = notes.whole.as_ref().is_none_or(|(before, _)| !Arc::ptr_eq(before, names));
        if is_new {
            self.tell(&mut notes, names.iter().map(|(name, generation)| (name, *generation)));
        }
        notes.whole = Some((names.clone(), now));
        self.count(&mut notes, now);
    }

    /// It has read one name.
    pub(in crate::deliver) fn has_read_one(&self, name: &Name, generation: u64, now: Time) {
        let mut notes = lock(&self.notes);
        notes.single.insert(name.clone(), (generation, now));
        self.tell(&mut notes, std::iter::once((name, generation)));
        self.count(&mut notes, now);
    }

    /// Whether the log should be told that these names were asked for in vain: when they are others than the last
    /// time, and else once a minute.
    pub(in crate::deliver) fn is_denied(&self, names: Vec<Name>, now: Time) -> bool {
        let mut notes = lock(&self.notes);
        let told = notes.denied.as_ref().is_some_and(|(before, at)| {
            *before == names && now.as_second().abs_diff(at.as_second()) < DENIAL_EVERY.unsigned_abs()
        });
        if !told {
            notes.denied = Some((names, now));
        }
        !told
    }

    /// Whether these names that it is not to get are others than the log was told of.
    pub(super) fn is_news(&self, names: &Arc<[Name]>) -> bool {
        let mut notes = lock(&self.notes);
        let known = notes.not_its.as_ref().is_some_and(|told| Arc::ptr_eq(told, names) || told == names);
        notes.not_its = Some(names.clone());
        !known
    }

    /// The first read of each name's generation.
    fn tell<'a>(&self, notes: &mut Notes, read: impl Iterator<Item = (&'a Name, u64)>) {
        let mut new = Vec::new();
        for (name, generation) in read {
            if notes.told.get(name) != Some(&generation) {
                notes.told.insert(name.clone(), generation);
                new.push(format!("{name} (generation {generation})"));
            }
        }
        for names in new.chunks(NAMES_PER_LINE) {
            tracing::info!("first read by {}: {}", self.who, names.join(", "));
        }
    }

    fn count(&self, notes: &mut Notes, now: Time) {
        notes.count += 1;
        let since = *notes.counted_at.get_or_insert(now);
        let passed = now.as_second().saturating_sub(since.as_second());
        if passed >= COUNT_EVERY {
            tracing::info!(
                "read by {}: {} times in {:.0?}",
                self.who,
                notes.count,
                Duration::from_secs(passed.unsigned_abs())
            );
            (notes.count, notes.counted_at) = (0, Some(now));
        }
    }

    fn last(&self) -> Vec<(Name, LastRead)> {
        let notes = lock(&self.notes);
        let whole = notes
            .whole
            .iter()
            .flat_map(|(names, at)| names.iter().map(|(name, generation)| (name.clone(), *generation, *at)));
        let single = notes.single.iter().map(|(name, (generation, at))| (name.clone(), *generation, *at));
        whole
            .chain(single)
            .map(|(name, generation, at)| (name, LastRead { at, by: self.who.to_string(), generation }))
            .collect()
    }
}
