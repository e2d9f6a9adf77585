//! The `next` token of a name: widened, probed, promoted, or replaced where the server refuses it for too long (rule 6).

use std::time::Duration;

use super::{
    databases,
    finding::Matter,
    grants,
    judge::{Judgement, judge, row_of},
    outcome::Plan,
    place::Place,
    promotion::promotion,
    scene::Scene,
    step::{MintReason, Step},
    terms::{DAY, REFUSED_APART, YOUNG},
};
use crate::model::{Gone, Held, Origin, Record, Spec, TokenId, after, since};

/// A refused `next` is minted again no sooner than this after it was minted (rule 6).
const REMINT_AFTER: Duration = Duration::from_secs(3600);

/// What is in the place of `next`, and what is done with it.
pub(super) fn plan(scene: &Scene<'_>, spec: Option<&Spec>, record: &Record, plan: &mut Plan) -> Place {
    let Some(next) = &record.next else {
        return Place::Free(None);
    };
    if next.server != *scene.key && spec.is_none() {
        // That server's pass looks after it; this one has to do with former tokens alone.
        return Place::Taken;
    }
    if next.server != *scene.key || next.origin == Origin::Inherited {
        plan.set_aside(record, next, Gone::Absent);
        return Place::Free(None);
    }
    match judge(scene, next) {
        Judgement::Gone(gone) => {
            plan.set_aside(record, next, gone);
            return Place::Free(Some(MintReason::Gone));
        }
        // Its probe goes on, and shows it.
        Judgement::Doubtful => plan.due(after(scene.now, REFUSED_APART)),
        Judgement::Live(_) | Judgement::Unlisted => {}
    }
    let Some(spec) = spec else { return Place::Taken };
    if let Some(why) = grants::plan_next(scene, spec, record, next, row_of(scene, next), plan) {
        return Place::Free(Some(why));
    }
    // The fault is the missing database, not the token.
    if !databases::can_be_probed(scene, spec, &record.name, &next.grants, plan) {
        return Place::Taken;
    }
    if let Some(promotion) = promotion(record, spec, scene.evidence, scene.now) {
        if !promotion.probed {
            plan.find(&record.name, Matter::Unprobed(next.id.clone()));
        }
        plan.steps.push(Step::Promote { name: record.name.clone(), id: next.id.clone() });
        return Place::Taken;
    }
    let probed = scene.evidence.probes.get(&next.id);
    let begun = scene.evidence.next_since(next);
    let deadline = after(begun, spec.probe.as_ref().map_or(Duration::ZERO, |probe| probe.deadline));
    let overdue = deadline <= scene.now;
    if !overdue {
        plan.due(deadline);
    }
    let matter =
        Matter::Probing { since: begun, overdue, last: probed.and_then(|probed| probed.last.clone()) };
    plan.find(&record.name, matter);
    let refused_for_long = probed.is_some_and(|probed| probed.refused.is_some())
        && since(begun, scene.now) >= REMINT_AFTER
        && record.remints.iter().all(|at| since(*at, scene.now) >= DAY);
    let control_works =
        probed.and_then(|probed| probed.control_accepted_at).is_some_and(|at| since(at, scene.now) < YOUNG);
    let listed_as_wanted = row_of(scene, next).is_some_and(|row| row.grants.as_ref() == Some(&spec.grants));
    if refused_for_long && control_works && listed_as_wanted {
        return Place::Free(Some(MintReason::Refused));
    }
    let control = if refused_for_long { control_for(scene, next) } else { None };
    plan.steps.push(Step::Probe { name: record.name.clone(), id: next.id.clone(), control });
    Place::Taken
}

/// A token that should be accepted wherever `next` should: if it is not, the server is at fault (rule 6).
fn control_for(scene: &Scene<'_>, next: &Held) -> Option<TokenId> {
    let others = scene.records.values().filter_map(|known| known.record()?.current.as_ref());
    others
        .filter(|other| other.id != next.id && other.server == *scene.key)
        .filter(|other| next.grants.iter().all(|grant| other.grants.iter().any(|has| has == grant)))
        .find(|other| matches!(judge(scene, other), Judgement::Live(Some(_))))
        .map(|other| other.id.clone())
}
