//! What to do for one name: judge what is held, set aside what is gone, mint what is missing, promote what works.

use std::time::Duration;

use super::{
    DAY, MAX_INTENTS, MEMORY, Matter, Plan, REFUSED_APART, RevokeWhy, Scene, Step, Why, YOUNG, brake, grants,
    intents,
    judge::{Judgement, is_young, judge, row_of},
    overlap, removal, rotation, strays,
};
use crate::model::{
    Database, Databases, Event, Evidence, Gone, Grants, Held, Name, Origin, Record, Retiring, RetiringState,
    Spec, Time, TokenId, Word, after, since,
};

/// A refused `next` is minted anew no sooner than this after it was minted (rule 6).
const REMINT_AFTER: Duration = Duration::from_secs(3600);
/// With less than this left to the current token, `next` is promoted even if no probe could be made (rule 6).
const LAST_HOUR: Duration = Duration::from_secs(3600);

/// A name that has no record yet.
pub(super) fn plan_first(scene: &Scene<'_>, spec: &Spec, plan: &mut Plan) {
    mint(scene, spec, None, Why::Missing, plan);
}

/// A name that has one.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, plan: &mut Plan) {
    if let Some(from) = scene.former_address_of(record) {
        plan.note(record, Event::Adopted { from: from.clone(), to: scene.key.clone() });
        return;
    }
    let spec = scene.spec(&record.name);
    if let Some(spec) = spec {
        if record.removed.is_some() {
            plan.note(record, Event::PutBack);
        }
        if record.allow != spec.allow {
            plan.note(record, Event::Allowed(spec.allow.clone()));
        }
        if !same_server(scene, spec, record, plan) {
            return;
        }
    } else if !scene.specs.contains_key(&record.name) && !removal::plan(scene, record, plan) {
        for retiring in record.retiring.iter().filter(|retiring| is_left_over(retiring)) {
            plan_retiring(scene, record, retiring, plan);
        }
        return;
    }
    for retiring in &record.retiring {
        plan_retiring(scene, record, retiring, plan);
    }
    let current = plan_current(scene, spec, record, plan);
    let next = plan_next(scene, spec, record, plan);
    let stands = matches!(current, Place::Taken | Place::ToReplace(Why::Due | Why::Grants));
    if let (Some(spec), true, Place::Taken | Place::Free(None)) = (spec, stands, next) {
        overlap::plan(scene, spec, record, plan);
    }
    if let Some(elsewhere) = scene.specs.get(&record.name).filter(|spec| !scene.is_here(spec))
        && record.current.as_ref().is_some_and(|current| current.server == elsewhere.key)
    {
        overlap::plan(scene, elsewhere, record, plan);
    }
    if let (Some(spec), Place::Free(next_why)) = (spec, next) {
        match current {
            Place::Free(why) => {
                mint(scene, spec, Some(record), next_why.unwrap_or(why.unwrap_or(Why::Missing)), plan)
            }
            Place::ToReplace(why) => mint(scene, spec, Some(record), next_why.unwrap_or(why), plan),
            // A remint of `next`, or a new value, is wanted although the current one works.
            Place::Taken if next_why.is_some() || scene.evidence.asked.contains(&record.name) => {
                mint(scene, spec, Some(record), next_why.unwrap_or(Why::Asked), plan);
            }
            Place::Taken => {}
        }
    }
}

/// What is in the place of a record's current or next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing, or nothing any more, and why a mint would then be made.
    Free(Option<Why>),
    /// A token that works and is to be replaced, and why.
    ToReplace(Why),
    /// A token.
    Taken,
}

/// Rule 12. Whether the record's tokens live on this server, or may be left behind.
fn same_server(scene: &Scene<'_>, spec: &Spec, record: &Record, plan: &mut Plan) -> bool {
    let Some(from) =
        record.current.iter().chain(&record.next).map(|held| &held.server).find(|key| **key != spec.key)
    else {
        return true;
    };
    if scene.evidence.confirmed.get(&record.name) == Some(&Word::Move) {
        true
    } else {
        plan.find(&record.name, Matter::ServerChanged { from: from.clone() });
        false
    }
}

/// A former token that is nobody's to end here, or is kept in case it comes back.
fn is_left_over(retiring: &Retiring) -> bool {
    retiring.state == RetiringState::Absent || !retiring.held.origin.is_ours()
}

