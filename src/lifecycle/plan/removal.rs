//! Names that have left the list (rule 20): delivered for a while as they are, then revoked, then forgotten.

use std::{collections::BTreeSet, time::Duration};

use super::{
    finding::Matter,
    judge::{Judgement, judge, row_of},
    outcome::Plan,
    scene::Scene,
    step::{RevokeReason, Step},
    terms::{DAY, MEMORY},
    verify,
};
use crate::model::{Event, Held, Moment, Name, Origin, Record, RetiringState, Revoked, Time, Word, after};

/// So many revocations at a time need no confirmation.
const FEW: usize = 3;
/// Names that leave the list together are noted so far apart at most: each server has its own clock, and its own passes.
const TOGETHER: Duration = Duration::from_secs(1200);

/// For a record whose name no list asks for. Whether its tokens are still wanted, for now. With the `brake`, a person has to
/// confirm that they are not.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, brake: bool, plan: &mut Plan) -> bool {
    if waits_for_the_list(record) {
        return true;
    }
    let Some(removed) = &record.removed else {
        plan.note(record, Event::Removed);
        report_until(record, after(scene.now, scene.lifecycle.grace), plan);
        return true;
    };
    let until = due_at(scene, removed);
    if until > scene.now {
        report_until(record, until, plan);
        return true;
    }
    if brake && scene.evidence.confirmed.get(&record.name) != Some(&Word::Revoke) {
        if record.held().any(|held| held.origin.is_ours()) {
            plan.find(&record.name, Matter::RevocationUnconfirmed);
        }
        return true;
    }
    for held in record.held().filter(|held| held.server == *scene.key) {
        revoke(scene, record, held, plan);
    }
    forget(scene, record, removed, plan);
    false
}

fn report_until(record: &Record, until: Time, plan: &mut Plan) {
    if record.current.is_some() {
        plan.find(&record.name, Matter::LeftTheList { until });
    }
    plan.due(until);
}

/// Brought by a person before the list asks for it.
fn waits_for_the_list(record: &Record) -> bool {
    record.generation == 0
        && record.retiring.is_empty()
        && record.next.as_ref().is_some_and(|next| matches!(next.origin, Origin::Imported { .. }))
}

fn due_at(scene: &Scene<'_>, removed: &Moment) -> Time {
    scene.over_at(removed.at, removed.boot.as_ref(), scene.lifecycle.grace)
}

fn revoke(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    let retiring = record.retiring.iter().find(|retiring| retiring.held.id == held.id);
    if retiring.is_some_and(|retiring| retiring.state == RetiringState::Absent)
        && row_of(scene, held).is_none()
    {
        // Kept for a while in case it comes back.
        return;
    }
    if !held.origin.is_ours() {
        // Others may use it: it is not handed out any more, and reported where a person has to revoke it.
        if retiring.is_none() {
            plan.note(record, Event::Withdrawn(held.id.clone()));
        }
        return;
    }
    match judge(scene, held) {
        Judgement::Live(_) | Judgement::Unlisted => plan.steps.push(Step::Revoke {
            name: record.name.clone(),
            id: held.id.clone(),
            why: RevokeReason::Removed,
        }),
        Judgement::Doubtful => {
            verify::soon(scene, record, held, plan);
            if row_of(scene, held).is_some() {
                plan.to_judge.insert(held.id.clone());
            }
        }
        Judgement::Gone(gone) => plan.note(record, Event::Gone { id: held.id.clone(), how: gone }),
    }
}

/// A name of which nothing is left is answered as not ready for a while, and then not known any more.
fn forget(scene: &Scene<'_>, record: &Record, removed: &Moment, plan: &mut Plan) {
    if !record.is_empty() {
        return;
    }
    let at = scene.over_at(removed.at, removed.boot.as_ref(), scene.lifecycle.grace + MEMORY);
    if at <= scene.now {
        plan.steps.push(Step::Drop { name: record.name.clone() });
    } else {
        plan.due(at);
    }
}

/// Rule 11: more than half of the records, and at least three, are too many to revoke within a day without a confirmation.
pub(super) fn brakes(scene: &Scene<'_>) -> bool {
    let (mut due, mut all) = (BTreeSet::<&Name>::new(), 0);
    for (name, known) in scene.records {
        let Some(record) = known.record() else {
            all += 1;
            continue;
        };
        let lately = |revoked: &Revoked| scene.over_at(revoked.at, revoked.boot.as_ref(), DAY) > scene.now;
        let revoked_lately = record.revoked.iter().any(lately);
        all += usize::from(record.held().next().is_some() || revoked_lately);
        let Some(removed) = record.removed.as_ref().filter(|_| !scene.specs.contains_key(name)) else {
            continue;
        };
        let is_due_soon = due_at(scene, removed) <= after(scene.now, TOGETHER);
        if is_due_soon && (revoked_lately || record.held().any(|held| held.origin.is_ours())) {
            due.insert(name);
        }
    }
    due.len() >= FEW && due.len() * 2 > all
}
