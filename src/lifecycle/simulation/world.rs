//! What is true, and the rules that hold for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    deliver::{DeliverError, Delivered, Delivery},
    influxdb::Order,
    model::{Action, Grants, Instance, Label, Lifecycle, Listed, Marker, Name, Record, Spec, Time, TokenId},
    store::{Instances, Records, Revision, SealError, StoreError, Stored},
};
use former::note_retired;

mod former;
mod person;
mod server;

/// Each must strike in a usual run.
pub(super) const FAULTS: [&str; 20] = [
    "list lost",
    "list lags",
    "databases lost",
    "mint lost",
    "mint answered by nobody",
    "mint carried out late",
    "mint refused",
    "mint answered 500",
    "revoke lost",
    "revoke answered by nobody",
    "check unanswered",
    "seal failed",
    "seal failed after all",
    "delivery failed",
    "ended by a stranger",
    "backup restored",
    // No faults, but what else would be checked of them?
    "a person rotates",
    "a token is imported",
    "a former token is ended",
    "an imported token is ended",
];

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    Nothing,
    /// The store says that it has sealed what it has not.
    SealsNothing,
    /// The same, for what was just minted.
    ForgetsWhatItMinted,
    /// The data plane says yes before it knows the token everywhere.
    AcceptsTooSoon,
    /// Others' tokens are listed under labels that this store sealed.
    ListsOthersAsOurs,
    /// The keeper believes that no overlap is wanted.
    EndsTooSoon,
    /// Tokens that others use are imported as if they did not.
    TakesOthersForItsOwn,
    /// Consumers never get a second value.
    DeliversOnce,
    /// What a stranger ends looks alive to those who ask.
    HidesEnds,
    /// A mint is carried out twice, and the second token is hidden from lists.
    RepeatsMints,
}

pub(super) struct World {
    seed: u64,
    broken: Break,
    start: Instant,
    /// What the list says of all tokens.
    lifecycle: Lifecycle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: BTreeMap<TokenId, Token>,
    databases: BTreeSet<String>,
    late: Vec<(Instant, Order)>,
    posted: BTreeSet<Marker>,
    ever_sealed: BTreeSet<String>,
    records: BTreeMap<Name, (Record, u64)>,
    backup: Option<BTreeMap<Name, (Record, u64)>>,
    instances: Vec<Instance>,
    revision: u64,
    delivered: BTreeMap<Name, (u64, String)>,
    /// What was sealed before, by name, for as long as nobody has heard that something else is.
    unheard: BTreeMap<Name, Record>,
    /// What a person wants to have a new value.
    wishes: BTreeSet<Name>,
    /// What the list asks for.
    listed: BTreeSet<Name>,
    /// When each token was seen to retire.
    retired: BTreeMap<TokenId, Instant>,
    /// So far ahead is the server's Date, which this host has no synchronised clock to hold against.
    ahead: Duration,
    activation: Option<Duration>,
    refuses_mints: bool,
    healed: bool,
    restored: bool,
    stopping: bool,
    minting: usize,
    checking: usize,
    has_accepted: bool,
    ids: u64,
    struck: BTreeMap<&'static str, usize>,
    history: Vec<String>,
}

struct Token {
    secret: String,
    row: Listed,
    grants: Grants,
    foreign: bool,
    /// Made by hand, and whether nobody else uses it.
    by_hand: Option<bool>,
    /// When the data plane last accepted it.
    accepted: Option<Instant>,
    hidden: bool,
    active: [[Instant; 3]; 2],
    turns: [usize; 2],
}

/// Before this nothing the model minted existed: lists judge tokens by times, and none may be negative.
const BASE: i64 = 1_800_000_000;

impl World {
    pub(super) fn new(seed: u64, broken: Break) -> Arc<Self> {
        Self::with(seed, broken, former::lifecycle(broken))
    }

    pub(super) fn with(seed: u64, broken: Break, lifecycle: Lifecycle) -> Arc<Self> {
        let world = Self { seed, broken, start: Instant::now(), lifecycle, state: Mutex::default() };
        {
            let mut state = world.state();
            state.databases = ["a", "b"].map(str::to_owned).into();
            state.instances = vec![Instance::from_bits([1; 16])];
            for n in 0..6_u8 {
                let label = Label {
                    instance: Instance::from_bits([100 + n; 16]),
                    name: format!("t{}", n % 3).parse().expect("a name"),
                    marker: Marker::from_bits([n; 16]),
                };
                world.add(&mut state, Some(label), Grants::default(), true);
            }
        }
        Arc::new(world)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Time {
        let passed = jiff::SignedDuration::try_from(self.start.elapsed()).expect("a short history");
        Time::from_second(BASE).expect("a time").saturating_add(passed).expect("a time")
    }

    pub(super) fn since_boot(&self) -> Duration {
        Duration::from_secs(100_000) + self.start.elapsed()
    }

    pub(super) fn tell(&self, what: impl Into<String>) {
        let at = self.start.elapsed().as_secs_f64();
        self.state().history.push(format!("{at:>12.3} {}", what.into()));
    }

    pub(super) fn history(&self) -> String {
        self.state().history.join("\n")
    }

    pub(super) fn struck(&self) -> BTreeMap<&'static str, usize> {
        self.state().struck.clone()
    }

