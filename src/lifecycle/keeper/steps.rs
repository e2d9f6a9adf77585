//! Carrying out the steps of a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{StreamExt, stream};

use super::{Keeper, Report, STEPS, Signals, mint::MintFailure, probes::Works};
use crate::{
    deliver::Deliver,
    influxdb::Server,
    lifecycle::{
        Clock,
        ledger::ChangeError,
        plan::{Finding, Matter, MintReason, Plan, Step},
    },
    model::{Event, Name, Record, TokenId},
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Carries out a plan, phase by phase. A step that fails does not keep the others back; what it leaves is planned
    /// again.
    pub(super) async fn carry_out(&self, plan: Plan, signals: &Signals, report: &mut Report) {
        let Plan { steps, to_revoke, to_judge, .. } = plan;
        let (halted, changes_halted) = (AtomicBool::new(false), AtomicBool::new(false));
        let pass = Pass { to_revoke, to_judge, signals, halted, changes_halted };
        let mut delivered = false;
        for (phase, names) in by_phase(steps) {
            // Whatever mints, changes or revokes a token waits until everything has been delivered.
            if phase > Phase::Records && !delivered {
                self.deliver_all(report).await;
                delivered = true;
            }
            let (names, width) = self.in_order(names);
            self.step_by_name(names, width, &pass, report).await;
            if phase == Phase::Mints {
                self.note_delivered(report).await;
            }
        }
        if !delivered {
            self.deliver_all(report).await;
        }
    }

    /// Several names at once, the steps of one name in their order.
    async fn step_by_name(&self, names: Vec<Vec<Step>>, width: usize, pass: &Pass<'_>, report: &mut Report) {
        let each = names.into_iter().map(|steps| async move {
            let mut report = Report::default();
            for step in steps {
                self.step(&step, pass, &mut report).await;
            }
            report
        });
        let mut reports = stream::iter(each).buffer_unordered(width);
        while let Some(of_one) = reports.next().await {
            report.add(of_one);
        }
    }

    async fn step(&self, step: &Step, pass: &Pass<'_>, report: &mut Report) {
        match step {
            Step::Separate => self.separate(report).await,
            Step::Note { name, event } => self.note(name, event.clone(), report).await,
            Step::Promote { name, id } => self.promote(name, id, report).await,
            Step::Mint { name, why } => self.mint_and_follow_up(name, *why, pass, report).await,
            _ if step.changed_token().is_some() && pass.changes_halted.load(Ordering::Relaxed) => {
                report.failed.extend(self.waits_to_change(step));
            }
            Step::Patch { name, id, grants } => {
                let outcome = self.patch(name, id, grants, report).await;
                self.note_change(id, outcome, &pass.changes_halted);
            }
            Step::Probe { name, id, control } => {
                report.probes.push((name.clone(), id.clone(), control.clone()));
            }
            Step::Verify { name, id } => {
                let works = self.verify(name, id).await;
                report.progress |= matches!(works, Works::Wholly | Works::Partly);
                report.again |= match works {
                    Works::Wholly => pass.to_revoke.contains(name),
                    Works::Refused => pass.to_judge.contains(id),
                    Works::Partly | Works::Unknown => false,
                };
            }
            Step::RevokeStray { name, id, marker } => {
                let outcome = self.revoke_stray(name, id, marker.as_ref(), report).await;
                self.note_change(id, outcome, &pass.changes_halted);
            }
            Step::Revoke { name, id, why } => {
                let outcome = self.revoke(name, id, *why, report).await;
                self.note_change(id, outcome, &pass.changes_halted);
            }
            Step::Drop { name } => self.drop_record(name, report).await,
        }
    }

    /// The steps of each name, and of how many names at once. While changes of tokens fail they are tried one at a time,
    /// first what has not failed for longest: so each has its turn, though the first failure halts a pass.
    fn in_order(&self, names: ByName) -> (Vec<Vec<Step>>, usize) {
        let mut names: Vec<Vec<Step>> = names.into_values().collect();
        let changed: BTreeSet<TokenId> =
            names.iter().flatten().filter_map(Step::changed_token).cloned().collect();
        if changed.is_empty() {
            return (names, STEPS);
        }
        let mut state = self.state();
        state.failed_changes.retain(|id, _| changed.contains(id));
        let failed = |steps: &Vec<Step>| {
            let ids = steps.iter().filter_map(Step::changed_token);
            ids.filter_map(|id| state.failed_changes.get(id)).max().copied()
        };
        names.sort_by_key(failed);
        (names, if state.failed_changes.is_empty() { STEPS } else { 1 })
    }

    /// One that fails halts the others of its pass: a server that cannot do it is not asked for each of them.
    fn note_change(&self, id: &TokenId, outcome: ChangeOutcome, halted: &AtomicBool) {
        match outcome {
            ChangeOutcome::Skipped => {}
            ChangeOutcome::Done => {
                self.state().failed_changes.remove(id);
                self.explain_requests();
            }
            ChangeOutcome::Failed => {
                let mut state = self.state();
                let pass = state.last_pass;
                state.failed_changes.insert(id.clone(), pass);
                drop(state);
                halted.store(true, Ordering::Relaxed);
            }
        }
    }

    /// What is to be found of a token that was to be revoked, had the server not failed at another of this pass.
    fn waits_to_change(&self, step: &Step) -> Option<Finding> {
        let (Step::Revoke { name, id, .. } | Step::RevokeStray { name, id, .. }) = step else { return None };
        let why = "the server failed to change another token".to_owned();
        Some(Finding { name: Some(name.clone()), matter: Matter::RevocationFails { id: id.clone(), why } })
    }

    /// What has just been minted is probed at once, without another list; or promoted, where no probe is wanted.
    async fn mint_and_follow_up(&self, name: &Name, why: MintReason, pass: &Pass<'_>, report: &mut Report) {
        // After a SIGTERM, or once the server has shown that it takes no mints, nothing new is begun.
        if pass.signals.is_stopping() || pass.halted.load(Ordering::Relaxed) {
            return;
        }
        if let Err(MintFailure { what, hint }) = self.mint(name, why, pass, report).await {
            report.errors.push(what);
            report.errors.extend(hint.map(|hint| format!("hint: {hint}")));
            return report.failed.extend(self.waits_to_mint(name.clone()));
        }
        report.progress = true;
        self.explain_requests();
        let Some(next) = self.shared.ledger.record(name).and_then(|record| record.next.clone()) else {
            return;
        };
        match self.may_be_promoted(name) {
            Some(_) => self.promote(name, &next.id, report).await,
            None => report.probes.push((name.clone(), next.id, None)),
        }
    }

    pub(super) async fn note_delivered(&self, report: &mut Report) {
        if let Err(error) = self.shared.note().await {
            fail(report, error.to_string());
        }
    }

    async fn separate(&self, report: &mut Report) {
        tracing::warn!(server = %self.name, "another machine uses a copy of this store, taking a new instance");
        match self.shared.ledger.disown(&self.moment()).await {
            Ok(()) => report.progress = true,
            Err(error) => fail(report, format!("cannot take a new instance: {error}")),
        }
        self.wake_when_allowed();
    }

    async fn note(&self, name: &Name, event: Event, report: &mut Report) {
        match &event {
            Event::Gone { id, .. } if self.is_former(name, id) => {
                tracing::info!(%name, %id, "former token is gone")
            }
            Event::Gone { id, how } => tracing::warn!(%name, %id, ?how, "token is gone"),
            Event::Reinstated(id) => tracing::warn!(%name, %id, "former token is current again"),
            Event::Removed => tracing::info!(%name, "left the list"),
            Event::PutBack => tracing::info!(%name, "is back in the list"),
            Event::Withdrawn(id) => {
                tracing::warn!(%name, %id, "left the list, not delivered any more; others may use it");
            }
            other => tracing::debug!(%name, event = other.name(), "record changes"),
        }
        let changes_value = event.changes_value();
        if self.record(name, vec![event], report).await && changes_value {
            self.deliver(name, report).await;
        }
    }

    fn is_former(&self, name: &Name, id: &TokenId) -> bool {
        let record = self.shared.ledger.record(name);
        record.is_some_and(|record| record.retiring.iter().any(|retiring| retiring.held.id == *id))
    }

    /// Makes `next` the current token, if it is still the one that was looked at.
    pub(super) async fn promote(&self, name: &Name, id: &TokenId, report: &mut Report) {
        let probed = self.may_be_promoted(name) == Some(true);
        let lifetime = self.shared.specs().get(name).and_then(|spec| spec.lifetime);
        let mut events = vec![Event::Promoted { id: id.clone(), probed, lifetime }];
        if self.is_asked_for(name) {
            events.push(Event::WishFulfilled);
        }
        if !self.record(name, events, report).await {
            return;
        }
        let generation = self.shared.ledger.generation(name);
        self.shared.promoted().insert(name.clone(), generation);
        self.state().evidence.asked.remove(name);
        tracing::info!(%name, %id, generation, server = %self.name, "promoted");
        if !probed {
            tracing::warn!(%name, %id, server = %self.name, "promoted unprobed");
            self.report_not_accepted(name, id, report);
        }
        self.deliver(name, report).await;
    }

    /// Seals what happened to a record that exists, and reports if that fails. Whether it is sealed.
    pub(super) async fn record(&self, name: &Name, events: Vec<Event>, report: &mut Report) -> bool {
        match self.apply(name, events).await {
            Ok(record) => {
                report.progress = true;
                self.explain_requests();
                record.is_some()
            }
            // The record has changed since this was planned: the next pass plans with what it is now.
            Err(ChangeError::NotAllowed(error)) => {
                tracing::info!("{error}");
                false
            }
            Err(error) => {
                fail(report, error.to_string());
                false
            }
        }
    }

    /// Brings a name's value, or that there is none, to its consumers, and reports if that fails.
    pub(super) async fn deliver(&self, name: &Name, report: &mut Report) {
        if let Err(error) = self.shared.deliver(name).await {
            fail(report, error.to_string());
        }
    }

    /// Applies events to a record that exists; `None`: it does not any more.
    pub(super) async fn apply(
        &self,
        name: &Name,
        events: Vec<Event>,
    ) -> Result<Option<Arc<Record>>, ChangeError> {
        self.shared.ledger.apply(name, None, events, self.moment()).await
    }
}

