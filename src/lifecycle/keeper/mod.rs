//! Carries plans out on one server. Generic over server, store, deliveries and clock, and never spawns: whoever
//! drops the future of [`Keeper::drive`] has crashed it, which is what the simulation does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore};

use super::{
    Clock,
    allowance::Allowance,
    ledger::DisownError,
    plan::{Finding, Matter},
};
use crate::{
    deliver::Deliver,
    influxdb::{Server, ServerError},
    lifecycle::now::NoTime,
    model::{
        Evidence, FailedMint, Known, Lifecycle, Moment, Name, Probed, ServerKey, ServerName, Time, TokenId,
        Word, after,
    },
    store::Store,
};

mod asked;
mod drive;
mod holders;
mod import;
mod look;
mod mint;
mod probes;
mod revoke;
mod shared;
mod steps;
mod undo;

pub use asked::{RotateError, clocks, keepers_of, may_all_rotate, rotate};
pub use drive::{Mode, Signals};
pub use import::{Import, ImportError, Imported};
pub use shared::Shared;
pub use undo::{RevokeError, UndoError};

/// So many names are minted for, written or revoked at once.
const STEPS: usize = 8;
/// So many probe requests are under way at once, after the server has accepted one new token.
const PROBES: usize = 16;

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
    /// Breaks plans on purpose, to show that this is seen.
    #[cfg(test)]
    pub(super) tamper: Option<Tamper>,
    /// Breaks what is done on purpose.
    #[cfg(test)]
    pub(super) mutant: Option<KeeperMutant>,
}

/// What is wrong with what is done.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeeperMutant {
    /// Waits as long as the server asks for, without a bound.
    Obedient,
    /// Waits a second, whatever was asked of the server before.
    Restless,
    /// Revokes a former token before it is sealed that it is about to.
    RevokesUnsealed,
    /// Mints what the list has on another server by now.
    MintsForOthers,
}

#[cfg(test)]
pub(super) type Tamper = fn(&mut super::plan::Plan, &super::plan::View<'_>);

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
    /// The server's times have no zone, which was logged.
    knows_zoneless: bool,
    /// The ids of all held and revoked tokens, and the records that they are of.
    held: (Arc<BTreeMap<Name, Known>>, Arc<BTreeSet<TokenId>>),
    /// Those of them that the evidence is about.
    seen: Arc<BTreeSet<TokenId>>,
    databases: BTreeSet<String>,
    /// The server's date, and the boot-time clock when it was told.
    date: Option<(Time, Duration)>,
    has_accepted: bool,
    failures: BTreeMap<Name, Failures>,
    server_failures: u32,
    /// Passes in a row in which something could not be done.
    failed_passes: u32,
    /// Passes in a row that made another worth while at once.
    repeats: u32,
    /// The number of the last one that has begun.
    last_pass: u64,
    turn: Turn,
    /// Of requests besides mints and probes.
    allowance: Allowance,
    /// Tokens whose revocation, or change of grants, failed, and in which pass.
    failed_changes: BTreeMap<TokenId, u64>,
    /// What the log was told of who holds former values.
    told: BTreeMap<Name, holders::Told>,
    /// Probes under way.
    probing: BTreeSet<TokenId>,
    /// For some of them, the token that tells a refusal of theirs from the server's (rule 6).
    controls: BTreeMap<TokenId, TokenId>,
}

/// How far the round of looking and acting is, by this host's clock: for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// It has not begun, or what follows from a look is being done.
    #[default]
    Acts,
    /// The server is asked how things are, since then.
    Asks(Time),
    /// The server is asked again at this time, or sooner if somebody wants it.
    Waits(Time),
}

/// Mints of one name that failed in a row.
#[derive(Clone, Debug)]
struct Failures {
    count: u32,
    /// Of what the last one did.
    why: String,
    /// On the boot-time clock.
    not_before: Duration,
    /// The same by the server's clock, for people: told once, or it would be another moment each time.
    until: Time,
}

impl Failures {
    /// `None` once the name waits no longer.
    fn waits(&self, since_boot: Duration) -> Option<FailedMint> {
        let wait = self.not_before.checked_sub(since_boot).filter(|wait| !wait.is_zero())?;
        Some(FailedMint { why: self.why.clone(), wait, until: self.until })
    }
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
    /// Which pass it is of, counted from one over all keepers of this process; zero: of a probe.
    pub pass: u64,
    /// What failed just now and a daemon tries again by itself: to be found from now on.
    failed: Vec<Finding>,
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

