//! Mints of unknown fate, and tokens we ended (rules 2 and 3).

use super::{Change, INTENT_MEMORY, MEMORY, Plan, Scene, Step, YOUNG, after, strays};
use crate::model::{Intent, Listed, Record};

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
            rows => rows.iter().all(|row| row.revoked_at.is_some() || is_ended(record, row)),
        };
        if settled {
            plan.note(record, Change::CloseIntent(intent.marker.clone()));
        }
    }
    for ended in record.ended.iter().filter(|ended| ended.server == *scene.key) {
        let row = scene.row(&ended.id);
        match row {
            Some(row) if row.is_live(scene.now) => {
                // The revoke was answered, or the token seen gone, and still it lives: a list that lags, or a
                // revoke that was lost. Asked again once that cannot be lag any more.
                let lags = scene.over_at(ended.at, ended.boot.as_ref(), YOUNG) > scene.now;
                if let (Some(marker), false) = (&ended.marker, lags && !ended.unused)
                    && (ended.unused || strays::may_end(scene, record, plan))
                {
                    plan.steps.push(Step::Revoke {
                        name: record.name.clone(),
                        id: ended.id.clone(),
                        marker: marker.clone(),
                    });
                }
            }
            _ if scene.over_at(ended.at, ended.boot.as_ref(), MEMORY) <= scene.now => {
                plan.note(record, Change::Forget(ended.id.clone()))
            }
            _ => {}
        }
    }
}

/// Whether it is known as revoked from here.
fn is_ended(record: &Record, row: &Listed) -> bool {
    record.ended.iter().any(|ended| ended.id == row.id)
}

/// How many open intents count against a further mint: with many open, those whose token would have been listed
/// by now do not.
pub(super) fn that_count(scene: &Scene<'_>, record: &Record) -> usize {
    if record.intents.len() < super::MAX_INTENTS || !scene.proves_absence() {
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
