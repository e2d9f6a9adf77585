//! The loop around the passes: when the next is made, and what runs beside it.

use std::{pin::Pin, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{Keeper, Report, Turn, Unanswered, probes::SETTLE};
use crate::{
    deliver::Deliver,
    influxdb::Server,
    lifecycle::{
        Clock,
        plan::Matter,
        schedule::{Stake, backoff, reconcile},
    },
    model::{Known, Name, TokenId, after, since},
    store::Store,
};

/// What failed for a reason of our own is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

/// So often in a row a pass is repeated for what it has learnt.
const REPEATS: u32 = 2;

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until told to stop.
    Daemon,
    /// Until nothing is due and no probe is open.
    OneShot,
}

/// What a keeper is told from outside.
#[derive(Clone, Debug)]
pub struct Signals {
    stopping: watch::Receiver<bool>,
}

impl Signals {
    /// `stopping` turns true at SIGTERM.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self { stopping }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    async fn stop(&mut self) {
        // A sender that is gone will not ask for anything else.
        let _gone = self.stopping.wait_for(|stopping| *stopping).await;
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Looks after the server's tokens. `tell` gets each report. Once told to stop it mints nothing new, awaits
    /// what is under way and returns (rule 17); an answer from which nothing has followed yet it does not await.
    pub async fn drive(&self, mode: Mode, first: Duration, mut signals: Signals, tell: impl Fn(&Report)) {
        let inner = signals.clone();
        let mut pass: Option<Boxed<'_, Report>> = None;
        let mut timer = self.wait(first);
        let mut probes = FuturesUnordered::new();
        let mut promoted = false;
        loop {
            tokio::select! {
                // In this order, not in a random one: a history of the simulation is the same each time.
                biased;
                () = signals.stop() => {
                    // A probe that is not polled any more would keep its permit from the pass for good.
                    probes.clear();
                    if let Some(pass) = pass.filter(|_| !matches!(self.turn(), Turn::Asks(_))) {
                        let report = pass.await;
                        // Not opened any more, and not over either.
                        self.to_open(&report);
                        tell(&report);
                    }
                    return;
                }
                mut report = next_report(&mut pass) => {
                    pass = None;
                    if mode == Mode::Daemon {
                        report.findings.append(&mut report.failed);
                    }
                    for (name, id) in self.to_open(&report) {
                        let probe = self.probe(name, id.clone(), mode);
                        probes.push(async move { (id, probe.await) });
                    }
                    tell(&report);
                    let goes_on = self.is_due_now(&report) && self.allowed_in().is_zero();
                    if mode == Mode::OneShot && probes.is_empty() && !goes_on {
                        return;
                    }
                    timer = self.wait(if promoted { self.soon(mode) } else { self.pause(&report, mode) });
                }
                Some((id, report)) = probes.next() => {
                    let mut state = self.state();
                    state.probing.remove(&id);
                    state.controls.remove(&id);
                    drop(state);
                    promoted |= report.progress;
                    let failed = !report.errors.is_empty();
                    if failed {
                        tell(&report);
                    }
                    let over = probes.is_empty() && pass.is_none();
                    if failed && pass.is_none() {
                        timer = self.wait(RETRY.max(self.allowed_in()));
                    }
                    if over && mode == Mode::OneShot && !promoted {
                        return;
                    }
                    if over && promoted {
                        // What waited for a token that works, a stray say, waits no longer.
                        timer = self.wait(self.soon(mode));
                    }
                }
                () = &mut timer, if pass.is_none() => {
                    promoted = false;
                    pass = Some(self.pass(&inner).boxed());
                }
                () = self.wake.notified(), if pass.is_none() => timer = self.wait(self.soon(mode)),
            }
        }
    }

