//! Tokens that were revoked: remembered for a while, and revoked again where they live all the same (rule 3).

use super::{
    identity::{created_together, has_marker},
    outcome::Plan,
    scene::Scene,
    step::Step,
    successor::may_revoke,
    terms::{MEMORY, YOUNG},
};
use crate::model::{Event, Listed, Record, Revoked};

/// Asks for a revocation again, or forgets it.
pub(super) fn plan(scene: &Scene<'_>, record: &Record, plan: &mut Plan) {
    for revoked in record.revoked.iter().filter(|revoked| revoked.server == *scene.key) {
        match row_of_revoked(scene, revoked) {
            Some(row) if row.is_live(scene.now) => {
                // A list that lags, or a revocation that was lost: asked again once that cannot be lag any more.
                let lags = scene.over_at(revoked.at, revoked.boot.as_ref(), YOUNG) > scene.now;
                let is_due = revoked.unused || !lags && may_revoke(scene, record, plan);
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
    // One that nobody had lost its label at the mint.
    let marker = revoked.marker.as_ref().filter(|_| !revoked.unused);
    (has_marker(row, marker) && created_together(row.created_at, revoked.created_at)).then_some(row)
}