    fn broken(&self, rule: &str, what: &str) -> ! {
        panic!("{rule}: {what} (seed {})\n{}", self.seed, self.history());
    }

    /// Draws a fault: so many in a hundred.
    fn strikes(&self, fault: &'static str, percent: u8) -> bool {
        let strikes = {
            let mut state = self.state();
            let strikes = !state.healed && fastrand::u8(..100) < percent;
            if strikes {
                *state.struck.entry(fault).or_default() += 1;
            }
            strikes
        };
        if strikes {
            self.tell(fault);
        }
        strikes
    }

    /// Notes that something happened which a usual run must see.
    pub(super) fn count(&self, what: &'static str) {
        *self.state().struck.entry(what).or_default() += 1;
    }

    // What tests do to the world.

    pub(super) fn heal(&self) {
        self.state().healed = true;
        self.tell("faults end");
    }

    pub(super) fn activation(&self, delay: Duration) {
        self.state().activation = Some(delay);
    }

    pub(super) fn refuse_mints(&self, refuse: bool) {
        self.state().refuses_mints = refuse;
    }

    pub(super) fn delivered(&self) -> usize {
        self.state().delivered.len()
    }

    pub(super) fn mints(&self) -> usize {
        self.state().posted.len()
    }

    pub(super) fn stopping(&self) {
        self.state().stopping = true;
    }

    pub(super) fn process_ended(&self) {
        let mut state = self.state();
        (state.minting, state.checking, state.stopping, state.has_accepted) = (0, 0, false, false);
        state.unheard.clear();
    }

    /// Strangers, backups and reboots.
    pub(super) fn between_lives(&self) {
        if self.strikes("ended by a stranger", 10) {
            let now = self.now();
            let mut state = self.state();
            let ours: Vec<TokenId> =
                state.tokens.iter().filter(|(_, token)| !token.foreign).map(|(id, _)| id.clone()).collect();
            if let Some(id) = fastrand::choice(&ours)
                && let Some(token) = state.tokens.get_mut(id)
            {
                token.row.revoked_at.get_or_insert(now);
            }
        }
        if self.state().backup.is_some() && self.strikes("backup restored", 10) {
            let mut state = self.state();
            state.restored = true;
            state.records = state.backup.clone().unwrap_or_default();
            let revision = state.revision + 1;
            state.revision = revision;
            state.records.values_mut().for_each(|(_, known)| *known = revision);
            self.forget_retirements(&mut state);
        } else if fastrand::bool() {
            let mut state = self.state();
            state.backup = Some(state.records.clone());
        }
    }

    // The store.

    pub(super) fn load(&self) -> Result<Records, StoreError> {
        let state = self.state();
        Ok(state
            .records
            .iter()
            .map(|(name, (record, revision))| (name.clone(), Ok(stored(record, *revision))))
            .collect())
    }

    pub(super) fn read(&self, name: &Name) -> Option<Stored> {
        self.state().records.get(name).map(|(record, revision)| stored(record, *revision))
    }

