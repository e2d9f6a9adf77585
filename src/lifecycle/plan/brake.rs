//! The brake on mints (rule 11): what neither schedule nor list nor person explains is minted at once, after half a minute,
//! after a minute, and then not before a day is over. Whatever a server claims, no name is minted endlessly.

use std::time::Duration;

use super::{
    finding::Matter,
    outcome::Plan,
    scene::Scene,
    step::MintReason,
    terms::{DAY, MAX_UNEXPLAINED},
};
use crate::model::{AttemptKind, Held, MintAttempt, Record, Spec, Time, since};

/// The wait before the second mint that nothing explains; it doubles.
const FIRST: Duration = Duration::from_secs(30);

/// Whether the brake holds this mint back; if so, it is reported.
pub(super) fn holds(scene: &Scene<'_>, record: &Record, why: MintReason, plan: &mut Plan) -> bool {
    if why.is_explained() {
        return false;
    }
    let unexplained: Vec<&MintAttempt> =
        recent(scene, record).filter(|attempt| attempt.kind == AttemptKind::Unexplained).collect();
    let Some(until) = until(scene, record, &unexplained).filter(|until| *until > scene.now) else {
        return false;
    };
    plan.find(&record.name, Matter::Paused { count: unexplained.len(), until });
    plan.due(until);
    true
}

fn until(scene: &Scene<'_>, record: &Record, unexplained: &[&MintAttempt]) -> Option<Time> {
    let over = |attempt: &MintAttempt, wait| scene.over_at(attempt.at.at, attempt.at.boot.as_ref(), wait);
    let mut days: Vec<Time> = unexplained.iter().map(|attempt| over(attempt, DAY)).collect();
    days.sort_unstable();
    if let Some(blocking) = days.len().checked_sub(MAX_UNEXPLAINED) {
        return Some(days[blocking]);
    }
    // One that was cut off, and came all the same, counts for the day and holds up nobody.
    let closed: Vec<&&MintAttempt> = unexplained.iter().filter(|attempt| !is_open(record, attempt)).collect();
    let doubled = u32::try_from(closed.len()).ok()?.checked_sub(1)?;
    closed.iter().map(|attempt| over(attempt, FIRST * 2_u32.pow(doubled))).max()
}

/// Nobody has heard what became of it.
fn is_open(record: &Record, attempt: &MintAttempt) -> bool {
    record.intents.iter().any(|open| open.marker == attempt.marker)
}

/// The reason with what the last day of this name makes of it: a reason that returns too soon explains nothing.
pub(super) fn judged(scene: &Scene<'_>, spec: &Spec, record: &Record, why: MintReason) -> MintReason {
    match why {
        MintReason::Missing if recent(scene, record).next().is_some() => MintReason::Again,
        MintReason::Grants if recent(scene, record).any(|attempt| attempt.grants == spec.grants) => {
            MintReason::Again
        }
        MintReason::Due if is_early(scene, record) || outlives_claims(scene, record) => MintReason::Early,
        why => why,
    }
}

/// The current token was minted too lately to be due, by the clock that nobody sets: it is the server's that jumped.
fn is_early(scene: &Scene<'_>, record: &Record) -> bool {
    let Some(current) = &record.current else { return false };
    let Some(minted) = recent(scene, record).find(|attempt| current.marker.as_ref() == Some(&attempt.marker))
    else {
        return false;
    };
    let by_boot = scene.passed(minted.at.at, minted.at.boot.as_ref());
    let passed = by_boot.unwrap_or_else(|| since(minted.at.at, scene.now));
    passed < since(current.created_at, scene.now) / 2
}

/// The server says that tokens expire sooner than they were to, and a former one has outlived that: it is not so.
fn outlives_claims(scene: &Scene<'_>, record: &Record) -> bool {
    let is_shortened =
        |held: &Held| held.expires_at.zip(held.was_to_expire_at).is_some_and(|(at, asked)| at < asked);
    let has_outlived = |held: &Held| {
        let accepted = scene.evidence.probes.get(&held.id).and_then(|probed| probed.accepted_at);
        accepted.is_some_and(|at| held.expires_at.is_some_and(|expiry| at > expiry))
    };
    record.current.as_ref().is_some_and(is_shortened)
        && record.retiring.iter().any(|retiring| is_shortened(&retiring.held) && has_outlived(&retiring.held))
}

/// The mints of the last day of which a token came, or may have come and is listed.
fn recent<'r>(scene: &'r Scene<'_>, record: &'r Record) -> impl Iterator<Item = &'r MintAttempt> {
    let is_listed =
        |attempt: &MintAttempt| scene.rows_with(&attempt.marker).iter().any(|row| row.is_live(scene.now));
    record
        .mints
        .iter()
        .filter(|attempt| attempt.kind != AttemptKind::Refused)
        .filter(|attempt| scene.over_at(attempt.at.at, attempt.at.boot.as_ref(), DAY) > scene.now)
        .filter(move |attempt| !is_open(record, attempt) || is_listed(attempt))
}
