//! The records in memory, each the same as in the store: events change them, each change is sealed first and remembered
//! after.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    hint::Hint,
    model::{Event, Known, Moment, Name, NotAllowed, Origin, Record, Spec},
    store::{Instances, RecordError, RecordFault, Revision, SealError, Store, StoreError, Stored},
};

/// So many records are sealed at once where many change for one reason.
const SEALS: usize = 16;

/// The store's records, read at start; memory rules after.
#[derive(Debug)]
pub struct Ledger<T> {
    inner: Arc<Inner<T>>,
    /// Writes under way, each with the lock of its name: a write finishes even if its caller does not wait for it.
    writes: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Inner<T> {
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
    /// The store may have another record of these than is known here: a write failed, and the record could not be read
    /// after it.
    in_doubt: BTreeSet<Name>,
    /// What the store has of these may be lost with the power: a write failed, perhaps when all but the last fsync was done.
    /// The next change writes them whole, whatever it changes.
    not_durable: BTreeSet<Name>,
    instances: Instances,
    /// Another machine may use these tokens, and they are not set apart yet.
    is_shared: bool,
    #[cfg(test)]
    mutant: Option<LedgerMutant>,
}

/// What is broken on purpose, to show that this is seen.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LedgerMutant {
    /// A record that cannot be read is left out where the tokens of a copied store are set apart.
    SkipsUnread,
    /// What a failed write left in the store counts as sealed.
    TrustsFailedWrites,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The name's record cannot be read, or is a later program's.
    #[error("token {0}: the record cannot be changed here")]
    NotOurs(Name),
    /// The record is not what the event is about.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Hint for ChangeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotOurs(_) => Some("run `influx-tokend check` to see what is wrong with it".to_owned()),
            Self::NotAllowed(_) => None,
            Self::Seal(error) => error.hint(),
        }
    }
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
            not_durable: BTreeSet::new(),
            instances: store.instances().await?,
            is_shared: false,
            #[cfg(test)]
            mutant: None,
        };
        for (name, read) in store.load().await? {
            entries.set(&name, read.map(Some));
        }
        let inner = Inner { store, entries: Mutex::new(entries), locks: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), writes: Mutex::default() })
    }

    /// All records, as they are now.
    #[must_use]
    pub fn known(&self) -> Arc<BTreeMap<Name, Known>> {
        self.inner.entries().known.clone()
    }

    /// One record, if it can be read.
    #[must_use]
    pub fn record(&self, name: &Name) -> Option<Arc<Record>> {
        match self.inner.entries().known.get(name)? {
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
        self.inner.entries().faults.clone()
    }

    /// Whose tokens are ours.
    #[must_use]
    pub fn instances(&self) -> Instances {
        self.inner.entries().instances.clone()
    }

    /// The store itself, for what is not a record.
    #[must_use]
    pub fn store(&self) -> &T {
        &self.inner.store
    }

    /// Applies events to a record, or to `new` where there is none, all or none, and seals it; seals nothing where they
    /// change nothing. Memory has the change only once the store has it. A caller that goes away meanwhile stops neither.
    /// `None`: the name has no record.
    ///
    /// # Errors
    /// The record is as it was. Where somebody else had changed it, it has been read again.
    pub async fn apply(
        &self,
        name: &Name,
        new: Option<Record>,
        events: Vec<Event>,
        now: Moment,
    ) -> Result<Option<Arc<Record>>, ChangeError> {
        let name = name.clone();
        self.locked(&name.clone(), |inner| async move { inner.change(&name, new, &events, &now).await }).await
    }

    /// Takes a record out of the store, if it can be read and is ours.
    ///
    /// # Errors
    /// It is still there.
    pub async fn forget(&self, name: &Name) -> Result<(), ChangeError> {
        let name = name.clone();
        self.locked(&name.clone(), |inner| async move { inner.forget(&name).await }).await
    }

    /// Seals who may read each name according to a list, before that list is accepted. What a reader has lost it thereby
    /// does not get back once the name has left the list, whether or not a server has answered in between.
    ///
    /// # Errors
    /// Some records are as they were.
    pub async fn allow(&self, specs: &BTreeMap<Name, Spec>, now: &Moment) -> Result<(), ChangeError> {
        let known = self.known();
        let changed = specs.values().filter_map(|spec| match known.get(&spec.name) {
            Some(Known::Ours(record)) if record.allow != spec.allow => {
                Some((spec.name.clone(), Event::Allowed(spec.allow.clone())))
            }
            _ => None,
        });
        self.apply_to_all(changed.collect(), now).await
    }

    /// Somebody else uses these tokens: they are replaced, never revoked by us. All of them, or none before each record can
    /// be read; repeated if it was interrupted.
    ///
    /// # Errors
    /// Some records, or the instance, are as they were; [`Self::is_shared`] until it is repeated.
    pub async fn disown(&self, now: &Moment) -> Result<(), DisownError> {
        self.inner.entries().is_shared = true;
        self.read_again().await;
        let known = self.known();
        let is_ours = |name: &Name| matches!(known.get(name), Some(Known::Ours(_)));
        let (ours, unread): (Vec<Name>, Vec<Name>) = known.keys().cloned().partition(is_ours);
        let waits = !unread.is_empty();
        #[cfg(test)]
        let waits = waits && !self.inner.is_broken(LedgerMutant::SkipsUnread);
        if waits {
            return Err(DisownError::Unread(unread));
        }
        self.apply_to_all(ours.into_iter().map(|name| (name, Event::Inherited)).collect(), now).await?;
        let instances = self.inner.store.renew_instance().await?;
        let mut entries = self.inner.entries();
        (entries.instances, entries.is_shared) = (instances, false);
        Ok(())
    }

    /// Whether [`Self::disown`] is not finished: nothing may be planned with these tokens.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.entries().is_shared
    }

    /// Reads the records that could not be read: somebody may have put them back.
    async fn read_again(&self) {
        let unread = self.faults().into_iter().map(|fault| fault.name);
        for name in unread {
            let again = name.clone();
            self.locked(&name, |inner| async move {
                let there = inner.store.read(&again).await;
                inner.entries().set(&again, there);
            })
            .await;
        }
    }

    /// The tokens of a copied store are this host's from now on (the opposite of [`Self::disown`], but for what that
    /// forgot). Returns how many.
    ///
    /// # Errors
    /// Some records are as they were.
    pub async fn claim(&self, now: &Moment) -> Result<usize, ChangeError> {
        let known = self.known();
        let inherited =
            |record: &Record| record.held().filter(|held| held.origin == Origin::Inherited).count();
        let records = known.values().filter_map(|known| match known {
            Known::Ours(record) => Some((record.name.clone(), inherited(record))),
            Known::Later(_) | Known::Unreadable => None,
        });
        let records: Vec<(Name, usize)> = records.filter(|(_, inherited)| *inherited > 0).collect();
        let events = records.iter().map(|(name, _)| (name.clone(), Event::Claimed)).collect();
        self.apply_to_all(events, now).await?;
        Ok(records.iter().map(|(_, inherited)| inherited).sum())
    }

    #[cfg(test)]
    pub(super) fn break_on_purpose(&self, mutant: Option<LedgerMutant>) {
        self.inner.entries().mutant = mutant;
    }

    /// Waits for all writes that are under way.
    pub async fn finish(&self) {
        let mut writes = std::mem::take(&mut *lock(&self.writes));
        while writes.join_next().await.is_some() {}
    }

    async fn apply_to_all(&self, events: Vec<(Name, Event)>, now: &Moment) -> Result<(), ChangeError> {
        let seals = stream::iter(events).map(|(name, event)| async move {
            self.apply(&name, None, vec![event], now.clone()).await.map(drop)
        });
        seals.buffer_unordered(SEALS).try_collect().await
    }

    /// Runs a change with the name's lock, and finishes it even if the caller does not wait for it.
    async fn locked<R, F>(&self, name: &Name, act: impl FnOnce(Arc<Inner<T>>) -> F) -> R
    where
        R: Send + 'static,
        F: Future<Output = R> + Send + 'static,
    {
        let locked = self.inner.lock_of(name).lock_owned().await;
        let (done, outcome) = oneshot::channel();
        let acting = AssertUnwindSafe(act(self.inner.clone())).catch_unwind();
        {
            let mut writes = lock(&self.writes);
            while writes.try_join_next().is_some() {}
            writes.spawn(async move {
                let outcome = acting.await;
                drop(locked);
                // Nobody may wait for it any more.
                _ = done.send(outcome);
            });
        }
        match outcome.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // The runtime has stopped, and with it all that waits.
            Err(_) => std::future::pending().await,
        }
    }
}