    /// What was done for one name, beside others.
    fn add(&mut self, of_one: Self) {
        self.errors.extend(of_one.errors);
        self.findings.extend(of_one.findings);
        self.progress |= of_one.progress;
        self.again |= of_one.again;
        self.probes.extend(of_one.probes);
        self.failed.extend(of_one.failed);
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
    /// Another machine may use the store's tokens, and they could not be set apart yet.
    #[error(transparent)]
    Shared(#[from] DisownError),
}

impl crate::hint::Hint for Unanswered {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Time(error) => error.hint(),
            Self::Shared(error) => error.hint(),
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
            #[cfg(test)]
            tamper: None,
            #[cfg(test)]
            mutant: None,
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

    /// The number of the last pass that has begun; zero: none has.
    pub fn last_pass(&self) -> u64 {
        self.state().last_pass
    }

    /// How many seconds the server's clock is ahead of this host's; `None` before the first list.
    pub fn skew(&self) -> Option<i64> {
        let local = self.shared.clock.now();
        self.state().date?;
        Some(self.now().duration_since(local).as_secs())
    }

    /// How far the round of looking and acting is.
    pub fn turn(&self) -> Turn {
        self.state().turn
    }

    /// Whether tokens are being probed.
    pub fn is_probing(&self) -> bool {
        !self.state().probing.is_empty()
    }

    /// What the data plane said of a token, as far as it was asked.
    pub fn probed(&self, id: &TokenId) -> Option<Probed> {
        self.state().evidence.probes.get(id).cloned()
    }

    /// Asks for a pass soon: a person wants something, or the list has changed.
    pub fn wake(&self) {
        self.state().allowance.ask(self.shared.clock.since_boot());
        self.wake.notify_one();
    }

    /// Asks for a pass as soon as the server's allowance has room for one.
    fn wake_when_allowed(&self) {
        self.wake.notify_one();
    }

    /// A request other than a mint or a probe is sent.
    fn spend_request(&self) {
        self.state().allowance.spend(self.shared.clock.since_boot());
    }

    /// Something was done that explains requests.
    fn explain_requests(&self) {
        self.state().allowance.explain(self.shared.clock.since_boot());
    }

    /// A person has confirmed that names move to this server (rule 12), or that their tokens are to be revoked (rule 11).
    pub fn confirm(&self, names: impl IntoIterator<Item = Name>, word: Word) {
        let names = names.into_iter().map(|name| (name, word));
        self.state().evidence.confirmed.extend(names);
    }

    /// One pass: list first, then records, then what follows from both.
    async fn pass(&self, signals: &Signals) -> Report {
        let number = self.shared.next_pass();
        {
            let mut state = self.state();
            (state.last_pass, state.turn) = (number, Turn::Asks(self.shared.clock.now()));
        }
        let looked = self.look().await;
        self.state().turn = Turn::Acts;
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
        report.findings.clone_from(&plan.findings);
        self.carry_out(plan, signals, &mut report).await;
        self.report_unprobed(&mut report);
        report
    }

    /// What a plan found to be delivered unprobed has been asked about since: with what came of that it is an error.
    fn report_unprobed(&self, report: &mut Report) {
        let is_accepted = |id: &TokenId| self.probed(id).is_some_and(|probed| probed.accepted_at.is_some());
        report.findings.retain(|finding| match &finding.matter {
            Matter::NotAcceptedYet { id, .. } => !is_accepted(id),
            _ => true,
        });
        let unprobed = report.findings.iter().filter_map(|finding| match &finding.matter {
            Matter::NotAcceptedYet { id, .. } => Some((finding.name.clone()?, id.clone())),
            _ => None,
        });
        for (name, id) in unprobed.collect::<Vec<_>>() {
            self.report_not_accepted(&name, &id, report);
        }
    }

    /// A token that is delivered and that the server has not accepted, with its last answer.
    fn report_not_accepted(&self, name: &Name, id: &TokenId, report: &mut Report) {
        let last = self.probed(id).and_then(|probed| probed.last);
        let matter = Matter::NotAcceptedYet { id: id.clone(), last };
        let hint = matter.hint();
        report.errors.push(Finding { name: Some(name.clone()), matter }.to_string());
        report.errors.extend(hint.map(|hint| format!("hint: {hint}")));
    }

    async fn deliver_all(&self, report: &mut Report) {
        report.errors.extend(self.shared.deliver_all().await);
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

    /// The same, and the boot-time clock's.
    fn moment(&self) -> Moment {
        Moment { at: self.now(), boot: self.shared.clock.boot_time() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
