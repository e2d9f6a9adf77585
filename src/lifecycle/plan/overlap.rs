//! The overlap (rule 9): a former token is revoked once it has had its time and its successor is known to
//! work and to have arrived.

use std::time::Duration;

use super::{
    finding::Matter,
    judge::{Judgement, judge, row_of},
    outcome::Plan,
    scene::Scene,
    step::{RevokeReason, Step},
    terms::YOUNG,
    verify,
};
use crate::model::{
    Event, Gone, Held, Lifecycle, Pickup, Record, Retiring, RetiringState, Spec, Time, after, since,
};

/// How long a former token lives that does not expire by itself, or not when it was to, where the list does not say.
const CAP_WITHOUT_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often it is looked whether the last reader has picked up the new value, and for how long.
const SOON: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_secs(3600);

/// When a retiring token is to be revoked. `None`: it is left to its own expiry, or is not ours to revoke.
#[must_use]
pub fn overlap_until(retiring: &Retiring, lifecycle: &Lifecycle) -> Option<Time> {
    if !retiring.held.origin.is_ours() {
        return None;
    }
    match retiring.state {
        RetiringState::Overlap => Some(after(retiring.since, longest(&retiring.held, lifecycle)?)),
        RetiringState::Unused | RetiringState::Revoking => Some(retiring.since),
        RetiringState::Absent => None,
    }
}

/// Rule 8. What others may use is not, nor what is gone already. What nobody ever had is revoked elsewhere, at once.
fn is_ours_to_revoke(retiring: &Retiring) -> bool {
    matches!(retiring.state, RetiringState::Overlap | RetiringState::Revoking)
        && retiring.held.origin.is_ours()
}

fn longest(held: &Held, lifecycle: &Lifecycle) -> Option<Duration> {
    let expires = held.expires_at.is_some() && !held.outlives();
    let usual = || (!expires).then_some(CAP_WITHOUT_EXPIRY);
    lifecycle.overlap_cap.or_else(usual).map(|cap| cap.max(lifecycle.overlap))
}

/// How long this one lives after it retired; `None`: to its own expiry. Once its revocation was requested, nobody counts on
/// it.
fn wait(scene: &Scene<'_>, spec: &Spec, record: &Record, retiring: &Retiring) -> Option<Duration> {
    if retiring.state == RetiringState::Revoking {
        return Some(Duration::ZERO);
    }
    if is_picked_up(scene, spec, record, retiring) {
        return Some(scene.lifecycle.overlap);
    }
    let held = &retiring.held;
    let usual = || outlived(scene, held).then(|| CAP_WITHOUT_EXPIRY.max(scene.lifecycle.overlap));
    longest(held, scene.lifecycle).or_else(usual)
}

/// Whether it was left to an expiry that has passed without effect. Not every server says at once that it takes none:
/// what influxctl prints of a new token may leave it out.
fn outlived(scene: &Scene<'_>, held: &Held) -> bool {
    held.expires_at.is_some_and(|at| at <= scene.now) && works(scene, held)
}

/// The list shows it live, or the data plane has accepted it since the list does not.
fn works(scene: &Scene<'_>, held: &Held) -> bool {
    row_of(scene, held).is_some_and(|row| row.is_live(scene.now)) || judge(scene, held) == Judgement::Unlisted
}

/// Once a former token has had its least time, it is looked again soon whether its last reader has read the new one: for
/// a while, for one that has not by then may never.
fn await_pick_up(scene: &Scene<'_>, spec: &Spec, record: &Record, retiring: &Retiring, plan: &mut Plan) {
    let can_be_proven = scene
        .evidence
        .holders
        .get(&record.name)
        .is_some_and(|holders| holders.complete_from.is_some_and(|from| from <= retiring.generation));
    if spec.pickup != Pickup::Proven || !can_be_proven {
        return;
    }
    let least = scene.over_at(retiring.since, retiring.boot.as_ref(), scene.lifecycle.overlap);
    if least > scene.now {
        plan.due(least);
    } else if since(least, scene.now) < A_WHILE {
        plan.due(after(scene.now, SOON));
    }
}

