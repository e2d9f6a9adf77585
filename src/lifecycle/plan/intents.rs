//! Mints of unknown fate (rules 2 and 3).

use super::{
    outcome::Plan,
    scene::Scene,
    terms::{INTENT_MEMORY, MAX_INTENTS, YOUNG},
};
use crate::model::{Event, Intent, Listed, Record, after};

/// Closes what is settled. Strays themselves are found by `strays`.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, plan: &mut Plan) {
    for intent in record.intents.iter().filter(|intent| intent.server == *scene.key) {
        if scene.evidence.in_flight.contains(&intent.marker) {
            continue;
        }
        let settled = match scene.rows_with(&intent.marker) {
            // What cannot be read of it may be that it lives.
            [] if scene.faulty_row(|label| label.marker == intent.marker) => false,
            [] if !scene.proves_absence() => false,
            [] => scene.over_at(intent.deadline, intent.boot.as_ref(), INTENT_MEMORY) <= scene.now,
            // That it has expired is a claim: it is revoked, as a stray.
            rows => rows.iter().all(|row| row.revoked_at.is_some() || is_revoked(record, row)),
        };
        if settled {
            plan.note(record, Event::MintRefused(intent.marker.clone()));
        }
    }
}

/// Whether it is known as revoked from here.
fn is_revoked(record: &Record, row: &Listed) -> bool {
    record.revoked.iter().any(|revoked| revoked.id == row.id)
}

/// How many open intents count against a further mint: with many open, those whose token would have been listed
/// by now do not.
pub(super) fn open(scene: &Scene<'_>, record: &Record) -> usize {
    if record.intents.len() < MAX_INTENTS || !scene.proves_absence() {
        return record.intents.len();
    }
    let lacking = |intent: &&Intent| {
        intent.server == *scene.key
            && scene.now >= after(intent.deadline, YOUNG)
            && scene.rows_with(&intent.marker).is_empty()
            && !scene.faulty_row(|label| label.marker == intent.marker)
    };
    record.intents.iter().filter(|intent| !lacking(intent)).count()
}
