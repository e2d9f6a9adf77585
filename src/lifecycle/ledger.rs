//! The records in memory, each the same as in the store: a change is sealed first and remembered after.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    hint::Hint,
    model::{Known, Marker, Name, Origin, Record, RecordVersion, Spec},
    store::{Instances, RecordError, RecordFault, Revision, SealError, Store, StoreError, Stored},
};

/// So many records are sealed at once where many change for one reason.
const SEALS: usize = 16;

/// The store's records, read at start; memory rules after.
#[derive(Debug)]
pub struct Ledger<T> {
    store: T,
    entries: Mutex<Entries>,
    /// One change of a name at a time, so that none is planned on what another is about to seal.
    locks: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug)]
struct Entries {
    known: Arc<BTreeMap<Name, Known>>,
    revisions: BTreeMap<Name, Revision>,
    faults: Vec<RecordError>,
    /// Of these the store may have another record than is known here: a change failed, and what is there then could not be
    /// read either.
    in_doubt: BTreeSet<Name>,
    instances: Instances,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The name's record cannot be read, or is a later program's.
    #[error("token {0}: its record is not ours to change")]
    NotOurs(Name),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl<T: Store> Ledger<T> {
    /// Reads all records.
    ///
    /// # Errors
    /// The store is not available. It is then never taken for empty.
    pub async fn open(store: T) -> Result<Self, StoreError> {
        let mut entries = Entries {
            known: Arc::default(),
            revisions: BTreeMap::new(),
            faults: Vec::new(),
            in_doubt: BTreeSet::new(),
            instances: store.instances().await?,
        };
        for (name, read) in store.load().await? {
            entries.set(&name, read.map(Some));
        }
        Ok(Self { store, entries: Mutex::new(entries), locks: Mutex::default() })
    }

    /// All records, as they are now.
    #[must_use]
    pub fn known(&self) -> Arc<BTreeMap<Name, Known>> {
        self.entries().known.clone()
    }

    /// One record, if it can be read.
    #[must_use]
    pub fn record(&self, name: &Name) -> Option<Arc<Record>> {
        match self.entries().known.get(name)? {
            Known::Ours(record) | Known::Later(record) => Some(record.clone()),
            Known::Unreadable => None,
        }
    }

    /// How many values a name has had, as far as can be read.
    #[must_use]
    pub fn generation(&self, name: &Name) -> u64 {
        self.record(name).map_or(0, |record| record.generation)
    }

    /// What was wrong with the records that cannot be read.
    #[must_use]
    pub fn faults(&self) -> Vec<RecordError> {
        self.entries().faults.clone()
    }

    /// Whose tokens are ours.
    #[must_use]
    pub fn instances(&self) -> Instances {
        self.entries().instances.clone()
    }

    /// The store itself, for what is no record.
    #[must_use]
    pub fn store(&self) -> &T {
        &self.store
    }

    /// Changes a record, made by `new` where there is none, and seals it; seals nothing where `change` changes
    /// nothing. Memory has the change only once the store has it.
    ///
    /// # Errors
    /// The record is as it was. Where somebody else had changed it, all records have been read anew.
    pub async fn change(
        &self,
        name: &Name,
        new: impl FnOnce() -> Record,
        change: impl FnOnce(&mut Record),
    ) -> Result<Arc<Record>, ChangeError> {
        let lock = self.lock_of(name);
        let _one_at_a_time = lock.lock().await;
        self.settle(name).await?;
        let before = match self.entries().known.get(name) {
            Some(Known::Ours(record)) => Some(record.clone()),
            Some(Known::Later(_) | Known::Unreadable) => return Err(ChangeError::NotOurs(name.clone())),
            None => None,
        };
        let mut after = before.as_deref().cloned().unwrap_or_else(new);
        change(&mut after);
        if let Some(before) = before.filter(|before| **before == after) {
            return Ok(before);
        }
        after.version = RecordVersion::CURRENT;
        let read = self.entries().revisions.get(name).copied();
        match self.store.seal(&after, read).await {
            Ok(revision) => Ok(self.entries().put(after, revision)),
            Err(error) => {
                // It may be either one now: which it is decides what is planned next.
                let there = self.store.read(name).await;
                self.entries().set_or_doubt(name, there);
                Err(error.into())
            }
        }
    }

    /// Takes a record out of the store, if it can be read and is ours.
    ///
    /// # Errors
    /// It is still there.
    pub async fn forget(&self, name: &Name) -> Result<(), ChangeError> {
        let lock = self.lock_of(name);
        let _one_at_a_time = lock.lock().await;
        self.settle(name).await?;
        let (is_ours, revision) = {
            let entries = self.entries();
            let known = entries.known.get(name);
            (known.is_none_or(|known| matches!(known, Known::Ours(_))), entries.revisions.get(name).copied())
        };
        if !is_ours {
            return Err(ChangeError::NotOurs(name.clone()));
        }
        let Some(revision) = revision else { return Ok(()) };
        let removed = self.store.remove(name, revision).await;
        match &removed {
            Ok(()) => self.entries().set(name, Ok(None)),
            Err(_) => {
                let there = self.store.read(name).await;
                self.entries().set_or_doubt(name, there);
            }
        }
        removed.map_err(ChangeError::from)
    }

    /// Seals who may read each name according to a list, before that list is accepted. What a reader has lost it thereby
    /// does not get back once the name has left the list, whether or not a server has answered in between.
    ///
    /// # Errors
    /// Some records are as they were.
    pub async fn allow(&self, specs: &BTreeMap<Name, Spec>) -> Result<(), SealError> {
        let known = self.known();
        let changed = specs.values().filter_map(|spec| match known.get(&spec.name) {
            Some(Known::Ours(record)) if record.allow != spec.allow => Some((record.clone(), &spec.allow)),
            _ => None,
        });
        let seals = stream::iter(changed).map(|(record, allow)| async move {
            self.change_ours(&record, |record| record.allow = allow.clone()).await.map(drop)
        });
        seals.buffer_unordered(SEALS).try_collect().await
    }

    /// Changes a record that was there. `false`: it is not ours to change.
    async fn change_ours(&self, there: &Record, change: impl FnOnce(&mut Record)) -> Result<bool, SealError> {
        match self.change(&there.name, || there.clone(), change).await {
            Ok(_) => Ok(true),
            Err(ChangeError::NotOurs(_)) => Ok(false),
            Err(ChangeError::Seal(error)) => Err(error),
        }
    }

    /// What the store has of a name that is in doubt is found out before anything is changed.
    async fn settle(&self, name: &Name) -> Result<(), SealError> {
        if !self.entries().in_doubt.contains(name) {
            return Ok(());
        }
        match self.store.read(name).await {
            Err(error) if matches!(error.fault, RecordFault::Unreadable(_)) => {
                let (what, fix) = (error.fault.to_string(), error.hint());
                Err(StoreError { path: error.file, what, fix, source: None }.into())
            }
            there => {
                self.entries().set(name, there);
                Ok(())
            }
        }
    }

    /// Somebody else uses these tokens: they are replaced, never ended by us. Repeated if it was interrupted.
    ///
    /// # Errors
    /// Some records, or the instance, are as they were.
    pub async fn disown(&self) -> Result<(), DisownError> {
        let names: Vec<Name> = self.known().keys().cloned().collect();
        for name in names {
            let Some(there) = self.record(&name) else { continue };
            self.change_ours(&there, inherit).await?;
        }
        let instances = self.store.renew_instance().await?;
        self.entries().instances = instances;
        Ok(())
    }

    /// The tokens of a copied store are this host's from now on (the opposite of [`Self::disown`], but for what that
    /// forgot). Returns how many.
    ///
    /// # Errors
    /// Some records are as they were.
    pub async fn own(&self) -> Result<usize, SealError> {
        let mut owned = 0;
        let known = self.known();
        for record in known.values().filter_map(Known::record) {
            let inherited = record.held().filter(|held| held.origin == Origin::Inherited).count();
            if inherited == 0 {
                continue;
            }
            if self.change_ours(record, take_over).await? {
                owned += inherited;
            }
        }
        Ok(owned)
    }

    fn lock_of(&self, name: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(name.clone()).or_default().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the tokens of a copied store could not be set apart.
#[derive(Debug, thiserror::Error)]
pub enum DisownError {
    /// A record.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The instance.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Hint for DisownError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Seal(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}

/// What another machine may be using as well is kept, and nothing of it is ever ended from here: its intents, too,
/// may have become that machine's tokens, whatever this one learnt of their mints.
fn inherit(record: &mut Record) {
    for held in record.held_mut() {
        held.origin = Origin::Inherited;
    }
    record.intents.clear();
    for ended in &mut record.ended {
        ended.marker = None;
    }
    // Only the brake still counts these.
    for attempt in &mut record.mints {
        attempt.marker = Marker::from_bits([0; 16]);
    }
}

fn take_over(record: &mut Record) {
    for held in record.held_mut().filter(|held| held.origin == Origin::Inherited) {
        held.origin =
            if held.marker.is_some() { Origin::Minted } else { Origin::Imported { exclusive: false } };
    }
}

impl Entries {
    /// The same, but a store that could not be read has told nothing: what is remembered is delivered as before.
    fn set_or_doubt(&mut self, name: &Name, read: Result<Option<Stored>, RecordError>) {
        match read {
            Err(RecordError { fault: RecordFault::Unreadable(_), .. }) => {
                _ = self.in_doubt.insert(name.clone())
            }
            read => self.set(name, read),
        }
    }

    /// What was read of one name takes the place of what was remembered.
    fn set(&mut self, name: &Name, read: Result<Option<Stored>, RecordError>) {
        self.in_doubt.remove(name);
        self.revisions.remove(name);
        self.faults.retain(|fault| fault.name != *name);
        let known = Arc::make_mut(&mut self.known);
        match read {
            Ok(Some(stored)) => {
                self.revisions.insert(name.clone(), stored.revision);
                let ours = stored.is_ours_to_change();
                let record = stored.record;
                known.insert(name.clone(), if ours { Known::Ours(record) } else { Known::Later(record) });
            }
            Ok(None) => {
                known.remove(name);
            }
            Err(fault) => {
                self.faults.push(fault);
                known.insert(name.clone(), Known::Unreadable);
            }
        }
    }

    fn put(&mut self, record: Record, revision: Revision) -> Arc<Record> {
        let record = Arc::new(record);
        self.revisions.insert(record.name.clone(), revision);
        // Cheap as long as no pass is looking at the map; else one copy of pointers for that pass.
        Arc::make_mut(&mut self.known).insert(record.name.clone(), Known::Ours(record.clone()));
        record
    }
}
