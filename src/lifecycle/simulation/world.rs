//! What is true, and the rules that hold for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::parts::{key, server_name};
use crate::{
    deliver::{DeliverError, Delivered, Delivery},
    influxdb::{Check, ErrorKind, MintError, Minted, Order, Plane, ServerError, Verdict},
    model::{
        Action, Credential, Database, Grant, Grants, Instance, Label, Lifecycle, Listed, Listing, Marker,
        Name, Origin, Record, Secret, Spec, Time, TokenId,
    },
    store::{Instances, Records, Revision, SealError, StoreError, Stored},
};
use former::note_retired;

mod former;
mod person;

/// Each must strike in a usual run.
pub(super) const FAULTS: [&str; 16] = [
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

    // The server.

    fn error(verb: &'static str, kind: ErrorKind) -> ServerError {
        ServerError { server: server_name(), verb, kind }
    }

    fn cut() -> ErrorKind {
        ErrorKind::Cut("on demand".into())
    }

    fn carry_out_late(&self) {
        let due: Vec<Order> = {
            let mut state = self.state();
            let now = Instant::now();
            let (due, rest) = std::mem::take(&mut state.late).into_iter().partition(|(at, _)| *at <= now);
            state.late = rest;
            let due: Vec<(Instant, Order)> = due;
            due.into_iter().map(|(_, order)| order).collect()
        };
        for order in due {
            let _nobody_hears = self.create(&order, false);
        }
    }

    pub(super) fn list(&self) -> Result<Listing, ServerError> {
        self.carry_out_late();
        if self.strikes("list lost", 6) {
            return Err(Self::error("list tokens", Self::cut()));
        }
        let lag = if self.strikes("list lags", 10) { 30 } else { 0 };
        let date = self
            .now()
            .saturating_add(jiff::SignedDuration::try_from(self.state().ahead).expect("short"))
            .expect("a time");
        let as_of = date.saturating_sub(jiff::SignedDuration::from_secs(lag)).expect("a time");
        let state = self.state();
        let mut tokens: Vec<Listed> = state
            .tokens
            .values()
            .filter(|token| !token.hidden && token.row.created_at.is_some_and(|at| at <= as_of))
            .map(|token| {
                let mut row = token.row.clone();
                row.revoked_at = row.revoked_at.filter(|at| *at <= as_of && self.broken != Break::HidesEnds);
                row
            })
            .collect();
        if self.broken == Break::ListsOthersAsOurs {
            let marker =
                state.records.values().find_map(|(record, _)| Some((&record.name, record.intents.first()?)));
            if let (Some((name, intent)), Some(row)) = (marker, tokens.first_mut()) {
                let instance = state.instances[0].clone();
                row.label = Some(Label { instance, name: name.clone(), marker: intent.marker.clone() });
            }
        }
        Ok(Listing { rows: tokens.len(), bytes: 100 * tokens.len(), tokens, date: Some(date) })
    }

    pub(super) fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        if self.strikes("databases lost", 6) {
            return Err(Self::error("list databases", Self::cut()));
        }
        Ok(self.state().databases.clone())
    }

    pub(super) fn mint_begins(&self, order: &Order) {
        let label = Label::find(&order.description).expect("every mint is labelled");
        let (sealed, posted, minting, stopping) = {
            let mut state = self.state();
            state.minting += 1;
            let sealed = state.records.get(&label.name).is_some_and(|(record, _)| {
                record.intents.iter().any(|intent| intent.marker == order.marker && intent.server == key())
            });
            (sealed, !state.posted.insert(order.marker.clone()), state.minting, state.stopping)
        };
        self.tell(format!("mint {} under {}", label.name, &order.marker.as_str()[..6]));
        if !sealed {
            self.broken("rule 2", "a mint without a sealed intent");
        }
        if posted {
            self.broken("rule 2", "a marker is posted twice");
        }
        if minting > 8 {
            self.broken("mints", "more than eight at once");
        }
        if stopping {
            self.broken("rule 17", "a mint after SIGTERM");
        }
    }

    pub(super) fn mint_ends(&self) {
        self.state().minting -= 1;
    }

    pub(super) fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        let status = |status| ErrorKind::Status { status, message: None, retry_after: None };
        if self.state().refuses_mints {
            return Err(MintError::Unknown(Self::error(verb, status(500))));
        }
        if self.strikes("mint refused", 4) {
            return Err(MintError::NotMinted(Self::error(verb, status(400))));
        }
        if self.strikes("mint lost", 5) {
            return Err(MintError::Unknown(Self::error(verb, Self::cut())));
        }
        if self.strikes("mint carried out late", 4) {
            let at = Instant::now() + Duration::from_secs(fastrand::u64(1..600));
            self.state().late.push((at, order.clone()));
            return Err(MintError::Unknown(Self::error(verb, ErrorKind::Timeout(Duration::from_secs(30)))));
        }
        let minted = self.create(order, false);
        if self.broken == Break::RepeatsMints {
            let _second = self.create(order, true);
        }
        if self.strikes("mint answered by nobody", 8) {
            return Err(MintError::Unknown(Self::error(verb, Self::cut())));
        }
        if self.strikes("mint answered 500", 3) {
            return Err(MintError::Unknown(Self::error(verb, status(500))));
        }
        Ok(minted)
    }

    fn create(&self, order: &Order, hidden: bool) -> Minted {
        let label = Label::find(&order.description);
        let mut state = self.state();
        let id = self.add(&mut state, label, order.grants.clone(), false);
        let token = state.tokens.get_mut(&id).expect("just added");
        token.hidden = hidden;
        Minted {
            id,
            secret: Credential::Token(Secret::new(token.secret.clone())),
            grants: order.grants.clone(),
            created_at: token.row.created_at.expect("created"),
            expires_at: None,
        }
    }

    fn add(&self, state: &mut State, label: Option<Label>, grants: Grants, foreign: bool) -> TokenId {
        state.ids += 1;
        let id = TokenId(format!("id-{}", state.ids));
        let (healed, fixed) = (state.healed, state.activation);
        let active = || {
            let slowest = if healed || fastrand::bool() { 1 } else { 180 };
            Instant::now() + fixed.unwrap_or_else(|| Duration::from_secs(fastrand::u64(0..slowest)))
        };
        let row = Listed {
            id: id.clone(),
            label,
            grants: Some(grants.clone()),
            created_at: Some(self.now()),
            expires_at: None,
            revoked_at: None,
        };
        let active = [[active(), active(), active()], [active(), active(), active()]];
        let secret = format!("secret of {id}");
        state.tokens.insert(
            id.clone(),
            Token {
                secret,
                row,
                grants,
                foreign,
                by_hand: None,
                accepted: None,
                hidden: false,
                active,
                turns: [0; 2],
            },
        );
        id
    }

    pub(super) fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        self.tell(format!("revoke {id}"));
        let (foreign, current) = {
            let state = self.state();
            let foreign = state.tokens.get(id).is_none_or(|token| {
                token.foreign
                    || token.by_hand.is_none()
                        && token.row.label.as_ref().is_none_or(|label| !state.posted.contains(&label.marker))
            });
            let current = state.records.values().any(|(record, _)| {
                record.current.as_ref().is_some_and(|held| held.id == *id && held.origin != Origin::Inherited)
            });
            (foreign, current)
        };
        if foreign {
            self.broken("rule 8", "somebody else's token is ended");
        }
        if current {
            self.broken("rule 7", "the current token is ended");
        }
        self.check_end(id);
        if self.strikes("revoke lost", 5) {
            return Err(Self::error("end token", Self::cut()));
        }
        let now = self.now();
        if let Some(token) = self.state().tokens.get_mut(id) {
            token.row.revoked_at.get_or_insert(now);
        }
        if self.strikes("revoke answered by nobody", 5) {
            return Err(Self::error("end token", Self::cut()));
        }
        Ok(())
    }

    pub(super) fn check_begins(&self) {
        let (checking, limit) = {
            let mut state = self.state();
            state.checking += 1;
            (state.checking, if state.has_accepted { 16 } else { 1 })
        };
        // The first acceptance may be known to the keeper a moment later than to the model, never earlier.
        if checking > limit {
            self.broken("probes", "too many at once");
        }
    }

    pub(super) fn check_ends(&self) {
        self.state().checking -= 1;
    }

    pub(super) fn check(&self, secret: &Secret, check: &Check) -> Verdict {
        // A probe under way may ask once more about a token that was set aside a moment ago.
        // One that was made by hand is asked about before it is taken.
        let is_sealed = {
            let state = self.state();
            let by_hand = |token: &Token| token.by_hand.is_some() && token.secret == secret.expose();
            state.ever_sealed.contains(secret.expose()) || state.tokens.values().any(by_hand)
        };
        if !is_sealed {
            self.broken("rule 1", "a secret is used before it is sealed");
        }
        if self.strikes("check unanswered", 5) {
            return Verdict::Unreachable { why: "no answer".into(), retry_after: None };
        }
        let now = Instant::now();
        let mut state = self.state();
        state.has_accepted = true;
        let Some(token) = state.tokens.values_mut().find(|token| token.secret == secret.expose()) else {
            return Verdict::Refused { status: 401 };
        };
        let plane = usize::from(check.plane == Plane::Query);
        let replica = token.turns[plane] % 3;
        token.turns[plane] += 1;
        let is_active = token.active[plane][replica] <= now || self.broken == Break::AcceptsTooSoon;
        let action = if check.plane == Plane::Query { Action::Read } else { Action::Write };
        let may = [Database::All, Database::Named(check.database.clone())].into_iter().any(|database| {
            token.grants.iter().any(|grant| *grant == Grant { database: database.clone(), action })
        });
        let is_live = token.row.revoked_at.is_none() || self.broken == Break::HidesEnds;
        if is_live && is_active && may {
            token.accepted = Some(now);
            Verdict::Accepted
        } else {
            Verdict::Refused { status: 401 }
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