impl<T: Store> Inner<T> {
    async fn change(
        &self,
        name: &Name,
        new: Option<Record>,
        events: &[Event],
        now: &Moment,
    ) -> Result<Option<Arc<Record>>, ChangeError> {
        self.settle(name).await?;
        let before = match self.entries().known.get(name) {
            Some(Known::Ours(record)) => Some(record.clone()),
            Some(Known::Later(_) | Known::Unreadable) => return Err(ChangeError::NotOurs(name.clone())),
            None => None,
        };
        let Some(mut after) = before.as_deref().cloned().or(new) else { return Ok(None) };
        for event in events {
            after = after.apply(event, now)?;
        }
        let is_durable = !self.entries().not_durable.contains(name);
        if let Some(before) = before.filter(|before| is_durable && **before == after) {
            return Ok(Some(before));
        }
        self.seal(after).await.map(Some).map_err(ChangeError::from)
    }

    async fn seal(&self, record: Record) -> Result<Arc<Record>, SealError> {
        let name = record.name.clone();
        let read = self.entries().revisions.get(&name).copied();
        let record = Arc::new(record);
        match self.store.seal(&record, read).await {
            Ok(revision) => {
                self.entries().put(record.clone(), revision);
                Ok(record)
            }
            Err(error) => {
                // It may be either one now: which it is decides what is planned next.
                let there = self.store.read(&name).await;
                let mut entries = self.entries();
                if matches!(error, SealError::Failed(_)) {
                    entries.not_durable.insert(name.clone());
                }
                #[cfg(test)]
                if entries.mutant == Some(LedgerMutant::TrustsFailedWrites) {
                    entries.not_durable.clear();
                }
                entries.set_or_doubt(&name, there);
                Err(error)
            }
        }
    }

