//! What all keepers of a process share: records, deliveries, clocks, and the list in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    deliver::{Deliver, DeliverError, Delivered, Delivery, NoteError},
    lifecycle::{Clock, ledger::Ledger},
    model::{Allow, Event, Known, Name, Origin, Record, ServerKey, Spec},
    store::Store,
};

/// Where neither list nor record says who may read a value, nobody may.
static NOBODY: Allow = Allow { users: vec![], groups: vec![], units: vec![] };

type Settled = (Arc<BTreeMap<Name, Known>>, Arc<BTreeMap<Name, Spec>>);

/// What all keepers of a process share.
#[derive(Debug)]
pub struct Shared<T, D, C> {
    /// The records.
    pub ledger: Ledger<T>,
    /// The ways to consumers.
    pub deliver: D,
    /// The clocks.
    pub clock: C,
    /// The accepted list's tokens.
    pub specs: RwLock<Arc<BTreeMap<Name, Spec>>>,
    /// The generations that this process has promoted.
    promoted: Mutex<BTreeMap<Name, u64>>,
    /// The generations that have reached every delivery; a pass looks at all of them as they are.
    delivered: Mutex<Arc<BTreeMap<Name, u64>>>,
    /// Those that have reached every consumer and are not noted yet.
    unnoted: Mutex<BTreeMap<Name, u64>>,
    /// Records and list as of which everything has been delivered.
    settled: Mutex<Option<Settled>>,
    /// Servers whose list has been read.
    listed: Mutex<BTreeSet<ServerKey>>,
    /// How many passes have begun, of all keepers.
    passes: AtomicU64,
    /// One import at a time: none may miss what another is about to seal.
    pub(super) importing: tokio::sync::Mutex<()>,
    /// 128 random bits; tests draw their own.
    pub chance: fn() -> [u8; 16],
}

impl<T: Store, D: Deliver, C: Clock> Shared<T, D, C> {
    /// Over an open store.
    pub fn new(ledger: Ledger<T>, deliver: D, clock: C, chance: fn() -> [u8; 16]) -> Self {
        Self {
            ledger,
            deliver,
            clock,
            specs: RwLock::default(),
            delivered: Mutex::default(),
            promoted: Mutex::default(),
            unnoted: Mutex::default(),
            settled: Mutex::default(),
            listed: Mutex::default(),
            passes: AtomicU64::new(0),
            importing: tokio::sync::Mutex::default(),
            chance,
        }
    }

