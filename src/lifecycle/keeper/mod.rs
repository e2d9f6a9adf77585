//! Carries plans out on one server. Generic over server, store, deliveries and clock, and never spawns: whoever
//! drops the future of [`Keeper::drive`] has crashed it, which is what the simulation does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};

use super::{
    Clock,
    ledger::Ledger,
    plan::{self, Finding, Plan, Step, View, after},
};
use crate::{
    deliver::{Deliver, Delivered, Delivery},
    influxdb::{Server, ServerError},
    lifecycle::now::{NoTime, judging_time, latest_sealed},
    model::{
        Allow, Databases, Evidence, Known, Label, Lifecycle, Listed, Listing, Name, Origin, Probed,
        ServerKey, ServerName, Spec, Time, TokenId,
    },
    store::Store,
};

mod asked;
mod drive;
mod import;
mod mint;
mod probes;
mod steps;

pub use asked::{RotateError, rotate};
pub use drive::{Mode, Signals};
pub use import::{Import, ImportError, Imported};

/// So many mints are under way at once.
const MINTS: usize = 8;
/// So many probe requests are under way at once, after the server has accepted one new token.
const PROBES: usize = 16;

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
    /// The generations that have reached every delivery.
    delivered: Mutex<BTreeMap<Name, u64>>,
    /// Servers whose list has been read.
    listed: Mutex<BTreeSet<ServerKey>>,
    /// Since when, on the boot-time clock, tokens are retiring; `None`: since before this process began.
    retiring: Mutex<BTreeMap<TokenId, Option<Duration>>>,
    /// One import at a time: none may miss what another is about to seal.
    importing: tokio::sync::Mutex<()>,
    /// 128 random bits; tests draw their own.
    pub chance: fn() -> [u8; 16],
}

impl<T: Store, D: Deliver, C: Clock> Shared<T, D, C> {
    /// Over an open store.
    pub fn new(ledger: Ledger<T>, deliver: D, clock: C, chance: fn() -> [u8; 16]) -> Self {
        let retiring = retiring(&ledger.known()).map(|id| (id.clone(), None)).collect();
        Self {
            ledger,
            deliver,
            clock,
            specs: RwLock::default(),
            delivered: Mutex::default(),
            listed: Mutex::default(),
            retiring: Mutex::new(retiring),
            importing: tokio::sync::Mutex::default(),
            chance,
        }
    }

