//! The current token of a name: judged, and replaced when it is gone, due or not as the list wants it.

use std::time::Duration;

use super::{
    finding::Matter,
    grants,
    judge::{Judgement, is_young, judge, row_of},
    outcome::Plan,
    place::Place,
    reinstate, rotation,
    scene::Scene,
    step::MintReason,
    terms::YOUNG,
    verify,
};
use crate::model::{Event, Held, Origin, Record, Spec, after, since};

/// What is in the place of the current token, and what is done with it.
pub(super) fn plan(scene: &Scene<'_>, spec: Option<&Spec>, record: &Record, plan: &mut Plan) -> Place {
    let Some(current) = &record.current else {
        reinstate::plan(scene, record, plan);
        // Set aside in a pass before this one, which may not have come to mint another: that still replaces a value.
        let was_there = record.generation > 0 && record.removed.is_none();
        return Place::Free(was_there.then_some(MintReason::Gone));
    };
    if current.server != *scene.key {
        // Left behind by a confirmed change of server: it is delivered until its successor is promoted.
        return Place::ToReplace(MintReason::Inherited);
    }
    let mut why = None;
    match judge(scene, current) {
        Judgement::Gone(gone) => {
            plan.set_aside(record, current, gone);
            reinstate::plan(scene, record, plan);
            return Place::Free(Some(MintReason::Gone));
        }
        Judgement::Doubtful => {
            plan.find(&record.name, Matter::Missing(current.id.clone()));
            verify::soon(scene, record, current, plan);
            if row_of(scene, current).is_some() {
                plan.to_judge.insert(current.id.clone());
            }
        }
        Judgement::Unlisted => plan.find(&record.name, Matter::Unlisted(current.id.clone())),
        Judgement::Live(row) => {
            if row.is_none() {
                plan.due(after(current.created_at, YOUNG));
            }
            if let Some(spec) = spec
                && current.origin != Origin::Inherited
            {
                why = grants::plan(scene, spec, record, current, row, plan);
            }
        }
    }
    if let Some(at) = current.expires_at {
        plan.due(after(at, Duration::from_secs(1)));
        if since(current.created_at, at) / 6 > since(scene.now, at) {
            plan.find(&record.name, Matter::Expires(at));
        }
    }
    if record.unprobed {
        await_acceptance(scene, record, current, plan);
    }
    if let Some(claimed) = current.claimed_created_at {
        plan.find(&record.name, Matter::OddCreation { claimed, dated: current.created_at });
    }
    if let Some(asked) = current.was_to_expire_at {
        plan.find(&record.name, Matter::OtherExpiry { asked, expires_at: current.expires_at });
    }
    if current.origin == Origin::Inherited {
        return Place::ToReplace(MintReason::Inherited);
    }
    let due = spec.and_then(|spec| rotation::plan(scene, spec, record, current, plan));
    due.or(why).map_or(Place::Taken, Place::ToReplace)
}

/// What was promoted unprobed is asked about until it is accepted.
fn await_acceptance(scene: &Scene<'_>, record: &Record, current: &Held, plan: &mut Plan) {
    let probed = scene.evidence.probes.get(&current.id);
    if probed.is_some_and(|probed| probed.accepted_at.is_some()) {
        // One answer says enough only once every part of the server has had time to learn of it.
        if is_young(scene, current) {
            plan.due(after(current.created_at, YOUNG));
        } else {
            plan.note(record, Event::Accepted);
        }
        return;
    }
    let last = probed.and_then(|probed| probed.last.clone());
    plan.find(&record.name, Matter::NotAcceptedYet { id: current.id.clone(), last });
    plan.to_revoke.insert(record.name.clone());
    verify::soon(scene, record, current, plan);
}
