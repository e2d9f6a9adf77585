//! Carrying out the steps of a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt, stream};

use super::{Keeper, Report, STEPS, Signals, mint::MintFailure, probes::Works};
use crate::{
    deliver::Deliver,
    influxdb::Server,
    lifecycle::{
        Clock,
        ledger::ChangeError,
        plan::{Change, DAY, Finding, Gone, Matter, Plan, Step, Why, since},
    },
    model::{
        AttemptKind, Ended, Grants, Held, Marker, MintAttempt, Moment, Name, Record, Retiring, RetiringState,
        ServerKey, Time, TokenId, remember_mint,
    },
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Carries out a plan, phase by phase. A step that fails does not keep the others back; what it leaves is planned
    /// again.
    pub(super) async fn carry_out(&self, plan: Plan, signals: &Signals, report: &mut Report) {
        let Plan { steps, to_end, to_judge, .. } = plan;
        let (halted, changes_halted) = (AtomicBool::new(false), AtomicBool::new(false));
        let pass = Pass { to_end, to_judge, signals, halted, changes_halted };
        let mut delivered = false;
        for (phase, names) in by_phase(steps) {
            // Whatever mints, changes or ends a token waits until everything has been delivered.
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
            Step::Note { name, change } => self.note(name, change.clone(), report).await,
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
                    Works::Wholly => pass.to_end.contains(name),
                    Works::Refused => pass.to_judge.contains(id),
                    Works::Partly | Works::Unknown => false,
                };
            }
            Step::Revoke { name, id, marker } => {
                let outcome = self.revoke_stray(name, id, marker, report).await;
                self.note_change(id, outcome, &pass.changes_halted);
            }
            Step::End { name, id, why } => {
                let outcome = self.end(name, id, *why, report).await;
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
        let (Step::End { name, id, .. } | Step::Revoke { name, id, .. }) = step else { return None };
        let why = "the server failed to change another token".to_owned();
        Some(Finding { name: Some(name.clone()), matter: Matter::EndFails { id: id.clone(), why } })
    }

    /// What has just been minted is probed at once, without another list; or promoted, where no probe is wanted.
    async fn mint_and_follow_up(&self, name: &Name, why: Why, pass: &Pass<'_>, report: &mut Report) {
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
        tracing::warn!(server = %self.name, "somebody else works with a copy of this store, taking a new instance");
        match self.shared.ledger.disown().await {
            Ok(()) => report.progress = true,
            Err(error) => fail(report, format!("cannot take a new instance: {error}")),
        }
        self.wake_when_allowed();
    }

    async fn note(&self, name: &Name, change: Change, report: &mut Report) {
        let now = self.moment();
        let key = &self.key;
        let delivery_changes = matches!(
            change,
            Change::Allow(_) | Change::SetAside { .. } | Change::Reinstate(_) | Change::Withdraw(_)
        );
        match &change {
            Change::SetAside { id, .. } if self.is_former(name, id) => {
                tracing::info!(%name, %id, "former token has ended");
            }
            Change::SetAside { id, gone } => tracing::warn!(%name, %id, ?gone, "token is gone"),
            Change::Reinstate(id) => tracing::warn!(%name, %id, "former token is current again"),
            Change::Removed(true) => tracing::info!(%name, "left the list"),
            Change::Removed(false) => tracing::info!(%name, "is back in the list"),
            Change::Withdraw(id) => {
                tracing::warn!(%name, %id, "left the list, is not handed out any more; others may use it");
            }
            other => tracing::debug!(%name, ?other, "record changes"),
        }
        let is_sealed = self.seal_change(name, report, |record| amend(record, change, key, &now)).await;
        if is_sealed && delivery_changes {
            self.deliver(name, report).await;
        }
    }

    fn is_former(&self, name: &Name, id: &TokenId) -> bool {
        let record = self.shared.ledger.record(name);
        record.is_some_and(|record| record.retiring.iter().any(|retiring| retiring.held.id == *id))
    }

    /// Makes `next` the current token, if it is still the one that was looked at.
    pub(super) async fn promote(&self, name: &Name, id: &TokenId, report: &mut Report) {
        let now = self.moment();
        let asked = self.is_asked_for(name);
        let unprobed = self.may_be_promoted(name) != Some(true);
        let mut generation = None;
        let make_current = |record: &mut Record| {
            if record.next.as_ref().is_some_and(|next| next.id == *id) {
                let former = std::mem::replace(&mut record.current, record.next.take());
                retire(record, former, record.generation, RetiringState::Overlap, &now);
                count_up(record, now.at);
                record.unprobed = unprobed;
                generation = Some(record.generation);
                if asked {
                    explain_mints(record);
                    record.suspended = false;
                }
            }
        };
        if !self.seal_change(name, report, make_current).await {
            return;
        }
        self.shared.promoted().extend(generation.map(|generation| (name.clone(), generation)));
        self.state().evidence.asked.remove(name);
        tracing::info!(%name, %id, server = %self.name, "promoted");
        if unprobed && generation.is_some() {
            tracing::warn!(%name, %id, server = %self.name, "promoted unprobed");
            self.report_not_accepted(name, id, report);
        }
        self.deliver(name, report).await;
    }

    /// Changes a record that exists, and reports what came of it. Whether that is sealed.
    pub(super) async fn seal_change(
        &self,
        name: &Name,
        report: &mut Report,
        change: impl FnOnce(&mut Record),
    ) -> bool {
        let sealed = self.change(name, change).await;
        match &sealed {
            Ok(()) => {
                report.progress = true;
                self.explain_requests();
            }
            Err(error) => fail(report, error.to_string()),
        }
        sealed.is_ok()
    }

    /// Brings a name's value, or that there is none, to its consumers, and reports if that fails.
    pub(super) async fn deliver(&self, name: &Name, report: &mut Report) {
        if let Err(error) = self.shared.deliver(name).await {
            fail(report, error.to_string());
        }
    }

    /// Changes a record that exists; where it does not any more, there is nothing to change.
    pub(super) async fn change(
        &self,
        name: &Name,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), ChangeError> {
        let Some(there) = self.shared.ledger.record(name) else {
            return Ok(());
        };
        self.shared.ledger.change(name, || (*there).clone(), change).await.map(drop)
    }
}