    /// The accepted list's tokens.
    pub fn specs(&self) -> Arc<BTreeMap<Name, Spec>> {
        self.specs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another list was accepted.
    pub fn set_specs(&self, specs: impl Into<Arc<BTreeMap<Name, Spec>>>) {
        *self.specs.write().unwrap_or_else(PoisonError::into_inner) = specs.into();
    }

    /// Brings one name's value, or that there is none, to its consumers. It counts as delivered once it is noted, too.
    pub async fn deliver(&self, name: &Name) -> Result<Delivered, DeliverError> {
        let Some(record) = self.ledger.record(name) else {
            return Ok(Delivered::Done);
        };
        let record = self.begin_overlap_again_if_late(record).await?;
        let specs = self.specs();
        let allow = specs.get(name).map_or(&record.allow, |spec| &spec.allow);
        let secret = record.current.as_ref().map(|current| &current.secret);
        // Until a list has been read, a restored backup may be all that speaks for an older value.
        let server = record.held().map(|held| &held.server).next().or(specs.get(name).map(|spec| &spec.key));
        let keep_newer = server.is_none_or(|server| !self.listed().contains(server));
        let delivery = Delivery {
            name,
            generation: record.generation,
            secret,
            allow,
            keep_newer,
            fresh: self.is_fresh(&record),
            oldest: oldest(&record),
        };
        let outcome = self.deliver.deliver(delivery).await;
        let reached = |how| matches!(&outcome, Ok(done) if *done == how) && secret.is_some();
        let generation = |how| reached(how).then_some(record.generation);
        set(&mut lock(&self.unnoted), name, generation(Delivered::Unnoted));
        self.set_delivered(name, generation(Delivered::Done));
        outcome
    }

    /// Makes known what has been delivered: see [`Deliver::note`].
    pub async fn note(&self) -> Result<(), NoteError> {
        let reached = std::mem::take(&mut *lock(&self.unnoted));
        // What cannot be noted is delivered, and noted, once more by the next pass.
        self.deliver.note().await?;
        reached.iter().for_each(|(name, generation)| self.set_delivered(name, Some(*generation)));
        Ok(())
    }

    fn set_delivered(&self, name: &Name, generation: Option<u64>) {
        let mut delivered = lock(&self.delivered);
        if delivered.get(name).copied() != generation {
            set(Arc::make_mut(&mut delivered), name, generation);
        }
    }

    /// A value that arrives long after it was promoted, because it could not be delivered before, has the whole overlap
    /// before it. Sealed first: nobody has the new value yet.
    async fn begin_overlap_again_if_late(&self, record: Arc<Record>) -> Result<Arc<Record>, DeliverError> {
        let now = self.clock.moment();
        if !record.retiring.iter().any(|retiring| retiring.late_by(&now).is_some()) {
            return Ok(record);
        }
        let Some(had) = self.deliver.generation(&record.name).await else { return Ok(record) };
        let events = vec![Event::DeliveredLate { had }];
        let sealed = self.ledger.apply(&record.name, None, events, now).await;
        let sealed = sealed.map_err(|error| DeliverError {
            name: record.name.clone(),
            what: "arrives late, which cannot be sealed".to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(sealed.unwrap_or(record))
    }

    /// The same for all names; those that fail are told and do not keep the others back.
    pub async fn deliver_all(&self) -> Vec<String> {
        let (known, specs) = (self.ledger.known(), self.specs());
        let (mut failed, mut is_settled) = (Vec::new(), true);
        // Where nothing is new, and of that there may be thousands, all that is looked at is what others can alter.
        let altered = if self.is_settled(&known, &specs) { self.deliver.altered().await } else { None };
        if altered.is_none() {
            self.expect(&known).await;
        }
        let all = known.keys().filter(|_| altered.is_none());
        for name in altered.iter().flatten().chain(all) {
            match self.deliver(name).await {
                Ok(delivered) => is_settled &= delivered != Delivered::NewerStays,
                Err(error) => failed.push(error.to_string()),
            }
        }
        failed.extend(self.note().await.err().map(|error| error.to_string()));
        failed.iter().for_each(|error| tracing::error!("{error}"));
        *lock(&self.settled) = (is_settled && failed.is_empty()).then_some((known, specs));
        failed
    }

    /// Nothing is delivered any more, of any name. What could not be taken back is told.
    pub async fn withdraw_all(&self) -> Vec<String> {
        let (known, specs) = (self.ledger.known(), self.specs());
        let mut failed = Vec::new();
        for (name, known) in known.iter() {
            let record = known.record();
            let allow = specs.get(name).map(|spec| &*spec.allow).or(record.map(|record| &*record.allow));
            let generation = record.map_or(0, |record| record.generation);
            let delivery = Delivery {
                name,
                generation,
                secret: None,
                allow: allow.unwrap_or(&NOBODY),
                keep_newer: false,
                fresh: false,
                oldest: generation,
            };
            failed.extend(self.deliver.deliver(delivery).await.err().map(|error| error.to_string()));
        }
        failed.extend(self.note().await.err().map(|error| error.to_string()));
        failed
    }

    fn is_settled(&self, known: &Arc<BTreeMap<Name, Known>>, specs: &Arc<BTreeMap<Name, Spec>>) -> bool {
        lock(&self.settled).as_ref().is_some_and(|settled| {
            // Held there, they are not changed in their place.
            Arc::ptr_eq(&settled.0, known) && Arc::ptr_eq(&settled.1, specs)
        })
    }

    /// Who asks for a name before there is a value hears that it is not ready, not that it is unknown.
    async fn expect(&self, known: &BTreeMap<Name, Known>) {
        let specs = self.specs();
        let sealed = known
            .iter()
            .filter(|(name, _)| !specs.contains_key(*name))
            .map(|(name, known)| (name, known.record().map_or(&NOBODY, |record| &*record.allow)));
        let names = specs.iter().map(|(name, spec)| (name, &*spec.allow)).chain(sealed).collect();
        self.deliver.expect(&names).await;
    }

    /// Whether nobody can have read the current value before this process handed it out. An imported one others had
    /// before, and one that is current again its former readers.
    fn is_fresh(&self, record: &Record) -> bool {
        let is_minted = record.current.as_ref().is_some_and(|current| current.origin == Origin::Minted);
        is_minted && self.promoted().get(&record.name) == Some(&record.generation)
    }

    /// Numbers a pass that begins: later than any that has begun before, of whichever keeper.
    pub(super) fn next_pass(&self) -> u64 {
        self.passes.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn promoted(&self) -> MutexGuard<'_, BTreeMap<Name, u64>> {
        self.promoted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn delivered(&self) -> Arc<BTreeMap<Name, u64>> {
        lock(&self.delivered).clone()
    }

    pub(super) fn listed(&self) -> MutexGuard<'_, BTreeSet<ServerKey>> {
        lock(&self.listed)
    }

    /// A number from 0 to 1, to spread work over time.
    pub(crate) fn share(&self) -> f64 {
        let bits = (self.chance)();
        f64::from(u32::from_be_bytes([bits[0], bits[1], bits[2], bits[3]])) / f64::from(u32::MAX)
    }
}

fn set(generations: &mut BTreeMap<Name, u64>, name: &Name, generation: Option<u64>) {
    match generation {
        Some(generation) => generations.insert(name.clone(), generation),
        None => generations.remove(name),
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The oldest value of a name that may still work. Of a former one without a number nothing is ever proven: it keeps
/// nobody in memory.
fn oldest(record: &Record) -> u64 {
    let former = record.retiring.iter().map(|retiring| retiring.generation);
    former.filter(|generation| *generation > 0).min().unwrap_or(record.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        deliver::Nowhere,
        lifecycle::SystemClock,
        model::{Credential, Grants, Held, Product, Retiring, RetiringState, Secret, Time, TokenId},
        store::read_only::ReadOnly,
    };

    fn held(id: &str, origin: Origin) -> Held {
        Held {
            id: TokenId(id.into()),
            server: ServerKey::new(Product::Clustered, "https://c"),
            marker: None,
            secret: Credential::Token(Secret::new("canary".into())),
            grants: Grants::default(),
            created_at: Time::UNIX_EPOCH,
            expires_at: None,
            claimed_created_at: None,
            was_to_expire_at: None,
            origin,
        }
    }

    #[tokio::test]
    async fn a_value_is_fresh_that_was_minted_and_promoted_by_this_process() {
        let ledger = Ledger::open(ReadOnly::new(None, None)).await.expect("an empty store");
        let shared = Shared::new(ledger, Nowhere, SystemClock, || [0; 16]);
        let mut record = Record::new("a".parse().expect("a name"), Allow::default(), 0);
        (record.generation, record.current) = (3, Some(held("3", Origin::Minted)));
        assert!(!shared.is_fresh(&record), "a former process has promoted it");
        shared.promoted().insert(record.name.clone(), 3);
        assert!(shared.is_fresh(&record));
        record.generation = 4;
        assert!(!shared.is_fresh(&record), "a former one that is current again");
        shared.promoted().insert(record.name.clone(), 4);
        for origin in [Origin::Imported { exclusive: true }, Origin::Inherited] {
            record.current = Some(held("4", origin));
            assert!(!shared.is_fresh(&record), "{origin:?}: others have had it before");
        }
        record.current = None;
        assert!(!shared.is_fresh(&record));
    }

    #[test]
    fn the_oldest_value_is_that_of_the_oldest_former_token_with_a_number() {
        let mut record = Record::new("a".parse().expect("a name"), Allow::default(), 0);
        record.generation = 7;
        assert_eq!(oldest(&record), 7);
        record.retiring = [(6, "6"), (0, "0"), (5, "5")]
            .map(|(generation, id)| Retiring {
                held: held(id, Origin::Minted),
                since: Time::UNIX_EPOCH,
                boot: None,
                generation,
                state: RetiringState::Overlap,
            })
            .into();
        assert_eq!(oldest(&record), 5);
    }
}
