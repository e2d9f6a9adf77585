//! What is true, and the rules that hold for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    faults::{FAULTS, Fault, Op, Struck},
    lists,
    tamper::Break,
};
use crate::{
    influxdb::Order,
    model::{
        BootTime, Descriptor, Expiry, GrantSupport, Grants, Instance, Label, LabelPlace, Lifecycle,
        ListScope, Listed, Marker, Name, Pickup, Product, Record, ServerKey, Spec, Time, TokenId,
    },
};
use claims::Claims;
use consumers::Consumer;
use traffic::Traffic;

mod between;
mod claims;
mod consumers;
mod converged;
mod deliveries;
mod ends;
mod server;
mod store;
mod traffic;

/// What else a usual run must see, besides faults.
pub(super) const EVENTS: [&str; 14] = [
    "a person rotates",
    "a person undoes a rotation",
    "a person ends a token",
    "a person confirms",
    "a token is imported",
    "a former token is ended",
    "a former token is ended early",
    "a token that nobody had is revoked",
    "a revocation is repeated",
    "an imported token is ended",
    "a removed token is ended",
    "a token is widened",
    "a token is narrowed",
    "a late value has its whole overlap",
];

pub(super) struct World {
    seed: u64,
    broken: Break,
    /// Faults that do not strike: a failure is shrunk by them.
    without: Vec<Fault>,
    start: Instant,
    /// What the list says of all tokens.
    lifecycle: Lifecycle,
    descriptor: Descriptor,
    /// The list has been edited.
    pub(super) edited: Notify,
    /// The process is to end here and now.
    pub(super) crash: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // The server.
    tokens: BTreeMap<TokenId, Token>,
    databases: BTreeSet<String>,
    late: Vec<(Instant, Late)>,
    posted: BTreeSet<Marker>,
    address: u8,
    /// Its clock is a year ahead until then, and this host has no synchronised clock to hold against it.
    ahead_until: Option<Instant>,
    activation: Option<Duration>,
    refuses_mints: bool,
    /// The data plane answers nothing.
    is_silent: bool,
    ids: u64,
    // The store.
    records: BTreeMap<Name, (Record, u64)>,
    backup: Option<BTreeMap<Name, (Record, u64)>>,
    instances: Vec<Instance>,
    revision: u64,
    ever_sealed: BTreeSet<String>,
    /// What was sealed before, by name, for as long as nobody has heard that something else is.
    unheard: BTreeMap<Name, Record>,
    away_until: Option<Instant>,
    // The list.
    specs: BTreeMap<Name, Spec>,
    /// When names left it, and what it said of their readers then.
    left: BTreeMap<Name, (Instant, Pickup)>,
    /// When names came into the list.
    came: BTreeMap<Name, Instant>,
    /// What the value of a generation could do when it was promoted: what it is given later is not probed.
    promoted: BTreeMap<Name, (u64, Grants)>,
    /// What a person wants to have a new value.
    wishes: BTreeSet<Name>,
    /// Whose end a person has confirmed in this process.
    confirmed: BTreeSet<Name>,
    // Deliveries and consumers.
    delivered: BTreeMap<Name, (u64, TokenId, String)>,
    /// All that were ever delivered.
    had: BTreeSet<TokenId>,
    /// When another took the place of each that was delivered.
    superseded: BTreeMap<TokenId, Instant>,
    /// When that became what consumers get.
    arrived: BTreeMap<Name, Instant>,
    consumers: Vec<Consumer>,
    /// From which generation on this process has seen every reader.
    seen_from: BTreeMap<Name, u64>,
    // What is asked of the server.
    traffic: Traffic,
    // Ends.
    retired: BTreeMap<TokenId, Instant>,
    /// Whose end was asked for once already.
    end_asked: BTreeSet<TokenId>,
    ended_for_removal: Vec<(Name, Instant)>,
    // This host.
    boot: u64,
    booted_at: Option<Instant>,
    healed: bool,
    /// Records are not what they were: what no record knows is reported, not ended.
    restored: bool,
    /// The Date has been wrong.
    jumped: bool,
    /// A twin was noticed: what there was belongs to it as well.
    separated: bool,
    quiet: bool,
    stopping: bool,
    minting: usize,
    checking: usize,
    has_accepted: bool,
    pending: Vec<Fault>,
    struck: Struck,
    events: BTreeMap<&'static str, usize>,
    history: Vec<String>,
}

/// What the server does after nobody waits for it any more.
enum Late {
    Mint(Order),
    Revoke(TokenId),
}

