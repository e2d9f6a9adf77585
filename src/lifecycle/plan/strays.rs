//! Live tokens with our label that no record holds (rule 3).

use std::collections::BTreeSet;

use super::{
    finding::{Finding, Matter},
    judge::row_of,
    outcome::Plan,
    scene::Scene,
    step::Step,
    successor::may_revoke,
    terms::YOUNG,
};
use crate::model::{Held, Known, Label, Listed, Origin, Record, Time, since};

/// One marker that was never sealed here may be a fault of the server's, or of ours; a twin mints more (rule 3).
const TWIN_MARKERS: usize = 2;

/// Finds strays, which are revoked, and unknown tokens, which are reported.
pub(super) fn plan(scene: &Scene<'_>, plan: &mut Plan) {
    let mut twins = BTreeSet::new();
    for (row, label) in scene.unrecorded() {
        match scene.records.get(&label.name) {
            // What the record would have said of it, nobody knows.
            Some(Known::Unreadable | Known::Later(_)) => {}
            Some(Known::Ours(record)) if was_minted_for(record, label) => {
                if scene.evidence.in_flight.contains(&label.marker) {
                    continue;
                }
                if let Some(held) = unlisted_with(scene, record, label) {
                    let matter = Matter::OtherId { held: held.id.clone(), listed: row.id.clone() };
                    plan.find(&label.name, matter);
                } else if may_revoke(scene, record, plan) {
                    plan.steps.push(Step::RevokeStray {
                        name: label.name.clone(),
                        id: row.id.clone(),
                        marker: Some(label.marker.clone()),
                    });
                } else {
                    plan.find(&label.name, Matter::StrayWaits(row.id.clone()));
                }
            }
            _ if label.instance == *scene.instance && row.is_live(scene.now) => {
                if is_from_a_twin(scene, row) {
                    twins.insert(&label.marker);
                }
                plan.unknown.insert(row.id.clone());
                let matter = Matter::Unknown {
                    id: row.id.clone(),
                    marker: label.marker.clone(),
                    created_at: row.created_at,
                };
                plan.find(&label.name, matter);
            }
            // One that has expired, or a former instance's: `strays` lists them, nothing here is done about them.
            _ => {}
        }
    }
    if twins.len() >= TWIN_MARKERS {
        plan.findings.push(Finding { name: None, matter: Matter::Twin });
        // Nothing else before that: what is ours changes with it.
        plan.steps = vec![Step::Separate];
    }
}

/// Whether this store sealed an intent with the marker, and the token is not another machine's.
fn was_minted_for(record: &Record, label: &Label) -> bool {
    let marker = &label.marker;
    record.intents.iter().any(|intent| intent.marker == *marker)
        || record.held().any(|held| held.origin == Origin::Minted && held.marker.as_ref() == Some(marker))
        || record.revoked.iter().any(|revoked| revoked.marker.as_ref() == Some(marker))
        // Refused, or dropped as a list lacked it, and there all the same.
        || record.mints.iter().any(|attempt| attempt.marker == *marker)
}

/// A held token with this marker that the list does not show: the server has perhaps another id for it than it answered to
/// its mint.
fn unlisted_with<'r>(scene: &Scene<'_>, record: &'r Record, label: &Label) -> Option<&'r Held> {
    let is_it = |held: &&Held| {
        held.origin == Origin::Minted
            && held.marker.as_ref() == Some(&label.marker)
            && row_of(scene, held).is_none()
    };
    record.held().find(is_it)
}

/// Seen in two lists ten minutes apart, and created since this process began: not by this process.
fn is_from_a_twin(scene: &Scene<'_>, row: &Listed) -> bool {
    let seen_long: bool = scene
        .evidence
        .unknown_since
        .get(&row.id)
        .is_some_and(|first: &Time| since(*first, scene.now) >= YOUNG);
    let is_new = match (row.created_at, scene.evidence.first_list) {
        (Some(created_at), Some(first_list)) => created_at > first_list,
        _ => false,
    };
    seen_long && is_new
}
