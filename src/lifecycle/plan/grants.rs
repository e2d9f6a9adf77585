//! Grants that are not what the list asks for (rule 21): widened at once, narrowed after a while.

use super::{
    databases,
    finding::Matter,
    outcome::Plan,
    scene::Scene,
    step::{MintReason, Step},
};
use crate::model::{Event, GrantSupport, Grants, Held, Listed, Name, Record, Spec, after};

/// So many names at a time wait for a new token because the list asks for other grants (rule 11).
const MAX_CHANGED: usize = 8;

/// Why the current token is to be replaced, if what is to be changed cannot be changed in place.
pub(super) fn plan(
    scene: &Scene<'_>,
    spec: &Spec,
    record: &Record,
    current: &Held,
    row: Option<&Listed>,
    plan: &mut Plan,
) -> Option<MintReason> {
    if scene.descriptor.grants == GrantSupport::Absent {
        note(record, current, &spec.grants, plan);
        return None;
    }
    let has = row.map_or(Some(&current.grants), |row| row.grants.as_ref());
    let is_told = has.is_some() || scene.reports_grants;
    if row.is_some() && has != Some(&current.grants) && is_told {
        plan.find(&record.name, Matter::GrantsAltered { has: has.cloned() });
    }
    // What is said in a way that is not known here may be more than is known.
    let can_patch = has.is_some() && is_ours_to_patch(scene, current);
    let has = has.unwrap_or(&current.grants);
    if !has.cover(&spec.grants) {
        plan.find(&record.name, Matter::GrantsDiffer { wanted: spec.grants.clone(), has: has.clone() });
        return change(scene, record, current, has.union(&spec.grants), can_patch, plan);
    }
    note(record, current, has, plan);
    if spec.grants.cover(has) {
        if record.surplus_since.is_some() {
            plan.note(record, Event::SurplusNoted(None));
        }
        return None;
    }
    let is_as_before = record.surplus_beside.as_ref() == Some(&spec.grants);
    let Some(seen) = record.surplus_since.as_ref().filter(|_| is_as_before) else {
        plan.note(record, Event::SurplusNoted(Some(spec.grants.clone())));
        plan.due(after(scene.now, scene.lifecycle.grace));
        return None;
    };
    let until = scene.over_at(seen.at, seen.boot.as_ref(), scene.lifecycle.grace);
    if until > scene.now {
        plan.find(&record.name, Matter::Surplus { has: has.clone(), until });
        plan.due(until);
        return None;
    }
    change(scene, record, current, spec.grants.clone(), can_patch, plan)
}

/// A `next` that lacks something is widened before anybody has it, or, if it cannot be, replaced: why, then.
pub(super) fn plan_next(
    scene: &Scene<'_>,
    spec: &Spec,
    record: &Record,
    next: &Held,
    row: Option<&Listed>,
    plan: &mut Plan,
) -> Option<MintReason> {
    if scene.descriptor.grants == GrantSupport::Absent {
        note(record, next, &spec.grants, plan);
        return None;
    }
    let has = row.map_or(Some(&next.grants), |row| row.grants.as_ref())?;
    // One that a person brought may lack it: the import reported that, and it is replaced once it is current.
    if has.cover(&spec.grants) || !next.origin.is_ours() {
        // Asked for what somebody has taken from it, it would always be refused.
        note(record, next, has, plan);
        return None;
    }
    let can_patch = is_ours_to_patch(scene, next);
    change(scene, record, next, has.union(&spec.grants), can_patch, plan)
}

/// What a token may do is sealed as far as it is known.
fn note(record: &Record, held: &Held, grants: &Grants, plan: &mut Plan) {
    if *grants != held.grants {
        plan.note(record, Event::GrantsChanged { id: held.id.clone(), grants: grants.clone() });
    }
}

fn is_ours_to_patch(scene: &Scene<'_>, held: &Held) -> bool {
    scene.descriptor.grants == GrantSupport::Editable && held.origin.is_ours()
}

fn change(
    scene: &Scene<'_>,
    record: &Record,
    held: &Held,
    grants: Grants,
    can_patch: bool,
    plan: &mut Plan,
) -> Option<MintReason> {
    if !can_patch {
        return Some(MintReason::Grants);
    }
    if databases::exist(scene, &record.name, &grants, plan) {
        plan.steps.push(Step::Patch { name: record.name.clone(), id: held.id.clone(), grants });
    }
    None
}

/// A slip in the list that concerns all names must not have all of them replaced before somebody has seen it.
pub(super) fn limit(scene: &Scene<'_>, plan: &mut Plan) {
    // Who waits already is looked for among all records.
    if !plan.steps.iter().any(|step| matches!(step, Step::Mint { why: MintReason::Grants, .. })) {
        return;
    }
    let mut room = MAX_CHANGED.saturating_sub(waiting(scene));
    let mut held_back: Vec<Name> = Vec::new();
    plan.steps.retain(|step| match step {
        Step::Mint { name, why: MintReason::Grants } if room == 0 => {
            held_back.push(name.clone());
            false
        }
        Step::Mint { why: MintReason::Grants, .. } => {
            room -= 1;
            true
        }
        _ => true,
    });
    for name in held_back {
        plan.find(&name, Matter::ChangeWaits);
    }
}

/// Names whose `next` is there because the list asks for other grants than the current one has.
fn waiting(scene: &Scene<'_>) -> usize {
    let is_one = |record: &Record| {
        let spec = scene.spec(&record.name);
        let differs =
            spec.zip(record.current.as_ref()).is_some_and(|(spec, current)| current.grants != spec.grants);
        record.next.is_some() && differs
    };
    scene.records.values().filter_map(|known| known.record()).filter(|record| is_one(record)).count()
}
