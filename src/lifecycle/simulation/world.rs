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
        BootTime, Descriptor, Expiry, Grant, GrantSupport, Grants, Instance, Label, LabelPlace, Lifecycle,
        ListScope, Listed, Marker, Name, Pickup, Product, Record, ServerKey, ServerName, Spec, Time, TokenId,
    },
};
use claims::Claims;
use consumers::Consumer;
use traffic::{Load, Traffic};

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
pub(super) const EVENTS: [&str; 17] = [
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
    "a name moves to another server",
    "a server's name is given to another",
    "a person confirms a move",
];

pub(super) struct World {
    seed: u64,
    broken: Break,
    /// Faults that do not strike: a failure is shrunk by them.
    without: Vec<Fault>,
    start: Instant,
    /// What the list says of all tokens.
    lifecycle: Lifecycle,
    /// The list has been edited.
    pub(super) edited: Notify,
    /// The process is to end here and now.
    pub(super) crash: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // The servers.
    deployments: Vec<Deployment>,
    /// Those that the list names, by the names it gives them.
    named: BTreeMap<ServerName, usize>,
    tokens: BTreeMap<TokenId, Token>,
    late: Vec<(Instant, Late)>,
    posted: BTreeSet<Marker>,
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
    /// What the power would leave of records that were not written durably.
    volatile: BTreeMap<Name, Volatile>,
    /// Records that this process cannot read.
    unreadable: BTreeSet<Name>,
    /// Records that a later program has written, as far as this process can tell.
    later: BTreeSet<Name>,
    away_until: Option<Instant>,
    // The list.
    specs: BTreeMap<Name, Spec>,
    /// When names left it, and what it said of their readers then.
    left: BTreeMap<Name, (Instant, Pickup)>,
    /// When names came into the list.
    came: BTreeMap<Name, Instant>,
    /// When the list gave names to other servers.
    moved: BTreeMap<Name, Instant>,
    /// Which of them a person has confirmed to move.
    may_move: BTreeSet<Name>,
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
    /// Those whose end the server has acknowledged.
    acknowledged: BTreeSet<TokenId>,
    /// Tokens whose mint this process has had the answer to.
    answered: BTreeSet<TokenId>,
    /// Those of them that could not be sealed, as far as this process was told.
    unheard_mints: BTreeSet<TokenId>,
    /// Names with a current token that worked and had arrived when the last list was asked for.
    stood: BTreeSet<(usize, Name)>,
    /// Names that the list asked for then.
    listed: BTreeSet<(usize, Name)>,
    /// How many lists have shown since that a former token, accepted wholly, should be current.
    idle: BTreeMap<TokenId, u32>,
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
    /// The ages, as parts of their lifetimes, at which tokens that do not expire were first replaced by schedule.
    ages: BTreeMap<Name, f64>,
    pending: Vec<Fault>,
    struck: Struck,
    events: BTreeMap<&'static str, usize>,
    history: Vec<String>,
}

/// A record that was written and could not be made durable.
struct Volatile {
    /// The last one that was.
    durable: Option<(Record, u64)>,
    /// It was written again since, with whatever success.
    is_repeated: bool,
}

/// What a server does after nobody waits for it any more.
enum Late {
    Mint(usize, Order),
    Revoke(TokenId),
}

/// One InfluxDB.
struct Deployment {
    key: ServerKey,
    /// Some share one.
    host: usize,
    /// What it can do.
    descriptor: Descriptor,
    databases: BTreeSet<String>,
    /// So many seconds its clock is ahead of this host's, always.
    offset: i64,
    /// Its clock is a year ahead until then, and this host has no synchronised clock to hold against it.
    ahead_until: Option<Instant>,
    /// What is asked of it now.
    minting: usize,
    checking: usize,
    has_accepted: bool,
    load: Load,
}

impl Deployment {
    fn is_ahead(&self) -> bool {
        self.ahead_until.is_some_and(|until| until > Instant::now())
    }
}

struct Token {
    /// Where it lives.
    server: usize,
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
    /// For what it was accepted since it was last refused or not answered for.
    streak: BTreeSet<Grant>,
    /// Nobody could look after it for a while.
    is_neglected: bool,
    hidden: bool,
    /// It lives longer than it was asked to.
    outlives: bool,
    /// What the server shows of it instead of what is true.
    claims: Claims,
    active: [[Instant; 3]; 2],
    turns: [usize; 2],
}

/// One that there may be: each way in which products differ is drawn by itself.
fn product(draw: &mut fastrand::Rng) -> Descriptor {
    Descriptor {
        grants: if draw.u8(..4) > 0 { GrantSupport::Editable } else { GrantSupport::Fixed },
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
        self.deployments.iter().any(Deployment::is_ahead)
    }

    /// Where a server is.
    fn key(&self, server: usize) -> &ServerKey {
        &self.deployments[server].key
    }

    /// Whether the list names a server.
    fn names(&self, key: &ServerKey) -> bool {
        self.named.values().any(|server| self.key(*server) == key)
    }
}

impl Token {
    fn expires(&self, world: &World, deployments: &[Deployment]) -> Option<Instant> {
        let seconds = self.row.expires_at?.as_second() - BASE - deployments[self.server].offset;
        Some(world.start + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }

    /// By the server's clock.
    fn works_at(&self, date: Time) -> bool {
        self.row.is_live(date)
    }
}

/// Where a server is: some share a host.
fn address(host: usize, server: usize, moves: u8) -> ServerKey {
    let origin = format!("https://model{host}-{moves}/{server}");
    ServerKey::new(Product::Clustered, origin)
}

/// Before this nothing the model minted existed: lists judge tokens by times, and none may be negative.
const BASE: i64 = 1_800_000_000;
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

impl World {
    pub(super) fn new(seed: u64, broken: Break, without: &[Fault]) -> Arc<Self> {
        let lifecycle = lists::lifecycle(broken);
        Self::with(seed, broken, without, lifecycle)
    }