    async fn forget(&self, name: &Name) -> Result<(), ChangeError> {
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

    /// What the store has of a name that is in doubt is read before anything is changed.
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

    fn lock_of(&self, name: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.locks);
        // Of the others only those that somebody holds or waits for.
        locks.retain(|_, held| Arc::strong_count(held) > 1);
        locks.entry(name.clone()).or_default().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    #[cfg(test)]
    fn is_broken(&self, mutant: LedgerMutant) -> bool {
        self.entries().mutant == Some(mutant)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the tokens of a copied store could not be set apart.
#[derive(Debug, thiserror::Error)]
pub enum DisownError {
    /// What these records hold is not known: the other machine's tokens may be among it.
    #[error("the tokens of a copied store are set apart all together, and {} cannot be read: {}", records(.0.len()), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Unread(Vec<Name>),
    /// A record.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The instance.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn records(count: usize) -> String {
    if count == 1 { "a record".to_owned() } else { format!("{count} records") }
}

impl Hint for DisownError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unread(_) => Some(
                "restore the record from a backup, or move it out of the store's folder; run `influx-tokend check` to see its file"
                    .to_owned(),
            ),
            Self::Change(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
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

    fn put(&mut self, record: Arc<Record>, revision: Revision) {
        self.not_durable.remove(&record.name);
        self.revisions.insert(record.name.clone(), revision);
        // Cheap as long as no pass is looking at the map; else one copy of pointers for that pass.
        Arc::make_mut(&mut self.known).insert(record.name.clone(), Known::Ours(record));
    }
}

#[cfg(test)]
mod tests;