struct Token {
    secret: String,
    row: Listed,
    grants: Grants,
    foreign: bool,
    /// Made by hand, and whether nobody else uses it.
    by_hand: Option<bool>,
    /// A person has ended it, or had it ended.
    by_person: bool,
    /// When the data plane last accepted it.
    accepted: Option<Instant>,
    hidden: bool,
    /// It lives longer than it was asked to.
    outlives: bool,
    /// What the server shows of it instead of what is true.
    claims: Claims,
    active: [[Instant; 3]; 2],
    turns: [usize; 2],
}

/// One that there may be: each way in which products differ is drawn by itself, and so that histories are otherwise as they
/// would be without it.
fn product(seed: u64, is_editable: bool) -> Descriptor {
    let mut draw = fastrand::Rng::with_seed(seed ^ 0x0070_726f_6475_6374);
    Descriptor {
        grants: if is_editable { GrantSupport::Editable } else { GrantSupport::Fixed },
        list: if draw.u8(..4) > 0 { ListScope::All } else { ListScope::CallersOwn },
        label: if draw.u8(..4) > 0 { LabelPlace::Description } else { LabelPlace::UserName },
        expiry: match draw.u8(..6) {
            0 => Expiry::None,
            1 => Expiry::Relative,
            _ => Expiry::Absolute,
        },
        ..Product::Clustered.descriptor()
    }
}

impl State {
    fn is_ahead(&self) -> bool {
        self.ahead_until.is_some_and(|until| until > Instant::now())
    }
}

impl Token {
    fn expires(&self, world: &World) -> Option<Instant> {
        let seconds = self.row.expires_at?.as_second() - BASE;
        Some(world.start + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }

    /// By the server's clock.
    fn works_at(&self, date: Time) -> bool {
        self.row.is_live(date)
    }
}

/// Before this nothing the model minted existed: lists judge tokens by times, and none may be negative.
const BASE: i64 = 1_800_000_000;
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

impl World {
    pub(super) fn new(seed: u64, broken: Break, without: &[Fault]) -> Arc<Self> {
        let lifecycle = lists::lifecycle(broken);
        let descriptor = product(seed, fastrand::u8(..4) > 0);
        Self::with(seed, broken, without, lifecycle, descriptor)
    }

    pub(super) fn with(
        seed: u64,
        broken: Break,
        without: &[Fault],
        lifecycle: Lifecycle,
        descriptor: Descriptor,
    ) -> Arc<Self> {
        let world = Self {
            seed,
            broken,
            without: without.to_vec(),
            start: Instant::now(),
            lifecycle,
            descriptor,
            edited: Notify::new(),
            crash: Notify::new(),
            state: Mutex::default(),
        };
        {
            let mut state = world.state();
            state.databases = ["a", "b", "c"].map(str::to_owned).into();
            state.instances = vec![Instance::from_bits([1; 16])];
            for n in 0..6_u8 {
                let label = Label {
                    instance: Instance::from_bits([100 + n; 16]),
                    name: format!("t{}", n % 3).parse().expect("a name"),
                    marker: Marker::from_bits([n; 16]),
                };
                world.add(&mut state, Some(label), Grants::default(), None, true);
            }
        }
        Arc::new(world)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn descriptor(&self) -> Descriptor {
        self.descriptor
    }

    pub(super) fn key(&self) -> ServerKey {
        let origin = format!("https://model{}", self.state().address);
        ServerKey::new(Product::Clustered, origin)
    }

    pub(super) fn now(&self) -> Time {
        let passed = jiff::SignedDuration::try_from(self.start.elapsed()).expect("a short history");
        Time::from_second(BASE).expect("a time").saturating_add(passed).expect("a time")
    }

    pub(super) fn since_boot(&self) -> Duration {
        Duration::from_secs(100_000) + self.start.elapsed()
    }

    pub(super) fn boot_time(&self) -> BootTime {
        let millis = u64::try_from(self.since_boot().as_millis()).expect("short");
        BootTime { boot: format!("boot {}", self.state().boot).into(), millis }
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.state().is_ahead()
    }

    pub(super) fn tell(&self, what: impl Into<String>) {
        let at = self.start.elapsed().as_secs_f64();
        self.state().history.push(format!("{at:>12.3} {}", what.into()));
    }

    pub(super) fn history(&self) -> String {
        self.state().history.join("\n")
    }

    fn breaks(&self, rule: &str, what: &str) -> ! {
        panic!("{rule}: {what} (seed {})\n{}", self.seed, self.history());
    }

    pub(super) fn broken(&self) -> Break {
        self.broken
    }

    /// It has something to do in each pass.
    pub(super) fn writes_for_nothing(&self) -> bool {
        self.broken == Break::WritesForNothing
    }

    // Faults.

    /// Whether a fault strikes, so many times in a thousand.
    fn strikes(&self, fault: Fault, op: Op, per_mille: u16) -> bool {
        // Drawn before it is looked whether it may: a history without some faults has the others as before.
        let drawn = fastrand::u16(..1000) < per_mille;
        let strikes = drawn && self.may_strike(fault);
        if strikes {
            self.struck(fault, op);
            self.tell(format!("{fault:?} at {op:?}"));
        }
        strikes
    }

    fn may_strike(&self, fault: Fault) -> bool {
        !self.state().healed && !self.without.contains(&fault)
    }

    pub(super) fn struck(&self, fault: Fault, op: Op) {
        self.state().struck.note(fault, op);
    }

    pub(super) fn table(&self) -> Struck {
        self.state().struck.clone()
    }

    /// Notes that something happened which a usual run must see.
    pub(super) fn count(&self, what: &'static str) {
        debug_assert!(EVENTS.contains(&what), "{what}");
        *self.state().events.entry(what).or_default() += 1;
    }

    pub(super) fn events(&self) -> BTreeMap<&'static str, usize> {
        self.state().events.clone()
    }

