//! When the current token is to be replaced by schedule.

use std::time::Duration;

use super::{finding::Matter, outcome::Plan, scene::Scene, step::MintReason, verify};
use crate::model::{Event, Held, Lifecycle, Origin, Record, Spec, Time, after, before, due_age, since};

/// The least time in which a successor is minted and accepted.
const LEAST_LEFT: Duration = Duration::from_secs(60);
/// A jitter is given in so many parts of the lifetime.
const PARTS: u32 = 10_000;

/// Why the current token is to be replaced now, if it is due.
pub(super) fn plan(
    scene: &Scene<'_>,
    spec: &Spec,
    record: &Record,
    current: &Held,
    plan: &mut Plan,
) -> Option<MintReason> {
    if let Some(spread) = spread(scene, spec, record, current) {
        plan.note(record, Event::Shortened);
        plan.due(spread);
        return None;
    }
    if let Some((asked, expires_at)) = too_short(spec, current) {
        plan.find(&record.name, Matter::TooShort { asked, expires_at });
        if expires_at <= scene.now
            && let Some(why) = expired(scene, record, current, expires_at, plan)
        {
            return Some(why);
        }
    }
    let due = rotation_due(spec, record, current, scene.lifecycle)?;
    if due <= scene.now {
        return Some(MintReason::Due);
    }
    plan.due(due);
    None
}

/// When the current token is to be replaced; `None`: never by itself.
#[must_use]
pub fn rotation_due(spec: &Spec, record: &Record, current: &Held, lifecycle: &Lifecycle) -> Option<Time> {
    if record.suspended {
        return last_moment(spec, current, lifecycle);
    }
    let expiry = by_expiry(spec, record, current);
    let listed = by_list(spec, record, current).map(|due| match (record.shortened_at, spec.lifetime) {
        (Some(seen), Some(lifetime)) => due.max(after(seen, early(lifetime, record.jitter))),
        _ => due,
    });
    expiry.into_iter().chain(listed).min()
}

/// Why a token is replaced that the server says has expired by now: once it is refused.
fn expired(
    scene: &Scene<'_>,
    record: &Record,
    current: &Held,
    expires_at: Time,
    plan: &mut Plan,
) -> Option<MintReason> {
    let probed = scene.evidence.probes.get(&current.id);
    if probed.and_then(|probed| probed.refused).is_some_and(|(_, last)| last >= expires_at) {
        return Some(MintReason::Early);
    }
    if probed.and_then(|probed| probed.accepted_at).is_none_or(|at| at < expires_at) {
        verify::soon(scene, record, current, plan);
        plan.to_judge.insert(current.id.clone());
    }
    None
}

/// What it was to have and what the server gives it, where that is less than its successor takes to be accepted: it would be
/// due the moment it was born, again and again.
fn too_short(spec: &Spec, current: &Held) -> Option<(Time, Time)> {
    let (asked, expires_at) = (current.was_to_expire_at?, current.expires_at?);
    let lifetime = since(current.created_at, expires_at);
    let left_when_due = lifetime.saturating_sub(due_age(lifetime));
    let to_be_accepted = spec.probe.as_ref().map_or(LEAST_LEFT, |probe| probe.deadline.max(LEAST_LEFT));
    (expires_at < asked && left_when_due < to_be_accepted).then_some((asked, expires_at))
}

/// By the lifetime it was minted with, or by the one that the server gave it, if that is shorter: but not where that would
/// make it due as soon as it is there. If that is true it expires and is replaced then.
fn by_expiry(spec: &Spec, record: &Record, current: &Held) -> Option<Time> {
    let given = current.expires_at.filter(|_| too_short(spec, current).is_none());
    let expiry = current.was_to_expire_at.into_iter().chain(given).min()?;
    // Of one that was created by a clock which was ahead, the list's lifetime says when it began.
    let began_late = current.created_at >= expiry;
    let begun = if began_late { before(expiry, spec.lifetime?) } else { current.created_at };
    Some(due(begun, since(begun, expiry), record.jitter))
}

/// By the lifetime that the list asks for, where the token does not expire, or was minted for a longer one.
fn by_list(spec: &Spec, record: &Record, current: &Held) -> Option<Time> {
    // What was made by hand long ago is not to be replaced the moment it comes here.
    let begun = match current.origin {
        Origin::Imported { .. } => record.promoted_at.unwrap_or(current.created_at).max(current.created_at),
        Origin::Minted | Origin::Inherited => current.created_at,
    };
    Some(due(begun, spec.lifetime?, record.jitter))
}

fn due(begun: Time, lifetime: Duration, jitter: u16) -> Time {
    after(begun, due_age(lifetime).saturating_sub(early(lifetime, jitter)))
}

/// The part of a lifetime by which this name is early.
fn early(lifetime: Duration, jitter: u16) -> Duration {
    lifetime / PARTS * u32::from(jitter)
}

/// Rule 21: a lifetime in the list that the token has outlived already does not replace it at once, but when its turn
/// comes within a tenth of it: a shorter lifetime for all of a list would else replace all of them together.
fn spread(scene: &Scene<'_>, spec: &Spec, record: &Record, current: &Held) -> Option<Time> {
    let now = scene.now;
    let due = by_list(spec, record, current).filter(|due| *due <= now)?;
    let is_new = record.shortened_at.is_none() && !record.suspended;
    let expiry = by_expiry(spec, record, current);
    let is_shorter = record.lifetime.is_none_or(|had| spec.lifetime.is_some_and(|lifetime| lifetime < had));
    let was_longer = is_shorter && expiry.is_none_or(|by_expiry| by_expiry > now);
    let spread = after(now, early(spec.lifetime?, record.jitter));
    (is_new && was_longer && spread > due).then_some(spread)
}

/// The last moment at which a new token can still be had in time. A schedule that a person has suspended lets no token
/// die under its readers.
fn last_moment(spec: &Spec, current: &Held, lifecycle: &Lifecycle) -> Option<Time> {
    // The server may let it live on, or only say so.
    let expires_at = current.was_to_expire_at.into_iter().chain(current.expires_at).min()?;
    let lifetime = since(current.created_at, expires_at);
    let room = spec.room(lifetime, lifecycle.overlap);
    Some(after(current.created_at, lifetime.saturating_sub(room)))
}
