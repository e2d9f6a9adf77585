//! A former token outside its overlap: unused, dead, on another server, or imported.

use super::{
    finding::Matter,
    judge::{Judgement, judge, row_of},
    outcome::Plan,
    scene::Scene,
    step::{RevokeReason, Step},
    successor::may_revoke,
    terms::MEMORY,
    verify,
};
use crate::model::{Event, Gone, Origin, Record, Retiring, RetiringState};

/// A former token that is not ours to revoke, or is kept in case it comes back.
pub(super) fn is_left_over(retiring: &Retiring) -> bool {
    retiring.state == RetiringState::Absent || !retiring.held.origin.is_ours()
}

/// What is done with it apart from its overlap.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, retiring: &Retiring, plan: &mut Plan) {
    let held = &retiring.held;
    if held.server != *scene.key {
        if !scene.is_listed(&held.server) {
            let matter = Matter::OnFormerServer { id: held.id.clone(), server: held.server.clone() };
            plan.find(&record.name, matter);
        }
        return;
    }
    // Nobody has had it, unless the store was put back from a backup: it goes the way of strays.
    if retiring.state == RetiringState::Unused && held.origin.is_ours() {
        if may_revoke(scene, record, plan) {
            let (name, id) = (record.name.clone(), held.id.clone());
            plan.steps.push(Step::Revoke { name, id, why: RevokeReason::Unused });
        }
        return;
    }
    let expired = held.expires_at.is_some_and(|at| at <= scene.now);
    let is_absent = retiring.state == RetiringState::Absent;
    let judgement = judge(scene, held);
    let is_shown_dead = row_of(scene, held).is_some_and(|row| !row.is_live(scene.now));
    let gone = judgement == Judgement::Gone(Gone::Shown);
    let forgotten = is_absent
        && row_of(scene, held).is_none()
        && (expired || scene.over_at(retiring.since, retiring.boot.as_ref(), MEMORY) <= scene.now);
    if gone || forgotten {
        plan.note(record, Event::Gone { id: held.id.clone(), how: Gone::Shown });
    } else if expired && !is_absent && judgement == Judgement::Gone(Gone::Absent) {
        plan.note(record, Event::Gone { id: held.id.clone(), how: Gone::Absent });
    } else if (is_shown_dead || expired && !is_absent) && judgement == Judgement::Doubtful {
        verify::at_leisure(scene, record, held, plan);
        if is_shown_dead {
            plan.to_judge.insert(held.id.clone());
        }
    } else if held.origin == (Origin::Imported { exclusive: false }) {
        plan.find(&record.name, Matter::ImportedReplaced(held.id.clone()));
    }
}