    /// Which faults have struck, for shrinking.
    pub(super) fn faults() -> impl Iterator<Item = Fault> {
        FAULTS.iter().map(|(fault, _)| *fault)
    }

    // What tests do to the world.

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.healed = true;
        (state.away_until, state.ahead_until) = (None, None);
        drop(state);
        self.tell("faults end");
    }

    pub(super) fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// From now on nothing may be changed any more.
    pub(super) fn be_quiet(&self) {
        self.state().quiet = true;
    }

    fn changes_something(&self, what: &str) {
        if self.state().quiet {
            self.breaks("rule 15", &format!("a pass with nothing to do does something: {what}"));
        }
    }

    pub(super) fn activation(&self, delay: Duration) {
        self.state().activation = Some(delay);
    }

    pub(super) fn refuse_mints(&self, refuse: bool) {
        self.state().refuses_mints = refuse;
    }

    pub(super) fn silence_data(&self, silent: bool) {
        let mut state = self.state();
        state.is_silent = silent;
        // What expires meanwhile nobody could replace.
        state.tokens.values_mut().for_each(|token| token.by_person |= silent);
    }

    pub(super) fn delivered(&self) -> usize {
        self.state().delivered.len()
    }

    /// Which value consumers have.
    pub(super) fn generation(&self, name: &str) -> Option<u64> {
        self.state().delivered.get(name).map(|(generation, ..)| *generation)
    }

    pub(super) fn records(&self) -> usize {
        self.state().records.len()
    }

    pub(super) fn mints(&self) -> usize {
        self.state().posted.len()
    }

    /// How many tokens records hold, whether they live or not.
    pub(super) fn held(&self) -> usize {
        self.state().records.values().map(|(record, _)| record.held().count()).sum()
    }

    /// How many tokens of ours live.
    pub(super) fn live(&self) -> usize {
        let state = self.state();
        let date = self.date_in(&state);
        state.tokens.values().filter(|token| !token.foreign && token.works_at(date)).count()
    }

    /// From now on for so long the server's clock is a year ahead, and nothing here tells that it is wrong.
    pub(super) fn jump_ahead(&self, for_so_long: Duration) {
        let mut state = self.state();
        state.ahead_until = Some(Instant::now() + for_so_long);
        state.jumped = true;
        // By the server's clock these have lived their time.
        for token in state.tokens.values_mut().filter(|token| token.row.expires_at.is_some()) {
            token.by_person = true;
        }
    }

    // Lives.

    pub(super) fn stopping(&self) {
        self.state().stopping = true;
    }

    pub(super) fn process_begins(&self) {
        // A fresh process looks, and delivers what there is.
        (0..4).for_each(|_| self.note_reason());
        self.note_start();
        let mut state = self.state();
        state.seen_from =
            state.delivered.iter().map(|(name, (generation, ..))| (name.clone(), generation + 1)).collect();
    }

    pub(super) fn process_ended(&self) {
        let mut state = self.state();
        (state.minting, state.checking, state.stopping, state.has_accepted) = (0, 0, false, false);
        state.unheard.clear();
        if state.boot > 0 {
            // What was sealed in another boot a new process can tell by the date alone.
            state.ahead_until = None;
        }
        state.confirmed.clear();
        state.pending.clear();
    }
}