fn plan_retiring(scene: &Scene<'_>, record: &Record, retiring: &Retiring, plan: &mut Plan) {
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
        if strays::may_revoke(scene, record, plan) {
            let (name, id) = (record.name.clone(), held.id.clone());
            plan.steps.push(Step::Revoke { name, id, why: RevokeWhy::Unused });
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
        ask_at_leisure(scene, record, held, plan);
        if is_shown_dead {
            plan.to_judge.insert(held.id.clone());
        }
    } else if held.origin == (Origin::Imported { exclusive: false }) {
        plan.find(&record.name, Matter::ImportedReplaced(held.id.clone()));
    }
}

/// Nothing hangs on when it is known that a former token is dead: it is asked in passes that are made anyway.
fn ask_at_leisure(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    if next_try(scene, held) <= scene.now {
        plan.verify(&record.name, &held.id);
    }
}

fn plan_current(scene: &Scene<'_>, spec: Option<&Spec>, record: &Record, plan: &mut Plan) -> Place {
    let Some(current) = &record.current else {
        reinstate(scene, record, plan);
        // Set aside in a pass before this one, which may not have come to mint another: that still replaces a value.
        let was_there = record.generation > 0 && record.removed.is_none();
        return Place::Free(was_there.then_some(Why::Gone));
    };
    if current.server != *scene.key {
        // Left behind by a confirmed change of server: it is delivered until its successor is promoted.
        return Place::ToReplace(Why::Inherited);
    }
    let mut why = None;
    match judge(scene, current) {
        Judgement::Gone(gone) => {
            set_aside(record, current, gone, plan);
            reinstate(scene, record, plan);
            return Place::Free(Some(Why::Gone));
        }
        Judgement::Doubtful => {
            plan.find(&record.name, Matter::Missing(current.id.clone()));
            verify(scene, record, current, plan);
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
        plan_unprobed(scene, record, current, plan);
    }
    if let Some(claimed) = current.claimed_created_at {
        plan.find(&record.name, Matter::OddCreation { claimed, dated: current.created_at });
    }
    if let Some(asked) = current.was_to_expire_at {
        plan.find(&record.name, Matter::OtherExpiry { asked, expires_at: current.expires_at });
    }
    if current.origin == Origin::Inherited {
        return Place::ToReplace(Why::Inherited);
    }
    let due = spec.and_then(|spec| rotation::plan(scene, spec, record, current, plan));
    due.or(why).map_or(Place::Taken, Place::ToReplace)
}

/// What was promoted unprobed is asked about until it is accepted.
fn plan_unprobed(scene: &Scene<'_>, record: &Record, current: &Held, plan: &mut Plan) {
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
    plan.to_end.insert(record.name.clone());
    verify(scene, record, current, plan);
}

fn plan_next(scene: &Scene<'_>, spec: Option<&Spec>, record: &Record, plan: &mut Plan) -> Place {
    let Some(next) = &record.next else {
        return Place::Free(None);
    };
    if next.server != *scene.key && spec.is_none() {
        // That server's pass looks after it; this one has to do with former tokens alone.
        return Place::Taken;
    }
    if next.server != *scene.key || next.origin == Origin::Inherited {
        set_aside(record, next, Gone::Absent, plan);
        return Place::Free(None);
    }
    match judge(scene, next) {
        Judgement::Gone(gone) => {
            set_aside(record, next, gone, plan);
            return Place::Free(Some(Why::Gone));
        }
        // Its probe goes on, and tells.
        Judgement::Doubtful => plan.due(after(scene.now, REFUSED_APART)),
        Judgement::Live(_) | Judgement::Unlisted => {}
    }
    let Some(spec) = spec else { return Place::Taken };
    if let Some(why) = grants::plan_next(scene, spec, record, next, row_of(scene, next), plan) {
        return Place::Free(Some(why));
    }
    // The fault is the missing database, not the token.
    if !can_be_probed(scene, spec, &record.name, &next.grants, plan) {
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
        return Place::Free(Some(Why::Refused));
    }
    let control = if refused_for_long { control_for(scene, next) } else { None };
    plan.steps.push(Step::Probe { name: record.name.clone(), id: next.id.clone(), control });
    Place::Taken
}

/// Whether, and how sure, `next` may become current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// A probe accepted it, or none is wanted.
    pub probed: bool,
}