/// Whether it is proven that nobody holds it any more: of a spec that says that this can be proven.
fn is_picked_up(scene: &Scene<'_>, spec: &Spec, record: &Record, retiring: &Retiring) -> bool {
    // Nobody from before a boot lives.
    let was_booted =
        || retiring.boot.as_ref().zip(scene.boot).is_some_and(|(since, now)| since.passed(now).is_none());
    let holders = || scene.evidence.holders.get(&record.name);
    spec.pickup == Pickup::Proven
        && (was_booted() || holders().is_some_and(|holders| holders.nobody_has(retiring.generation)))
}

/// For a name whose spec stands and whose current token is in its place, be that on another server of the list: what it left
/// behind on this one is revoked like any former token (rule 12).
pub(super) fn plan(scene: &Scene<'_>, spec: &Spec, record: &Record, plan: &mut Plan) {
    let promotes = |step: &Step| matches!(step, Step::Promote { name, .. } if *name == record.name);
    let Some(current) = record.current.as_ref().filter(|current| stands(scene, current)) else { return };
    // It would be the last step of this name so far.
    if plan.steps.last().is_some_and(promotes) {
        return;
    }
    for retiring in &record.retiring {
        let held = &retiring.held;
        if !is_ours_to_revoke(retiring) || held.server != *scene.key {
            continue;
        }
        await_pick_up(scene, spec, record, retiring, plan);
        let Some(wait) = wait(scene, spec, record, retiring) else { continue };
        let at = scene.over_at(retiring.since, retiring.boot.as_ref(), wait);
        if at > scene.now {
            plan.due(at);
            continue;
        }
        match row_of(scene, held) {
            _ if works(scene, held) => revoke(scene, spec, record, current, retiring, at, plan),
            // What is shown as dead is set aside elsewhere.
            Some(_) => {}
            None => settle_absent(scene, record, held, plan),
        }
    }
}

/// Whether the list does not speak against the current token.
fn stands(scene: &Scene<'_>, current: &Held) -> bool {
    match judge(scene, current) {
        // That server's pass judges it.
        _ if current.server != *scene.key => true,
        Judgement::Live(row) => row.is_none_or(|row| row.is_live(scene.now)),
        Judgement::Unlisted | Judgement::Doubtful | Judgement::Gone(_) => false,
    }
}

/// Revokes a token whose time is over, if the current one has arrived and was accepted once more since then.
fn revoke(
    scene: &Scene<'_>,
    spec: &Spec,
    record: &Record,
    current: &Held,
    retiring: &Retiring,
    due: Time,
    plan: &mut Plan,
) {
    if scene.evidence.delivered.get(&record.name) != Some(&record.generation) {
        return;
    }
    let id = retiring.held.id.clone();
    // What was promoted unprobed may not be known everywhere yet: a former token is all that surely works.
    if record.unprobed {
        plan.find(&record.name, Matter::RevocationWaits(id));
        return;
    }
    let is_to_ask = spec.probe.is_some() && current.server == *scene.key;
    let probed = scene.evidence.probes.get(&current.id);
    let is_fresh = |at: Time| at >= due && since(at, scene.now) < YOUNG;
    let fails = probed.is_some_and(|probed| {
        probed.refused.is_some() || probed.partly || probed.unreachable_since.is_some()
    });
    if !is_to_ask || !fails && probed.and_then(|probed| probed.accepted_at).is_some_and(is_fresh) {
        plan.steps.push(Step::Revoke { name: record.name.clone(), id, why: RevokeReason::Overlap });
        return;
    }
    verify::soon(scene, record, current, plan);
    if fails {
        plan.find(&record.name, Matter::RevocationWaits(id));
    } else {
        plan.to_revoke.insert(record.name.clone());
    }
}

/// The list does not show it: perhaps it was revoked and nobody heard. Two refusals show it (rule 4).
fn settle_absent(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    match judge(scene, held) {
        Judgement::Gone(Gone::Absent) => {
            plan.note(record, Event::Gone { id: held.id.clone(), how: Gone::Absent });
        }
        Judgement::Doubtful => verify::soon(scene, record, held, plan),
        _ => {}
    }
}
