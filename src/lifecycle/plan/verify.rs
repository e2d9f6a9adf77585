//! Asking the data plane about a held token, no sooner than its answer would count (rule 4).

use super::{outcome::Plan, scene::Scene, terms::REFUSED_APART};
use crate::model::{Held, Record, Time, after};

/// When another refusal would count.
fn next_try(scene: &Scene<'_>, held: &Held) -> Time {
    let refused = scene.evidence.probes.get(&held.id).and_then(|probed| probed.refused);
    refused.map_or(scene.now, |(_, last)| after(last, REFUSED_APART))
}

/// Asks once more, no sooner than a second refusal would count.
pub(super) fn soon(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    let next_try = next_try(scene, held);
    if next_try <= scene.now {
        plan.verify(&record.name, &held.id);
        plan.due(after(scene.now, REFUSED_APART));
    } else {
        plan.due(next_try);
    }
}

/// Nothing hangs on when it is known that a former token is dead: it is asked in passes that are made anyway.
pub(super) fn at_leisure(scene: &Scene<'_>, record: &Record, held: &Held, plan: &mut Plan) {
    if next_try(scene, held) <= scene.now {
        plan.verify(&record.name, &held.id);
    }
}
