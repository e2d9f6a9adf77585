//! When `next` becomes current (rule 6).

use std::time::Duration;

use crate::model::{Evidence, Held, Origin, Record, Spec, Time, since};

/// With less than this left to the current token, `next` is promoted even if no probe could be made (rule 6).
const LAST_HOUR: Duration = Duration::from_secs(3600);

/// Whether, and how sure, `next` may become current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// A probe accepted it, or none is wanted.
    pub probed: bool,
}

/// Rule 6: what is delivered has been probed, unless the server cannot be asked and waiting would be worse. Needs
/// no list, so that a token is promoted the moment its probe is over.
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
