//! What all keepers of a process share: records, deliveries, clocks, and the list in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use crate::{
    deliver::{Deliver, DeliverError, Delivered, Delivery, NoteError},
    lifecycle::{Clock, ledger::Ledger},
    model::{Allow, Known, Name, ServerKey, Spec},
    store::Store,
};

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
    /// The generations that have reached every delivery; a pass looks at all of them as they are.
    delivered: Mutex<Arc<BTreeMap<Name, u64>>>,
    /// Those that have reached every consumer and are not noted yet.
    unnoted: Mutex<BTreeMap<Name, u64>>,
    /// Records and list as of which everything has been delivered.
    settled: Mutex<Option<Settled>>,
    /// Servers whose list has been read.
    listed: Mutex<BTreeSet<ServerKey>>,
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
            unnoted: Mutex::default(),
            settled: Mutex::default(),
            listed: Mutex::default(),
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
        let specs = self.specs();
        let allow = specs.get(name).map_or(&record.allow, |spec| &spec.allow);
        let secret = record.current.as_ref().map(|current| &current.secret);
        // Until a list has been read, a restored backup may be all that speaks for an older value.
        let server = record.held().map(|held| &held.server).next().or(specs.get(name).map(|spec| &spec.key));
        let keep_newer = server.is_none_or(|server| !self.listed().contains(server));
        let delivery = Delivery { name, generation: record.generation, secret, allow, keep_newer };
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

    fn is_settled(&self, known: &Arc<BTreeMap<Name, Known>>, specs: &Arc<BTreeMap<Name, Spec>>) -> bool {
        lock(&self.settled).as_ref().is_some_and(|settled| {
            // Held there, they are not changed in their place.
            Arc::ptr_eq(&settled.0, known) && Arc::ptr_eq(&settled.1, specs)
        })
    }

    /// Who asks for a name before there is a value hears that it is not ready, not that it is unknown.
    async fn expect(&self, known: &BTreeMap<Name, Known>) {
        let specs = self.specs();
        // Where neither says who may read it, nobody may.
        let nobody = Allow { users: vec![], groups: vec![], units: vec![] };
        let of_record = |known: &'_ Known| known.record().map(|record| record.allow.clone());
        let sealed: BTreeMap<&Name, Allow> = known
            .iter()
            .filter(|(name, _)| !specs.contains_key(*name))
            .map(|(name, known)| (name, of_record(known).unwrap_or_else(|| nobody.clone())))
            .collect();
        let wanted = specs.iter().map(|(name, spec)| (name, &spec.allow));
        let names = wanted.chain(sealed.iter().map(|(name, allow)| (*name, allow))).collect();
        self.deliver.expect(&names).await;
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