/// What the steps of a pass have in common.
pub(super) struct Pass<'a> {
    /// Names for which an acceptance makes another pass worth while.
    to_end: BTreeSet<Name>,
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
    Ends,
}

impl Phase {
    fn of(step: &Step) -> Self {
        match step {
            Step::Separate => Self::Separation,
            Step::Note { .. } | Step::Promote { .. } => Self::Records,
            Step::Mint { .. } => Self::Mints,
            Step::Patch { .. } | Step::Probe { .. } | Step::Verify { .. } => Self::Changes,
            Step::Revoke { .. } | Step::End { .. } | Step::Drop { .. } => Self::Ends,
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

/// A former current or next token joins the retiring ones. `generation`: which value it was; zero if it was none.
pub(super) fn retire(
    record: &mut Record,
    former: Option<Held>,
    generation: u64,
    state: RetiringState,
    now: &Moment,
) {
    let Moment { at: since, boot } = now.clone();
    record.retiring.extend(former.map(|held| Retiring { held, since, boot, generation, state }));
}

pub(in crate::lifecycle) fn amend(record: &mut Record, change: Change, key: &ServerKey, now: &Moment) {
    match change {
        Change::Allow(allow) => record.allow = allow,
        Change::Removed(left) => record.removed = left.then(|| record.removed.take().unwrap_or(now.clone())),
        Change::Surplus(wanted) => {
            note_surplus(record, wanted.as_ref(), now);
        }
        Change::Grants { id, grants } => {
            record.held_mut().filter(|held| held.id == id).for_each(|held| held.grants = grants.clone());
        }
        Change::Accepted => record.unprobed = false,
        Change::Shortened => record.shortened_at = Some(now.at),
        Change::Withdraw(id) => withdraw(record, &id, now),
        Change::CloseIntent(marker) => drop_intent(record, &marker, now),
        Change::SetAside { id, gone } => set_aside(record, &id, gone, now),
        Change::Reinstate(id) => reinstate(record, &id, now.at),
        Change::Forget(id) => record.ended.retain(|ended| ended.id != id),
        Change::Adopt { from } => adopt(record, &from, key),
    }
    record.remints.retain(|at| since(*at, now.at) < DAY);
}

/// Nothing comes of a mint, as far as is known; its marker stays known for a day (rule 3).
pub(super) fn drop_intent(record: &mut Record, marker: &Marker, now: &Moment) {
    record.intents.retain(|intent| intent.marker != *marker);
    record.mints.retain(|attempt| attempt.marker != *marker);
    let (marker, at, grants) = (marker.clone(), now.clone(), Grants::default());
    remember_mint(&mut record.mints, MintAttempt { marker, at, grants, kind: AttemptKind::Refused });
}

/// A person has asked: what was minted before counts against nothing any more (rule 11).
pub(super) fn explain_mints(record: &mut Record) {
    let unexplained = record.mints.iter_mut().filter(|attempt| attempt.kind == AttemptKind::Unexplained);
    unexplained.for_each(|attempt| attempt.kind = AttemptKind::Explained);
}

/// Rule 21: what the current token may do beside `wanted` has its `grace` from now on, or goes on with it where the list
/// asks for no less than before.
pub(super) fn note_surplus(record: &mut Record, wanted: Option<&Grants>, now: &Moment) {
    let asks_no_less = record.surplus_beside.as_ref().zip(wanted).is_some_and(|(old, new)| new.cover(old));
    let since = record.surplus_since.take().filter(|_| asks_no_less);
    record.surplus_since = wanted.map(|_| since.unwrap_or_else(|| now.clone()));
    record.surplus_beside = wanted.cloned();
}

pub(super) fn set_aside(record: &mut Record, id: &TokenId, gone: Gone, now: &Moment) {
    let is_it = |held: &mut Held| held.id == *id;
    let was_current = record.current.as_ref().is_some_and(|held| held.id == *id);
    let taken = record.current.take_if(is_it).or_else(|| record.next.take_if(is_it)).or_else(|| {
        let at = record.retiring.iter().position(|retiring| retiring.held.id == *id)?;
        Some(record.retiring.remove(at).held)
    });
    let Some(held) = taken else { return };
    match gone {
        Gone::Absent => {
            let generation = if was_current { record.generation } else { 0 };
            retire(record, Some(held), generation, RetiringState::Absent, now);
        }
        Gone::Ended => {
            let Moment { at, boot } = now.clone();
            let (id, server, marker) = (held.id, held.server, held.marker);
            record.ended.push(Ended { id, server, marker, at, boot, unused: false });
        }
    }
}

fn withdraw(record: &mut Record, id: &TokenId, now: &Moment) {
    let is_it = |held: &mut Held| held.id == *id;
    if let Some(current) = record.current.take_if(is_it) {
        retire(record, Some(current), record.generation, RetiringState::Overlap, now);
    } else {
        let next = record.next.take_if(is_it);
        retire(record, next, 0, RetiringState::Overlap, now);
    }
}

/// Another token is current: what was noted of the former one does not hold of it.
pub(super) fn count_up(record: &mut Record, now: Time) {
    record.generation += 1;
    record.promoted_at = Some(now);
    note_surplus(record, None, &Moment { at: now, boot: None });
    record.shortened_at = None;
    record.unprobed = false;
}

fn reinstate(record: &mut Record, id: &TokenId, now: Time) {
    let Some(at) = record.retiring.iter().position(|retiring| retiring.held.id == *id) else {
        return;
    };
    if record.current.is_some() {
        return;
    }
    record.current = Some(record.retiring.remove(at).held);
    count_up(record, now);
}

fn adopt(record: &mut Record, from: &ServerKey, key: &ServerKey) {
    let intents = record.intents.iter_mut().map(|intent| &mut intent.server);
    let ended = record.ended.iter_mut().map(|ended| &mut ended.server);
    for server in intents.chain(ended).filter(|server| **server == *from) {
        *server = key.clone();
    }
    for held in record.held_mut().filter(|held| held.server == *from) {
        held.server = key.clone();
    }
}