    pub(super) fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let failed = || {
            SealError::Failed(StoreError {
                path: "model".into(),
                what: "cannot seal".into(),
                fix: None,
                source: None,
            })
        };
        if self.strikes("seal failed", 2) {
            return Err(failed());
        }
        {
            let mut state = self.state();
            let there = state.records.get(&record.name).map(|(_, revision)| Revision([*revision; 4]));
            if there != read {
                return Err(SealError::Changed(record.name.clone()));
            }
            let before = state.records.get(&record.name).map_or(0, |(record, _)| record.generation);
            assert!(
                record.generation == before || record.generation == before + 1,
                "rule 5: generations grow by one"
            );
            state.revision += 1;
            let revision = state.revision;
            let forgets = match self.broken {
                Break::SealsNothing => true,
                Break::ForgetsWhatItMinted => record.next.is_some(),
                _ => false,
            };
            if !forgets {
                let secrets = record.held().map(|held| held.secret.secret().expose().to_owned());
                state.ever_sealed.extend(secrets);
                note_retired(&mut state, record);
                let before = state.records.insert(record.name.clone(), (record.clone(), revision));
                state.unheard.extend(before.map(|(before, _)| (record.name.clone(), before)));
            }
        }
        self.tell(format!(
            "seal {} generation {} with {} intents",
            record.name,
            record.generation,
            record.intents.len()
        ));
        if self.strikes("seal failed after all", 1) {
            return Err(failed());
        }
        Ok(Revision([self.state().revision; 4]))
    }

    pub(super) fn seal_is_heard(&self, name: &Name) {
        self.state().unheard.remove(name);
    }

    pub(super) fn instances(&self) -> Instances {
        let state = self.state();
        let (current, former) = state.instances.split_last().expect("there is one from the start");
        Instances { current: current.clone(), former: former.to_vec() }
    }

    pub(super) fn renew_instance(&self) -> Instances {
        self.tell("another instance");
        self.state().instances.push(Instance::from_bits(fastrand::u128(..).to_be_bytes()));
        self.instances()
    }

    // Consumers.

    pub(super) fn deliver(&self, delivery: &Delivery<'_>) -> Result<Delivered, DeliverError> {
        if self.strikes("delivery failed", 2) {
            let source = io::ErrorKind::StorageFull.into();
            return Err(DeliverError { name: delivery.name.clone(), what: "cannot write".into(), source });
        }
        let Some(credential) = delivery.secret else {
            self.state().delivered.remove(delivery.name);
            return Ok(Delivered::Done);
        };
        if self.broken == Break::DeliversOnce && delivery.generation > 1 {
            return Ok(Delivered::Done);
        }
        let secret = credential.secret().expose().to_owned();
        let (is_sealed, is_new, works) = {
            let state = self.state();
            let sealed = state.records.get(delivery.name).map(|(record, _)| record);
            let is_sealed = sealed.into_iter().chain(state.unheard.get(delivery.name)).any(|record| {
                record.generation == delivery.generation
                    && record.current.as_ref().is_some_and(|held| held.secret == *credential)
            });
            let is_new = state.delivered.get(delivery.name).is_none_or(|(_, known)| *known != secret);
            let now = Instant::now();
            let works = state.tokens.values().find(|token| token.secret == secret).is_some_and(|token| {
                [(Action::Write, 0), (Action::Read, 1)].into_iter().all(|(action, plane)| {
                    !token.grants.iter().any(|grant| grant.action == action)
                        || token.active[plane].iter().all(|at| *at <= now)
                })
            });
            (is_sealed, is_new, works)
        };
        if !is_sealed {
            self.broken("rule 1", "what is delivered is not what is sealed as current");
        }
        if is_new && !works {
            self.broken("rule 6", "delivered before every replica knows it");
        }
        if is_new {
            self.tell(format!("deliver {} generation {}", delivery.name, delivery.generation));
        }
        self.state().delivered.insert(delivery.name.clone(), (delivery.generation, secret));
        Ok(Delivered::Done)
    }

    // The end.

    /// Every wanted name has a token that works and is delivered, and nothing else of ours lives.
    pub(super) fn assert_converged(&self, specs: &BTreeMap<Name, Spec>) {
        self.carry_out_late();
        let state = self.state();
        let mut wanted: BTreeSet<&TokenId> = BTreeSet::new();
        let mut wrong = Vec::new();
        for name in specs.keys() {
            let Some((record, _)) = state.records.get(name) else {
                wrong.push(format!("{name} has no record"));
                continue;
            };
            let works =
                |id: &TokenId| state.tokens.get(id).is_some_and(|token| token.row.revoked_at.is_none());
            match &record.current {
                Some(held) if works(&held.id) => {
                    if state.delivered.get(name)
                        != Some(&(record.generation, held.secret.secret().expose().to_owned()))
                    {
                        wrong.push(format!("{name} is not delivered"));
                    }
                }
                other => wrong.push(format!("{name} has no current token that works: {other:?}")),
            }
            wanted.extend(record.held().map(|held| &held.id));
            wrong.extend(self.overdue(&state, record));
            if !record.intents.is_empty() {
                wrong.push(format!("{name} has open intents"));
            }
        }
        for (id, token) in &state.tokens {
            let live = token.row.revoked_at.is_none();
            if token.foreign && !live {
                wrong.push(format!("{id} is somebody else's and was ended"));
            }
            // After a restored backup there are tokens that no record knows: they are reported, not ended.
            if !token.foreign && token.by_hand.is_none() && live && !wanted.contains(id) && !state.restored {
                wrong.push(format!("{id} is a stray"));
            }
        }
        drop(state);
        if !wrong.is_empty() {
            self.broken("converge", &wrong.join("; "));
        }
    }
}

fn stored(record: &Record, revision: u64) -> Stored {
    Stored { record: record.clone(), revision: Revision([revision; 4]) }
}
