//! A mint, and what holds it back: a missing database, a failed or open mint, the brake.

use super::{
    brake, databases,
    finding::Matter,
    intents,
    outcome::Plan,
    scene::Scene,
    step::{MintReason, Step},
    terms::MAX_INTENTS,
};
use crate::model::{Record, Spec, after};

/// Mints unless something has to come first.
pub(super) fn plan(
    scene: &Scene<'_>,
    spec: &Spec,
    record: Option<&Record>,
    why: MintReason,
    plan: &mut Plan,
) {
    let name = &spec.name;
    let mut why = if scene.evidence.asked.contains(name) { MintReason::Asked } else { why };
    if !databases::exist(scene, name, &spec.grants, plan) {
        return;
    }
    if let Some(failed) = scene.evidence.waiting.get(name) {
        plan.find(name, Matter::waits_to_mint(failed));
        plan.due(after(scene.now, failed.wait));
        return;
    }
    if let Some(record) = record {
        let open = intents::open(scene, record);
        if open >= MAX_INTENTS {
            plan.find(name, Matter::TooManyIntents(open));
            return;
        }
        why = brake::judged(scene, spec, record, why);
        if brake::holds(scene, record, why, plan) {
            return;
        }
    }
    plan.steps.push(Step::Mint { name: name.clone(), why });
}
