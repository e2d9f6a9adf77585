//! Whether a token may be revoked because another has taken its place (rule 7).

use super::{outcome::Plan, scene::Scene};
use crate::model::Record;

/// A token of this name may be revoked once another works and has arrived, or nobody wants one: after a restored
/// backup a stray may be what consumers hold.
pub(super) fn may_revoke(scene: &Scene<'_>, record: &Record, plan: &mut Plan) -> bool {
    let Some(spec) = scene.specs.get(&record.name) else {
        return true;
    };
    let Some(current) = record.current.as_ref().filter(|_| !record.unprobed) else {
        return false;
    };
    if scene.evidence.delivered.get(&record.name) != Some(&record.generation) {
        return false;
    }
    // A current token on another server is that server's pass's to probe.
    let accepted = spec.probe.is_none()
        || current.server != *scene.key
        || scene.evidence.probes.get(&current.id).is_some_and(|probed| probed.accepted_at.is_some());
    if !accepted {
        plan.verify(&record.name, &current.id);
    }
    accepted
}