    /// The accepted list's tokens.
    pub fn specs(&self) -> Arc<BTreeMap<Name, Spec>> {
        self.specs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another list was accepted.
    pub fn set_specs(&self, specs: BTreeMap<Name, Spec>) {
        *self.specs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(specs);
    }

    /// Brings one name's value, or that there is none, to its consumers.
    pub async fn deliver(&self, name: &Name) -> Result<(), crate::deliver::DeliverError> {
        let Some(record) = self.ledger.record(name) else {
            return Ok(());
        };
        let specs = self.specs();
        let allow = specs.get(name).map_or(&record.allow, |spec| &spec.allow);
        let secret = record.current.as_ref().map(|current| &current.secret);
        // Until a list has been read, a restored backup may be all that speaks for an older value.
        let server = record.held().map(|held| &held.server).next().or(specs.get(name).map(|spec| &spec.key));
        let keep_newer = server.is_none_or(|server| !self.listed().contains(server));
        let delivery = Delivery { name, generation: record.generation, secret, allow, keep_newer };
        let outcome = self.deliver.deliver(delivery).await;
        let mut delivered = self.delivered();
        match &outcome {
            Ok(Delivered::Done) if secret.is_some() => delivered.insert(name.clone(), record.generation),
            Ok(_) | Err(_) => delivered.remove(name),
        };
        outcome.map(drop)
    }

    /// The same for all names; those that fail are told and do not keep the others back.
    pub async fn deliver_all(&self) -> Vec<crate::deliver::DeliverError> {
        let mut failed = Vec::new();
        let known = self.ledger.known();
        self.expect(&known).await;
        for name in known.keys() {
            if let Err(error) = self.deliver(name).await {
                tracing::error!("{error}");
                failed.push(error);
            }
        }
        failed
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

    fn delivered(&self) -> MutexGuard<'_, BTreeMap<Name, u64>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listed(&self) -> MutexGuard<'_, BTreeSet<ServerKey>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the tokens that retired while this process ran are retiring.
    fn retired(&self, known: &BTreeMap<Name, Known>) -> BTreeMap<TokenId, Duration> {
        let now = self.clock.since_boot();
        let mut since = self.retiring.lock().unwrap_or_else(PoisonError::into_inner);
        *since =
            retiring(known).map(|id| (id.clone(), since.get(id).copied().unwrap_or(Some(now)))).collect();
        since.iter().filter_map(|(id, at)| Some((id.clone(), now.saturating_sub((*at)?)))).collect()
    }

    /// A number from 0 to 1, to spread work over time.
    pub(crate) fn share(&self) -> f64 {
        let bits = (self.chance)();
        f64::from(u32::from_be_bytes([bits[0], bits[1], bits[2], bits[3]])) / f64::from(u32::MAX)
    }
}

/// Looks after the tokens of one server.
#[derive(Debug)]
pub struct Keeper<S, T, D, C> {
    name: ServerName,
    key: ServerKey,
    server: S,
    shared: Arc<Shared<T, D, C>>,
    settings: Settings,
    state: Mutex<State>,
    /// Bounds probe requests: one at a time until the server has accepted a new token, so that a ban for failed
    /// logins does not hit the address that Telegraf shares with us.
    probing: Semaphore,
    /// Somebody wants a pass soon.
    wake: Notify,
}

/// What does not change while a keeper lives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the server is asked.
    pub reconcile: Duration,
    /// No request is answered after this.
    pub timeout: Duration,
    /// `[lifecycle]`.
    pub lifecycle: Lifecycle,
}

/// What a keeper has seen.
#[derive(Debug, Default)]
struct State {
    evidence: Evidence,
    databases: BTreeSet<String>,
    /// The server's date, and the boot-time clock when it was told.
    date: Option<(Time, Duration)>,
    has_accepted: bool,
    failures: BTreeMap<Name, Failures>,
    server_failures: u32,
    /// How many have begun.
    passes: u64,
    /// Probes under way.
    probing: BTreeSet<TokenId>,
    /// For some of them, the token that tells a refusal of theirs from the server's (rule 6).
    controls: BTreeMap<TokenId, TokenId>,
}

/// Mints of one name that failed in a row.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// On the boot-time clock.
    not_before: Duration,
}

/// What a pass did and what waits after it.
#[derive(Debug, Default)]
pub struct Report {
    /// What the last plan found.
    pub findings: Vec<Finding>,
    /// What could not be done.
    pub errors: Vec<String>,
    /// The server could not be asked, or its answer not used.
    pub server_error: Option<Unanswered>,
    /// Something was done.
    pub progress: bool,
    /// When the plan is due again by itself.
    pub next_due: Option<Time>,
    /// Which pass of its keeper it is of, counted from one; zero: of a probe.
    pub pass: u64,
    /// What waited for an answer alone has got it: another pass can act on it at once.
    again: bool,
    /// Length of the list.
    list_bytes: usize,
    /// Probes to open.
    probes: Vec<(Name, TokenId, Option<TokenId>)>,
}

impl Report {
    /// How many tokens are to be probed from now on.
    #[must_use]
    pub fn probing(&self) -> usize {
        self.probes.len()
    }
}

/// Why there is no list to plan with.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The server gave none.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It cannot be judged.
    #[error(transparent)]
    Time(#[from] NoTime),
}

