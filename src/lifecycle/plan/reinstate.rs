//! A former token that works becomes current again if its name has no other (rule 4).

use super::{
    judge::{Judgement, is_young, judge},
    outcome::Plan,
    scene::Scene,
    terms::YOUNG,
    verify,
};
use crate::model::{Event, Held, Record, Retiring, RetiringState, after};

/// A retiring one that works is better than none. One answer says enough only of a
/// token that every part of the server has had time to learn of: some of them have never been current (rule 6).
pub(super) fn plan(scene: &Scene<'_>, record: &Record, plan: &mut Plan) {
    for retiring in record.retiring.iter().filter(|retiring| is_young(scene, &retiring.held)) {
        plan.due(after(retiring.held.created_at, YOUNG));
    }
    let candidates = || {
        let is_kept = |retiring: &&Retiring| match retiring.state {
            RetiringState::Overlap | RetiringState::Absent => true,
            RetiringState::Unused => !retiring.held.origin.is_ours(),
            RetiringState::Revoking => false,
        };
        record.retiring.iter().rev().filter(is_kept).map(|retiring| &retiring.held).filter(|held| {
            held.server == *scene.key
                && !is_young(scene, held)
                && matches!(
                    judge(scene, held),
                    Judgement::Live(_) | Judgement::Unlisted | Judgement::Doubtful
                )
        })
    };
    let accepted = |held: &&Held| {
        scene
            .evidence
            .probes
            .get(&held.id)
            .is_some_and(|probed| probed.refused.is_none() && probed.accepted_at.is_some())
    };
    if let Some(held) = candidates().find(accepted) {
        plan.note(record, Event::Reinstated(held.id.clone()));
    } else {
        for held in candidates() {
            verify::soon(scene, record, held, plan);
        }
    }
}