    /// Until the next pass.
    fn wait(&self, pause: Duration) -> Boxed<'_, ()> {
        self.state().turn = Turn::Waits(after(self.shared.clock.now(), pause));
        self.shared.clock.sleep(pause).boxed()
    }

    /// The probes that a pass wants and that are not under way; from now on they are.
    fn to_open(&self, report: &Report) -> Vec<(Name, TokenId)> {
        let mut state = self.state();
        let mut to_open = Vec::new();
        for (name, id, control) in &report.probes {
            state.controls.extend(control.clone().map(|control| (id.clone(), control)));
            if state.probing.insert(id.clone()) {
                to_open.push((name.clone(), id.clone()));
            }
        }
        to_open
    }

    /// A one-shot command goes on where the pass has made something possible that it did not do itself.
    fn is_due_now(&self, report: &Report) -> bool {
        report.again
            || report.progress
                && report
                    .findings
                    .iter()
                    .any(|finding| matches!(finding.matter, Matter::StrayWaits(_) | Matter::Gone { .. }))
    }

    /// The time to the next pass.
    fn pause(&self, report: &Report, mode: Mode) -> Duration {
        #[cfg(test)]
        if self.mutant == Some(super::KeeperMutant::Restless) {
            return SETTLE;
        }
        let allowed = self.allowed_in();
        if self.is_to_repeat(report) {
            return allowed;
        }
        if self.is_due_now(report) {
            return settle(mode).max(allowed);
        }
        self.until_due(report).max(allowed)
    }

    /// What comes in quick succession gathers.
    fn soon(&self, mode: Mode) -> Duration {
        settle(mode).max(self.allowed_in())
    }

    /// As long as the server asks for, but no longer than rule 10 allows.
    pub(super) fn within(&self, asked: Duration, stake: Stake) -> Duration {
        #[cfg(test)]
        if self.mutant == Some(super::KeeperMutant::Obedient) {
            return asked;
        }
        asked.min(stake.cap())
    }

    /// How long the server's allowance makes a pass wait.
    fn allowed_in(&self) -> Duration {
        #[cfg(test)]
        if self.mutant == Some(super::KeeperMutant::Restless) {
            return Duration::ZERO;
        }
        self.state().allowance.wait(self.shared.clock.since_boot())
    }

    /// The time until there is something to look for.
    fn until_due(&self, report: &Report) -> Duration {
        let chance = self.shared.share();
        let usual = reconcile(self.settings.reconcile, report.list_bytes, chance);
        if let Some(error) = &report.server_error {
            let (asked, lasts) = match error {
                Unanswered::Server(error) => {
                    (error.retry_after().unwrap_or_default(), error.needs_a_person())
                }
                Unanswered::Time(_) | Unanswered::Shared(_) => (Duration::ZERO, false),
            };
            let mut state = self.state();
            state.server_failures += 1;
            let failures = state.server_failures;
            drop(state);
            let stake = self.stake();
            return backoff(failures, stake, lasts, chance).min(usual).max(self.within(asked, stake));
        }
        let failures = {
            let mut state = self.state();
            state.failed_passes = if report.errors.is_empty() { 0 } else { state.failed_passes + 1 };
            state.failed_passes
        };
        let now = self.now();
        // A moment later than due: the server's clock and ours round differently.
        let due = report.next_due.map_or(usual, |at| since(now, at) + SETTLE);
        let retry = if failures == 0 { usual } else { backoff(failures, self.stake(), false, chance) };
        usual.min(due).min(retry)
    }

    /// Whether another pass can act at once on what this one has learnt. One that learns the same again cannot.
    fn is_to_repeat(&self, report: &Report) -> bool {
        let mut state = self.state();
        state.repeats = if report.again { state.repeats + 1 } else { 0 };
        (1..=REPEATS).contains(&state.repeats)
    }

    /// What is at stake while this server cannot be asked.
    fn stake(&self) -> Stake {
        let (records, now) = (self.shared.ledger.known(), self.now());
        let mut stake = Stake { has_current: true, remaining: None };
        for spec in self.shared.specs().values().filter(|spec| spec.server == self.name) {
            let record = records.get(&spec.name).and_then(Known::record);
            let Some(current) = record.and_then(|record| record.current.as_ref()) else {
                stake.has_current = false;
                continue;
            };
            let remaining = current.expires_at.map(|at| since(now, at));
            stake.remaining = stake.remaining.into_iter().chain(remaining).min();
        }
        stake
    }
}

/// A daemon lets what comes in quick succession gather; a person waits for a one-shot command.
fn settle(mode: Mode) -> Duration {
    if mode == Mode::OneShot { Duration::ZERO } else { SETTLE }
}

/// The report of the pass under way; never, where there is none.
async fn next_report(pass: &mut Option<Boxed<'_, Report>>) -> Report {
    match pass {
        Some(pass) => pass.await,
        None => std::future::pending().await,
    }
}
