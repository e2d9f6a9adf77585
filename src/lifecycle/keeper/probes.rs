//! Asking the data plane about tokens. Probes are timers of their own: they run beside the passes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{Keeper, Mode, PROBES, Report, steps::fail};
use crate::{
    deliver::Deliver,
    influxdb::{Check, Server, Verdict},
    lifecycle::{
        Clock,
        plan::promotion,
        probe::{Probing, Round, checks, objection},
    },
    model::{Held, Name, Probe, TokenId, after, since},
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Probes `next` until the server has accepted it, and promotes it then. Ends early where it is not `next` any
    /// more, or nothing can be asked about it; a one-shot command waits no longer than the deadline,
    /// unless all that is lacking is one more acceptance.
    pub(super) async fn probe(&self, name: Name, id: TokenId, mode: Mode) -> Report {
        let mut report = Report::default();
        let Some((mut held, settings)) = self.to_probe(&name, &id) else {
            return report;
        };
        let begun = self.state().evidence.next_since(&held);
        let deadline = after(begun, settings.deadline);
        let Some(mut probing) = Probing::new(self.checks(&held, Some(&settings)), settings) else {
            return report;
        };
        loop {
            match self.to_probe(&name, &id) {
                None => return report,
                // It may do something else since: that is to be accepted as well.
                Some((now, settings)) if now.grants != held.grants => {
                    let Some(anew) = Probing::new(self.checks(&now, Some(&settings)), settings) else {
                        return report;
                    };
                    (held, probing) = (now, anew);
                }
                Some(_) => {}
            }
            let answers = self.ask(&held, probing.round()).await;
            let now = self.now();
            let round = probing.hear(&answers, now >= deadline);
            let accepts = matches!(round, Round::Accepting(_));
            let wait = match round {
                Round::Accepted
                    if self.to_probe(&name, &id).is_some_and(|(now, _)| now.grants != held.grants) =>
                {
                    continue;
                }
                Round::Accepted => {
                    self.note_accepted(&id);
                    break;
                }
                Round::Accepting(wait) => wait,
                Round::Refused(wait, what) => {
                    tracing::debug!(%name, %id, "not accepted yet: {what}");
                    self.state().evidence.probes.entry(id.clone()).or_default().refuse(now, what);
                    self.ask_control(&id).await;
                    wait
                }
                Round::Unanswered(wait, what) => {
                    tracing::debug!(%name, %id, "cannot be probed: {what}");
                    self.state().evidence.probes.entry(id.clone()).or_default().miss(now, what);
                    let waits_no_longer =
                        mode == Mode::OneShot && now >= deadline && self.is_first(&name, &id);
                    if waits_no_longer || self.may_be_promoted(&name).is_some() {
                        break;
                    }
                    wait
                }
            };
            if mode == Mode::OneShot && now >= deadline && !accepts {
                let last = self.last_answer(&id);
                fail(
                    &mut report,
                    format!("token {name}: {id} is not accepted everywhere within its deadline{last}"),
                );
                return report;
            }
            // A command waits for no longer than the deadline, whatever the server asks for.
            let left = since(self.now(), deadline);
            let wait = if mode == Mode::OneShot && !left.is_zero() { wait.min(left) } else { wait };
            self.shared.clock.sleep(wait).await;
        }
        match self.may_be_promoted(&name) {
            Some(true) => {
                self.promote(&name, &id, &mut report).await;
                self.note_delivered(&mut report).await;
            }
            None if mode == Mode::Daemon => {}
            // Unprobed: a daemon's next plan does it and says so.
            Some(false) if mode == Mode::Daemon => self.wake_when_allowed(),
            _ => {
                self.promote(&name, &id, &mut report).await;
                self.note_delivered(&mut report).await;
            }
        }
        report
    }

    /// Whether there is no token yet in whose place it would come, and nothing speaks against it.
    fn is_first(&self, name: &Name, id: &TokenId) -> bool {
        let has_current = self.shared.ledger.record(name).is_some_and(|record| record.current.is_some());
        let is_refused = self.state().evidence.probes.get(id).is_some_and(|probed| probed.refused.is_some());
        !has_current && !is_refused
    }

    fn last_answer(&self, id: &TokenId) -> String {
        let last = self.state().evidence.probes.get(id).and_then(|probed| probed.last.clone());
        last.map(|last| format!(" (last answer: {last})")).unwrap_or_default()
    }

    /// One question about a token, all its grants at once: does it work at all?
    pub(super) async fn verify(&self, name: &Name, id: &TokenId) -> Works {
        let record = self.shared.ledger.record(name);
        let Some(held) = record.iter().flat_map(|record| record.held()).find(|held| held.id == *id) else {
            return Works::Unknown;
        };
        let settings = self.shared.specs().get(name).and_then(|spec| spec.probe.clone());
        let checks: Vec<Check> = self.checks(held, settings.as_deref()).into_iter().collect();
        let answers = self.ask(held, checks).await;
        let now = self.now();
        let mut state = self.state();
        let probed = state.evidence.probes.entry(id.clone()).or_default();
        let refusal = |verdict: &Verdict| matches!(verdict, Verdict::Refused { .. });
        let accepted = answers.iter().filter(|(_, verdict)| *verdict == Verdict::Accepted).count();
        if accepted > 0 && accepted == answers.len() {
            probed.accept(now);
            return Works::Wholly;
        }
        if accepted > 0 {
            probed.accept_partly(now);
            return Works::Partly;
        }
        // What says nothing about the token is told before a refusal.
        let told = answers.iter().find(|(_, verdict)| !refusal(verdict)).or(answers.first());
        let last = told.and_then(|(check, verdict)| objection(check, verdict));
        let last = last.unwrap_or_else(|| "no answer".to_owned());
        if told.is_some_and(|(_, verdict)| refusal(verdict)) {
            probed.refuse(now, last);
            Works::Refused
        } else {
            probed.miss(now, last);
            Works::Unknown
        }
    }

    fn to_probe(&self, name: &Name, id: &TokenId) -> Option<(Held, Arc<Probe>)> {
        let settings = self.shared.specs().get(name)?.probe.clone()?;
        let held = self.shared.ledger.record(name)?.next.clone().filter(|next| next.id == *id)?;
        Some((held, settings))
    }

    /// Whether the name's `next` may become current, and whether a probe says so.
    pub(super) fn may_be_promoted(&self, name: &Name) -> Option<bool> {
        let record = self.shared.ledger.record(name)?;
        let specs = self.shared.specs();
        let now = self.now();
        promotion(&record, specs.get(name)?, &self.state().evidence, now).map(|promotion| promotion.probed)
    }

    pub(super) fn checks(&self, held: &Held, settings: Option<&Probe>) -> BTreeSet<Check> {
        let state = self.state();
        let named = settings.and_then(|probe| probe.database.as_ref()).map(ToString::to_string);
        let stand_in = named.or_else(|| state.databases.first().cloned());
        checks(&held.grants, stand_in.as_deref())
    }

    pub(super) async fn ask(&self, held: &Held, checks: Vec<Check>) -> Vec<(Check, Verdict)> {
        join_all(checks.into_iter().map(|check| async move {
            let permit = self.probing.acquire().await;
            // Boxed, so that thousands which wait for their turn do not each hold room for a request.
            let verdict = Box::pin(self.server.check(&held.secret, &check)).await;
            drop(permit);
            (check, verdict)
        }))
        .await
    }

    fn note_accepted(&self, id: &TokenId) {
        let now = self.now();
        let mut state = self.state();
        state.evidence.probes.entry(id.clone()).or_default().accept(now);
        if !std::mem::replace(&mut state.has_accepted, true) {
            self.probing.add_permits(PROBES - 1);
        }
    }

    /// Rule 6: is it this token that is refused, or any?
    async fn ask_control(&self, id: &TokenId) {
        let Some(control) = self.state().controls.get(id).cloned() else {
            return;
        };
        let records = self.shared.ledger.known();
        let held = records
            .values()
            .filter_map(|known| known.record()?.current.as_ref())
            .find(|held| held.id == control);
        let Some(held) = held else { return };
        let checks: Vec<Check> = self.checks(held, None).into_iter().collect();
        let answers = self.ask(held, checks).await;
        if !answers.is_empty() && answers.iter().all(|(_, verdict)| *verdict == Verdict::Accepted) {
            let now = self.now();
            self.state().evidence.probes.entry(id.clone()).or_default().control_accepted_at = Some(now);
            self.wake_when_allowed();
        }
    }
}

/// What one question about a token has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Works {
    /// It was accepted for all it may do.
    Wholly,
    /// For some of it.
    Partly,
    /// For nothing.
    Refused,
    /// There was no answer that says.
    Unknown,
}

/// Finished probes make another pass worth while at the earliest after this.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