/// Rule 6: what is delivered has been probed, unless the server cannot be asked and waiting would be worse. Needs
/// no list, so that a token is promoted the moment its probe ends.
#[must_use]
pub fn promotion(record: &Record, spec: &Spec, evidence: &Evidence, now: Time) -> Option<Promotion> {
    let next =
        record.next.as_ref().filter(|next| next.server == spec.key && next.origin != Origin::Inherited)?;
    let Some(probe) = &spec.probe else {
        return Some(Promotion { probed: true });
    };
    let probed = evidence.probes.get(&next.id)?;
    if probed.accepted_at.is_some() {
        return Some(Promotion { probed: true });
    }
    let unreachable_since = probed.unreachable_since.filter(|_| probed.refused.is_none())?;
    let urgent = match &record.current {
        // A server that could be asked a moment ago will be again.
        None => since(evidence.next_since(next).max(unreachable_since), now) >= probe.deadline,
        Some(current) => expires_soon(current, evidence, now),
    };
    urgent.then_some(Promotion { probed: false })
}

/// Whether it has less than an hour left, as far as the server is to be believed: not where it was accepted after that.
fn expires_soon(current: &Held, evidence: &Evidence, now: Time) -> bool {
    let accepted = evidence.probes.get(&current.id).and_then(|probed| probed.accepted_at);
    let expiry = current.expires_at.filter(|expiry| accepted.is_none_or(|at| at <= *expiry));
    expiry.is_some_and(|at| since(now, at) < LAST_HOUR)
}

fn mint(scene: &Scene<'_>, spec: &Spec, record: Option<&Record>, why: Why, plan: &mut Plan) {
    let name = &spec.name;
    let mut why = if scene.evidence.asked.contains(name) { Why::Asked } else { why };
    if !databases_exist(scene, name, &spec.grants, plan) {
        return;
    }
    if let Some(failed) = scene.evidence.waiting.get(name) {
        plan.find(name, Matter::waits_to_mint(failed));
        plan.due(after(scene.now, failed.wait));
        return;
    }
    if let Some(record) = record {
        let open = intents::that_count(scene, record);
        if open >= MAX_INTENTS {
            plan.find(name, Matter::TooManyIntents(open));
            return;
        }
        why = brake::judged(scene, spec, record, why);
        if brake::holds(scene, record, why, plan) {
            return;
        }
    }
    plan.steps.push(Step::Mint { name: name.clone(), why });
}

pub(super) fn databases_exist(scene: &Scene<'_>, name: &Name, grants: &Grants, plan: &mut Plan) -> bool {
    match scene.databases {
        Databases::NotAsked => true,
        Databases::Unlistable(why) => {
            plan.find(name, Matter::DatabasesUnlistable(why.clone()));
            true
        }
        Databases::Known(known) => {
            let missing: std::collections::BTreeSet<String> = grants
                .named_databases()
                .filter(|database| !known.contains(*database))
                .map(str::to_owned)
                .collect();
            let exist = missing.is_empty();
            if !exist {
                plan.find(name, Matter::NoDatabase(missing));
            }
            exist
        }
    }
}

fn can_be_probed(scene: &Scene<'_>, spec: &Spec, name: &Name, grants: &Grants, plan: &mut Plan) -> bool {
    if !databases_exist(scene, name, grants, plan) {
        return false;
    }
    let for_all = grants.iter().any(|grant| grant.database == Database::All);
    let stand_in = spec.probe.as_ref().and_then(|probe| probe.database.as_ref());
    let nothing = for_all
        && spec.probe.is_some()
        && stand_in.is_none()
        && match scene.databases {
            Databases::NotAsked => false,
            Databases::Known(known) => known.is_empty(),
            Databases::Unlistable(_) => true,
        };
    if nothing {
        plan.find(name, Matter::NothingToProbe);
    }
    !nothing
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

fn set_aside(record: &Record, held: &Held, gone: Gone, plan: &mut Plan) {
    plan.note(record, Event::Gone { id: held.id.clone(), how: gone });
    plan.find(&record.name, Matter::Gone { id: held.id.clone(), absent: gone == Gone::Absent });
}

/// Rule 4: without a current token, a retiring one that works is better than none. One answer says enough only of a
/// token that every part of the server has had time to learn of: some of them have never been current (rule 6).
fn reinstate(scene: &Scene<'_>, record: &Record, plan: &mut Plan) {
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
            verify(scene, record, held, plan);
        }
    }
}

/// When another refusal would count.
fn next_try(scene: &Scene<'_>, held: &Held) -> Time {
    let refused = scene.evidence.probes.get(&held.id).and_then(|probed| probed.refused);
    refused.map_or(scene.now, |(_, last)| after(last, REFUSED_APART))
}

/// Asks once more, no sooner than a second refusal would count.
pub(super) fn verify(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    let next_try = next_try(scene, held);
    if next_try <= scene.now {
        plan.verify(&record.name, &held.id);
        plan.due(after(scene.now, REFUSED_APART));
    } else {
        plan.due(next_try);
    }
}