impl crate::hint::Hint for Unanswered {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Time(error) => error.hint(),
        }
    }
}

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// For one server of the list.
    pub fn new(
        name: ServerName,
        key: ServerKey,
        server: S,
        shared: Arc<Shared<T, D, C>>,
        settings: Settings,
    ) -> Self {
        Self {
            name,
            key,
            server,
            shared,
            settings,
            state: Mutex::default(),
            probing: Semaphore::new(1),
            wake: Notify::new(),
        }
    }

    /// The server's name in the list.
    pub fn server_name(&self) -> &ServerName {
        &self.name
    }

    /// The server, as records know it.
    pub fn server_key(&self) -> &ServerKey {
        &self.key
    }

    /// How many passes have begun.
    pub fn passes(&self) -> u64 {
        self.state().passes
    }

    /// Whether tokens are being probed.
    pub fn is_probing(&self) -> bool {
        !self.state().probing.is_empty()
    }

    /// What the data plane said of a token, as far as it was asked.
    pub fn probed(&self, id: &TokenId) -> Option<Probed> {
        self.state().evidence.probes.get(id).cloned()
    }

    /// Asks for a pass soon.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// A person has confirmed that names move to this server (rule 12).
    pub fn confirm(&self, names: impl IntoIterator<Item = Name>) {
        self.state().evidence.confirmed.extend(names);
    }

    /// What the next pass would do, and the list it would rest on. Asks the server, changes nothing.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn look(&self) -> Result<(Plan, Listing), Unanswered> {
        let listing = self.list().await?;
        let plan = self.plan(&listing).await?;
        Ok((plan, listing))
    }

    /// One pass: list first, then records, then what follows from both.
    async fn pass(&self, signals: &Signals) -> Report {
        let number = {
            let mut state = self.state();
            state.passes += 1;
            state.passes
        };
        let looked = self.look().await;
        // Also without a list: what was delivered may have been altered, or have failed before.
        let mut report = Report { pass: number, ..Report::default() };
        let (plan, listing) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                self.deliver_all(&mut report).await;
                report.server_error = Some(error);
                return report;
            }
        };
        report.list_bytes = listing.bytes;
        report.next_due = plan.next_due;
        report.findings = plan.findings;
        self.carry_out(plan.steps, &plan.to_end, signals, &mut report).await;
        report
    }

    async fn deliver_all(&self, report: &mut Report) {
        for error in self.shared.deliver_all().await {
            report.errors.push(error.to_string());
        }
    }

    async fn list(&self) -> Result<Listing, Unanswered> {
        let known: BTreeSet<TokenId> = self
            .shared
            .ledger
            .known()
            .values()
            .filter_map(Known::record)
            .flat_map(|record| record.held().map(|held| held.id.clone()))
            .collect();
        let listing = self.server.list(&known).await?;
        let since_boot = self.shared.clock.since_boot();
        let mut state = self.state();
        state.evidence.probes.retain(|id, _| known.contains(id));
        state.evidence.imported.retain(|id, _| known.contains(id));
        state.server_failures = 0;
        state.date = None;
        drop(state);
        let now = self.judge(&listing)?;
        let mut state = self.state();
        state.date = Some((now, since_boot));
        state.evidence.first_list.get_or_insert(now);
        self.shared.listed().insert(self.key.clone());
        Ok(listing)
    }

    fn judge(&self, listing: &Listing) -> Result<Time, NoTime> {
        let clock = &self.shared.clock;
        let sealed = latest_sealed(self.shared.ledger.known().values());
        judging_time(
            listing.date,
            clock.now(),
            clock.is_synchronised(),
            self.settings.lifecycle.trust_local_clock,
            sealed,
        )
    }

    /// Plans; where the plan needs the databases, asks for them and plans again.
    async fn plan(&self, listing: &Listing) -> Result<Plan, ServerError> {
        let plan = self.plan_with(listing, &Databases::NotAsked);
        let plan = if plan.needs_databases() {
            let databases = match self.server.databases().await {
                Ok(databases) => {
                    self.state().databases.clone_from(&databases);
                    Databases::Known(databases)
                }
                // An older release, or no right to: that will not change by asking again.
                Err(error) if matches!(error.status(), Some(403 | 404)) => {
                    Databases::Unlistable(error.kind.to_string())
                }
                Err(error) => return Err(error),
            };
            self.plan_with(listing, &databases)
        } else {
            plan
        };
        let now = self.now();
        let mut state = self.state();
        state.evidence.unknown_since.retain(|id, _| plan.unknown.contains(id));
        for id in &plan.unknown {
            state.evidence.unknown_since.entry(id.clone()).or_insert(now);
        }
        Ok(plan)
    }

    fn plan_with(&self, listing: &Listing, databases: &Databases) -> Plan {
        self.with_view(listing, databases, plan::plan)
    }

    /// Everything the plan looks at, as it is now.
    fn with_view<R>(&self, listing: &Listing, databases: &Databases, look: impl FnOnce(&View<'_>) -> R) -> R {
        let instances = self.shared.ledger.instances();
        let specs = self.shared.specs();
        let records = self.shared.ledger.known();
        let now = self.now();
        let mut state = self.state();
        self.gather(&mut state, &specs, &records, now);
        look(&View {
            now,
            server: &self.name,
            key: &self.key,
            instance: &instances.current,
            former: &instances.former,
            specs: &specs,
            records: &records,
            listing,
            databases,
            capabilities: self.server.capabilities(),
            evidence: &state.evidence,
            lifecycle: &self.settings.lifecycle,
        })
    }

    /// Brings the evidence up to now.
    fn gather(
        &self,
        state: &mut State,
        specs: &BTreeMap<Name, Spec>,
        records: &BTreeMap<Name, Known>,
        now: Time,
    ) {
        let boot = self.shared.clock.since_boot();
        let waiting = state
            .failures
            .iter()
            .filter_map(|(name, failures)| {
                let wait = failures.not_before.checked_sub(boot).filter(|wait| !wait.is_zero())?;
                Some((name.clone(), wait))
            })
            .collect();
        state.evidence.waiting = waiting;
        // As much as can be told of how long an imported one has been probed: it may be older than this store.
        for next in records.values().filter_map(|known| known.record()?.next.as_ref()) {
            if matches!(next.origin, Origin::Imported { .. }) {
                state.evidence.imported.entry(next.id.clone()).or_insert(now);
            }
        }
        state.evidence.retired = self.shared.retired(records);
        // What has left the list, or this server, since it was asked for is nothing to wait for.
        state.evidence.asked.retain(|name| specs.get(name).is_some_and(|spec| spec.server == self.name));
        state.evidence.delivered.clone_from(&self.shared.delivered());
    }

    /// Live tokens that bear this store's label and are in no record, with that label; whether it names a former
    /// instance.
    pub fn unrecorded(&self, listing: &Listing) -> Vec<(Listed, Label, bool)> {
        self.with_view(listing, &Databases::NotAsked, |view| {
            view.orphans()
                .map(|(row, label)| (row.clone(), label.clone(), label.instance != *view.instance))
                .collect()
        })
    }

    /// Ends such a token. Whoever uses it is cut off.
    ///
    /// # Errors
    /// The server did not end it.
    pub async fn end_unrecorded(&self, id: &TokenId) -> Result<(), ServerError> {
        self.server.revoke(id).await
    }

    /// The server's time: its last Date, and what has passed since on a clock that nobody sets. Before the first
    /// list, the local clock.
    fn now(&self) -> Time {
        let clock = &self.shared.clock;
        match self.state().date {
            Some((date, at)) => after(date, clock.since_boot().saturating_sub(at)),
            None => clock.now(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retiring(known: &BTreeMap<Name, Known>) -> impl Iterator<Item = &TokenId> {
    known
        .values()
        .filter_map(Known::record)
        .flat_map(|record| record.retiring.iter().map(|retiring| &retiring.held.id))
}

/// Steps in the order in which they are carried out: what concerns records first, what ends tokens last.
fn rank(step: &Step) -> u8 {
    match step {
        Step::Separate => 0,
        Step::Note { .. } => 1,
        Step::Promote { .. } => 2,
        Step::Mint { .. } => 3,
        Step::Probe { .. } => 4,
        Step::Verify { .. } => 5,
        Step::Revoke { .. } | Step::End { .. } => 6,
    }
}
