//! A name that the list moves to another server (rule 12).

use super::{finding::Matter, outcome::Plan, scene::Scene};
use crate::model::{Record, Spec, Word};

/// Whether the record's tokens live on this server, or may be left behind.
pub(super) fn is_same(scene: &Scene<'_>, spec: &Spec, record: &Record, plan: &mut Plan) -> bool {
    let Some(from) =
        record.current.iter().chain(&record.next).map(|held| &held.server).find(|key| **key != spec.key)
    else {
        return true;
    };
    if scene.evidence.confirmed.get(&record.name) == Some(&Word::Move) {
        true
    } else {
        plan.find(&record.name, Matter::ServerChanged { from: from.clone() });
        false
    }
}
