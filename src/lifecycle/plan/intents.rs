//! Mints of unknown fate, and tokens that were revoked (rules 2 and 3).

use super::{INTENT_MEMORY, MEMORY, Plan, Scene, Step, YOUNG, judge, strays};
use crate::model::{Event, Intent, Listed, Record, Revoked, after};

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
    for revoked in record.revoked.iter().filter(|revoked| revoked.server == *scene.key) {
        match row_of_revoked(scene, revoked) {
            Some(row) if row.is_live(scene.now) => {
                // A list that lags, or a revocation that was lost: asked again once that cannot be lag any more.
                let lags = scene.over_at(revoked.at, revoked.boot.as_ref(), YOUNG) > scene.now;
                let is_due = revoked.unused || !lags && strays::may_revoke(scene, record, plan);
                if revoked.is_ours && is_due {
                    plan.steps.push(Step::RevokeStray {
                        name: record.name.clone(),
                        id: revoked.id.clone(),
                        marker: revoked.marker.clone(),
                    });
                }
            }
            _ if scene.over_at(revoked.at, revoked.boot.as_ref(), MEMORY) <= scene.now => {
                plan.note(record, Event::Forgotten(revoked.id.clone()));
            }
            _ => {}
        }
    }
}

/// Rule 5: its row, unless another token has its id by now.
fn row_of_revoked<'a>(scene: &Scene<'a>, revoked: &Revoked) -> Option<&'a Listed> {
    let row = scene.row(&revoked.id)?;
    let has_marker = revoked
        .marker
        .as_ref()
        .is_none_or(|marker| row.label.as_ref().is_some_and(|label| label.marker == *marker));
    let is_as_old = judge::created_together(row.created_at, revoked.created_at);
    (has_marker && is_as_old).then_some(row)
}

/// Whether it is known as revoked from here.
fn is_revoked(record: &Record, row: &Listed) -> bool {
    record.revoked.iter().any(|revoked| revoked.id == row.id)
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
