//! Names that have left the list (rule 20): delivered for a while as they are, then ended, then forgotten.

use std::{collections::BTreeSet, time::Duration};

use super::{
    DAY, MEMORY, Matter, Plan, RevokeWhy, Scene, Step,
    judge::{Judgement, judge, row_of},
    name::verify,
};
use crate::model::{Event, Held, Moment, Name, Origin, Record, RetiringState, Revoked, Time, Word, after};

/// So many ends at a time need nobody's word.
const FEW: usize = 3;
/// Names that leave the list together are noted so far apart at most: each server has its own clock, and its own passes.
const TOGETHER: Duration = Duration::from_secs(1200);

/// For a record whose name no list asks for. Whether its tokens are still wanted, for now.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, plan: &mut Plan) -> bool {
    if waits_for_the_list(record) {
        return true;
    }
    let Some(removed) = &record.removed else {
        plan.note(record, Event::Removed);
        stays_until(record, after(scene.now, scene.lifecycle.grace), plan);
        return true;
    };
    let until = ends_at(scene, removed);
    if until > scene.now {
        stays_until(record, until, plan);
        return true;
    }
    if scene.brake && scene.evidence.confirmed.get(&record.name) != Some(&Word::Revoke) {
        if record.held().any(|held| held.origin.is_ours()) {
            plan.find(&record.name, Matter::RevocationUnconfirmed);
        }
        return true;
    }
    for held in record.held().filter(|held| held.server == *scene.key) {
        end(scene, record, held, plan);
    }
    forget(scene, record, removed, plan);
    false
}

fn stays_until(record: &Record, until: Time, plan: &mut Plan) {
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

fn ends_at(scene: &Scene<'_>, removed: &Moment) -> Time {
    scene.over_at(removed.at, removed.boot.as_ref(), scene.lifecycle.grace)
}

fn end(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    let retiring = record.retiring.iter().find(|retiring| retiring.held.id == held.id);
    if retiring.is_some_and(|retiring| retiring.state == RetiringState::Absent)
        && row_of(scene, held).is_none()
    {
        // Kept for a while in case it comes back.
        return;
    }
    if !held.origin.is_ours() {
        // Others may use it: it is not handed out any more, and reported where a person has to end it.
        if retiring.is_none() {
            plan.note(record, Event::Withdrawn(held.id.clone()));
        }
        return;
    }
    match judge(scene, held) {
        Judgement::Live(_) | Judgement::Unlisted => plan.steps.push(Step::Revoke {
            name: record.name.clone(),
            id: held.id.clone(),
            why: RevokeWhy::Removed,
        }),
        Judgement::Doubtful => {
            verify(scene, record, held, plan);
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

/// Rule 11: more than half of the records, and at least three, are too many to end within a day without somebody's word.
pub(super) fn brakes(scene: &Scene<'_>) -> bool {
    let (mut ending, mut all) = (BTreeSet::<&Name>::new(), 0);
    for (name, known) in scene.records {
        let Some(record) = known.record() else {
            all += 1;
            continue;
        };
        let lately = |ended: &Revoked| scene.over_at(ended.at, ended.boot.as_ref(), DAY) > scene.now;
        let ended_lately = record.revoked.iter().any(lately);
        all += usize::from(record.held().next().is_some() || ended_lately);
        let Some(removed) = record.removed.as_ref().filter(|_| !scene.specs.contains_key(name)) else {
            continue;
        };
        let is_over_soon = ends_at(scene, removed) <= after(scene.now, TOGETHER);
        if is_over_soon && (ended_lately || record.held().any(|held| held.origin.is_ours())) {
            ending.insert(name);
        }
    }
    ending.len() >= FEW && ending.len() * 2 > all
}