/// What the steps of a pass have in common.
pub(super) struct Pass<'a> {
    /// Names for which an acceptance makes another pass worth while.
    to_revoke: BTreeSet<Name>,
    /// Tokens for which a refusal does.
    to_judge: BTreeSet<TokenId>,
    pub(super) signals: &'a Signals,
    /// The server has shown that it takes no mints.
    pub(super) halted: AtomicBool,
    /// The server has shown that it revokes and changes no tokens.
    changes_halted: AtomicBool,
}

/// What came of a request that changes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeOutcome {
    /// Nothing was asked for.
    Skipped,
    /// The server has done it.
    Done,
    /// It has not, as far as is known.
    Failed,
}

/// Steps that may be carried out beside each other, of different names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Separation,
    Records,
    Mints,
    Changes,
    Revocations,
}

impl Phase {
    fn of(step: &Step) -> Self {
        match step {
            Step::Separate => Self::Separation,
            Step::Note { .. } | Step::Promote { .. } => Self::Records,
            Step::Mint { .. } => Self::Mints,
            Step::Patch { .. } | Step::Probe { .. } | Step::Verify { .. } => Self::Changes,
            Step::RevokeStray { .. } | Step::Revoke { .. } | Step::Drop { .. } => Self::Revocations,
        }
    }
}

/// Steps by what they are about.
type ByName = BTreeMap<Option<Name>, Vec<Step>>;

/// Of one name, notes come before a promote.
fn by_phase(mut steps: Vec<Step>) -> BTreeMap<Phase, ByName> {
    steps.sort_by_key(|step| matches!(step, Step::Promote { .. }));
    let mut phases: BTreeMap<Phase, ByName> = BTreeMap::new();
    for step in steps {
        let names = phases.entry(Phase::of(&step)).or_default();
        names.entry(step.name().cloned()).or_default().push(step);
    }
    phases
}

pub(super) fn fail(report: &mut Report, error: String) {
    tracing::error!("{error}");
    report.errors.push(error);
}