    pub(super) fn with(seed: u64, broken: Break, without: &[Fault], lifecycle: Lifecycle) -> Arc<Self> {
        let world = Self {
            seed,
            broken,
            without: without.to_vec(),
            start: Instant::now(),
            lifecycle,
            edited: Notify::new(),
            crash: Notify::new(),
            state: Mutex::default(),
        };
        {
            let mut state = world.state();
            world.settle_servers(&mut state);
            state.instances = vec![Instance::from_bits([1; 16])];
            for n in 0..6_u8 {
                let label = Label {
                    instance: Instance::from_bits([100 + n; 16]),
                    name: format!("t{}", n % 3).parse().expect("a name"),
                    marker: Marker::from_bits([n; 16]),
                };
                let server = usize::from(n) % state.deployments.len();
                world.add(&mut state, server, Some(label), Grants::default(), None, true);
            }
        }
        Arc::new(world)
    }

    /// One server, as a rule; sometimes up to three, and one more that the list may name later.
    fn settle_servers(&self, state: &mut State) {
        // Draws of their own: what else happens does not hang on them.
        let mut draw = fastrand::Rng::with_seed(self.seed ^ 0x5eed);
        let count = match (self.broken, draw.u8(..10)) {
            (Break::MintsForFormerServer, _) => 2,
            (_, 0..=4) => 1,
            (_, 5..=7) => 2,
            _ => 3,
        };
        let shares_host = draw.bool();
        for server in 0..=count {
            let mut descriptor = product(&mut draw);
            if self.broken == Break::RotatesTogether {
                descriptor.expiry = Expiry::None;
            }
            let host = if shares_host && server == 1 { 0 } else { server };
            state.deployments.push(Deployment {
                key: address(host, server, 0),
                host,
                descriptor,
                databases: ["a", "b", "c"].map(str::to_owned).into(),
                offset: if server == 0 { 0 } else { draw.i64(-290..290) },
                ahead_until: None,
                minting: 0,
                checking: 0,
                has_accepted: false,
                load: Load::default(),
            });
            // The last is one that no list names yet.
            if server < count {
                state.named.insert(lists::server_name(server), server);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn descriptor(&self, server: usize) -> Descriptor {
        self.state().deployments[server].descriptor
    }

    /// The servers that the list names.
    pub(super) fn servers(&self) -> Vec<(ServerName, ServerKey, usize)> {
        let state = self.state();
        let named = state.named.iter();
        named.map(|(name, server)| (name.clone(), state.key(*server).clone(), *server)).collect()
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
        state.away_until = None;
        state.deployments.iter_mut().for_each(|deployment| deployment.ahead_until = None);
        state.ages.clear();
        // Whoever could not read them has put them back.
        state.unreadable.clear();
        state.later.clear();
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

    /// One that can do everything.
    pub(super) fn have_one_server(&self) {
        let mut state = self.state();
        state.named.retain(|_, server| *server == 0);
        state.deployments[0].descriptor = Product::Clustered.descriptor();
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
        state.tokens.values().filter(|token| !token.foreign && self.lives(&state, token)).count()
    }

    /// From now on for so long a server's clock is a year ahead, and nothing here tells that it is wrong.
    pub(super) fn jump_ahead(&self, server: usize, for_so_long: Duration) {
        let mut state = self.state();
        state.deployments[server].ahead_until = Some(Instant::now() + for_so_long);
        state.jumped = true;
        // By the server's clock these have lived their time.
        let has_expiry = |token: &&mut Token| token.server == server && token.row.expires_at.is_some();
        state.tokens.values_mut().filter(has_expiry).for_each(|token| token.by_person = true);
    }

    // Lives.

    pub(super) fn stopping(&self) {
        self.state().stopping = true;
    }

    pub(super) fn process_begins(&self) {
        // A fresh process looks, and delivers what there is.
        (0..4).for_each(|_| self.note_reason());
        let mut state = self.state();
        state.seen_from =
            state.delivered.iter().map(|(name, (generation, ..))| (name.clone(), generation + 1)).collect();
    }

    /// Keepers begin to look after the servers.
    pub(super) fn keepers_begin(&self) {
        self.note_start();
        let mut state = self.state();
        for deployment in &mut state.deployments {
            (deployment.minting, deployment.checking, deployment.has_accepted) = (0, 0, false);
        }
        // What was seen of tokens, and said by persons, was told to others.
        state.tokens.values_mut().for_each(|token| token.streak.clear());
        state.idle.clear();
        state.may_move.clear();
        state.confirmed.clear();
    }

    pub(super) fn process_ended(&self) {
        let mut state = self.state();
        state.stopping = false;
        state.may_move.clear();
        state.unheard.clear();
        state.answered.clear();
        state.unheard_mints.clear();
        state.stood.clear();
        state.listed.clear();
        state.idle.clear();
        state.tokens.values_mut().for_each(|token| token.streak.clear());
        if state.boot > 0 {
            // What was sealed in another boot a new process can tell by the date alone.
            state.deployments.iter_mut().for_each(|deployment| deployment.ahead_until = None);
        }
        state.confirmed.clear();
        state.pending.clear();
    }
}
