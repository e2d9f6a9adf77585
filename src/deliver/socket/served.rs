//! What the secrets socket answers from: every name with its value, in memory alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::Serialize;
use tokio::sync::watch;

use super::{Peer, view::View};
use crate::{
    deliver::Readers,
    model::{Allow, Name, Secret, Time},
};

/// So many sets of readable names are kept rendered; a host has a handful.
const MAX_VIEWS: usize = 64;

/// So many times that a name has lost readers are remembered: more names than a host has. Who has not asked since is
/// told less, and finds out with its next question without a cursor.
const MOST_LOSSES: usize = 16 << 10;

/// The table of names and values, shared by whoever delivers and whoever answers.
#[derive(Debug)]
pub struct Served {
    /// Of this process: what a cursor of another one says means nothing here.
    epoch: u64,
    table: RwLock<Table>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    /// Store and list have been read: there are no other names than these.
    is_complete: bool,
    entries: BTreeMap<Name, Entry>,
    changed_at: Time,
    /// Names that others may read now than before, or nobody, oldest first.
    losses: VecDeque<Loss>,
    /// By set of readable names, as bits in the order of `entries`; all of the current version.
    views: HashMap<Vec<u64>, Arc<View>>,
}

/// One name.
#[derive(Debug)]
struct Entry {
    value: Option<Value>,
    /// Shared by all names with the same `allow`.
    readers: Arc<Readers>,
    /// The version of the table that it changed at last.
    version: u64,
}

/// Who could read a name up to a version of the table.
#[derive(Debug)]
struct Loss {
    version: u64,
    name: Name,
    readers: Arc<Readers>,
}

/// What has changed for one caller since a cursor.
#[derive(Debug, Serialize)]
pub(super) struct Changes {
    /// From here on.
    pub(super) cursor: String,
    /// With their generations, 0 where there is no value.
    pub(super) changed: BTreeMap<Name, u64>,
    /// Those that it could read, and cannot any more.
    pub(super) gone: BTreeSet<Name>,
}

/// A value that may be handed out.
#[derive(Clone, Debug)]
pub(in crate::deliver) struct Value {
    pub(in crate::deliver) generation: u64,
    pub(in crate::deliver) secret: Secret,
}

impl Value {
    /// The generation would do, but for a record that was restored from a backup.
    fn is(&self, generation: u64, secret: &Secret) -> bool {
        self.generation == generation && self.secret == *secret
    }
}

/// What a caller gets of one name.
#[derive(Debug)]
pub(in crate::deliver) enum One {
    /// The value.
    Ready(Value),
    /// There is none yet, or not at the moment.
    NotReady,
    /// It is there for others, named here.
    NotYours(Allow),
    /// Neither list nor store has the name.
    Unknown,
}

impl Served {
    /// Nothing yet.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { epoch, table: RwLock::default(), version: watch::Sender::new(1) }
    }

    /// Makes this the name's value, or says that it has none for now, and who may read it. Tells whether that is new.
    pub fn put(&self, name: &Name, value: Option<(u64, &Secret)>, readers: &Arc<Readers>) -> bool {
        if self.holds(name, value, readers).is_some() {
            return false;
        }
        let value = value.map(|(generation, secret)| Value { generation, secret: secret.clone() });
        let readers = readers.clone();
        self.change(|table, version| table.set(name.clone(), Entry { value, readers, version }));
        true
    }

    /// Whether [`Self::put`] would change nothing; then since which version of the table all this is so.
    #[must_use]
    pub fn holds(&self, name: &Name, value: Option<(u64, &Secret)>, readers: &Arc<Readers>) -> Option<u64> {
        let holds = |entry: &&Entry| {
            let same_value = match (&entry.value, value) {
                (Some(there), Some((generation, secret))) => there.is(generation, secret),
                (None, None) => true,
                _ => false,
            };
            same_value && same(&entry.readers, readers)
        };
        self.table().entries.get(name).filter(holds).map(|entry| entry.version)
    }

    /// Whether this is the value that a name has here, whoever may read it.
    pub(in crate::deliver) fn hands_out(&self, name: &Name, generation: u64, secret: &Secret) -> bool {
        let table = self.table();
        let there = table.entries.get(name).and_then(|entry| entry.value.as_ref());
        there.is_some_and(|there| there.is(generation, secret))
    }

    /// Of all the names there are, those without a value, known here or not; `None` where there are none, and nothing
    /// else is known here either.
    pub(in crate::deliver) fn without_value(
        &self,
        names: &BTreeMap<&Name, &Allow>,
    ) -> Option<Vec<(Name, Allow)>> {
        let table = self.table();
        let has_value = |name: &Name| table.entries.get(name).is_some_and(|entry| entry.value.is_some());
        let without: Vec<(Name, Allow)> = names
            .iter()
            .filter(|(name, _)| !has_value(name))
            .map(|(name, allow)| ((*name).clone(), (*allow).clone()))
            .collect();
        (!without.is_empty() || table.entries.len() != names.len()).then_some(without)
    }

    /// These are all the names there are from now on, those of `without_value` with their readers; any other is
    /// forgotten.
    pub(in crate::deliver) fn expect(
        &self,
        names: &BTreeSet<Name>,
        without_value: Vec<(Name, Arc<Readers>)>,
    ) {
        let is_known = |table: &Table, name: &Name, readers: &Arc<Readers>| {
            let entry = table.entries.get(name);
            entry.is_some_and(|entry| entry.value.is_some() || same(&entry.readers, readers))
        };
        let settled = {
            let table = self.table();
            table.entries.len() == names.len()
                && without_value.iter().all(|(name, readers)| is_known(&table, name, readers))
        };
        if settled {
            return;
        }
        self.change(|table, version| {
            let forgotten: Vec<_> = table.entries.extract_if(.., |name, _| !names.contains(name)).collect();
            forgotten.into_iter().for_each(|(name, entry)| table.lost(version, name, entry.readers));
            for (name, readers) in without_value {
                if !is_known(table, &name, &readers) {
                    table.set(name, Entry { value: None, readers, version });
                }
            }
        });
    }

    /// Who may read each name, resolved anew by `resolve`, which may take long: nothing is locked meanwhile.
    pub fn resolve_again(&self, mut resolve: impl FnMut(&Allow) -> Arc<Readers>) {
        let all: Vec<(Name, Arc<Readers>)> =
            self.table().entries.iter().map(|(name, entry)| (name.clone(), entry.readers.clone())).collect();
        let mut changed = BTreeMap::new();
        for (name, before) in all {
            let readers = resolve(&before.allow);
            let differs = |entry: &Entry| same(&entry.readers, &before) && !same(&before, &readers);
            if self.table().entries.get(&name).is_some_and(differs) {
                changed.insert(name, readers);
            }
        }
        if !changed.is_empty() {
            self.change(|table, version| {
                for (name, readers) in changed {
                    if let Some(entry) = table.entries.get_mut(&name) {
                        let before = std::mem::replace(&mut entry.readers, readers);
                        entry.version = version;
                        table.lost(version, name, before);
                    }
                }
            });
        }
    }

    /// Grows with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// From now on a name that is not here is one that there is not.
    pub(in crate::deliver) fn complete(&self) {
        if !self.is_complete() {
            self.change(|table, _| table.is_complete = true);
        }
    }

    /// Whether all names are known.
    pub(in crate::deliver) fn is_complete(&self) -> bool {
        self.table().is_complete
    }

    /// Tells of changes.
    pub(in crate::deliver) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What a caller may read now, rendered once for all who may read the same.
    pub(super) fn view(&self, peer: &Peer) -> Arc<View> {
        let (version, permitted) = {
            let table = self.table();
            let permitted = permitted(&table.entries, peer);
            if let Some(view) = table.views.get(&permitted) {
                return view.clone();
            }
            (self.version(), permitted)
        };
        let mut table = self.table_mut();
        // It may have changed in between: then the bits stand for other names.
        let permitted =
            if self.version() == version { permitted } else { self::permitted(&table.entries, peer) };
        let of = |(index, (name, entry)): (usize, (&Name, &Entry))| {
            let may_read = permitted[index / 64] & (1 << (index % 64)) != 0;
            (name.clone(), may_read.then(|| entry.value.clone()))
        };
        let names = table.entries.iter().enumerate().map(of).collect();
        let view = Arc::new(View::new(self.version(), table.changed_at, names, peer.is_master()));
        if table.views.len() >= MAX_VIEWS {
            table.views.clear();
        }
        table.views.insert(permitted, view.clone());
        view
    }

    /// One name, for one caller.
    pub(super) fn one(&self, name: &Name, peer: &Peer) -> One {
        self.one_if(name, |readers| readers.admit(peer))
    }

    /// One name, for one unit.
    pub(in crate::deliver) fn one_of_unit(&self, name: &Name, unit: &str) -> One {
        self.one_if(name, |readers| readers.admit_unit(unit))
    }

    fn one_if(&self, name: &Name, admits: impl FnOnce(&Readers) -> bool) -> One {
        match self.table().entries.get(name) {
            None => One::Unknown,
            Some(entry) if !admits(&entry.readers) => One::NotYours(entry.readers.allow.clone()),
            Some(Entry { value: None, .. }) => One::NotReady,
            Some(Entry { value: Some(value), .. }) => One::Ready(value.clone()),
        }
    }

    /// What has changed for a caller since a cursor. A cursor of another process, or none, means all there is.
    pub(super) fn changes(&self, peer: &Peer, cursor: Option<&str>) -> Changes {
        let table = self.table();
        let version = self.version();
        let since = cursor.and_then(|cursor| self.parse_cursor(cursor)).filter(|since| *since <= version);
        let changed = table
            .entries
            .iter()
            .filter(|(_, entry)| since.is_none_or(|since| entry.version > since) && entry.readers.admit(peer))
            .map(|(name, entry)| (name.clone(), entry.value.as_ref().map_or(0, |value| value.generation)))
            .collect();
        let gone = since.map(|since| table.lost_to(peer, since)).unwrap_or_default();
        Changes { cursor: format!("{:016x}.{version}", self.epoch), changed, gone }
    }

    fn parse_cursor(&self, cursor: &str) -> Option<u64> {
        let (epoch, version) = cursor.split_once('.')?;
        (u64::from_str_radix(epoch, 16) == Ok(self.epoch)).then(|| version.parse().ok())?
    }

    fn change(&self, change: impl FnOnce(&mut Table, u64)) {
        let mut table = self.table_mut();
        let version = self.version() + 1;
        change(&mut table, version);
        table.views.clear();
        table.changed_at = Time::now();
        // While the table is still locked: whoever sees the version finds the table as it says.
        self.version.send_replace(version);
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn set(&mut self, name: Name, entry: Entry) {
        let (version, readers) = (entry.version, entry.readers.clone());
        if let Some(before) = self.entries.insert(name.clone(), entry)
            && !same(&before.readers, &readers)
        {
            self.lost(version, name, before.readers);
        }
    }

    /// What a caller could read at that version, and cannot now.
    fn lost_to(&self, peer: &Peer, since: u64) -> BTreeSet<Name> {
        let may_read = |name| self.entries.get(name).is_some_and(|entry| entry.readers.admit(peer));
        let losses = self.losses.iter().rev().take_while(|loss| loss.version > since);
        let gone = losses.filter(|loss| loss.readers.admit(peer) && !may_read(&loss.name));
        gone.map(|loss| loss.name.clone()).collect()
    }

    /// Others may read it from this version on than these.
    fn lost(&mut self, version: u64, name: Name, readers: Arc<Readers>) {
        if self.losses.len() >= MOST_LOSSES {
            self.losses.pop_front();
        }
        self.losses.push_back(Loss { version, name, readers });
    }
}

/// Most names share theirs, and thousands are compared in a pass.
fn same(one: &Arc<Readers>, other: &Arc<Readers>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Which entries a peer may read, a bit for each.
fn permitted(entries: &BTreeMap<Name, Entry>, peer: &Peer) -> Vec<u64> {
    let mut bits = vec![0; entries.len().div_ceil(64)];
    for (index, entry) in entries.values().enumerate() {
        if entry.readers.admit(peer) {
            bits[index / 64] |= 1 << (index % 64);
        }
    }
    bits
}
