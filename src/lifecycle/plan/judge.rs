//! Whether a held token is still there (rule 4).

use std::collections::BTreeSet;

use super::{
    identity::is_same,
    scene::Scene,
    terms::{REFUSED_APART, YOUNG},
};
use crate::model::{Gone, Held, Known, Listed, Probed, Time, TokenId, since};

/// What is known of a held token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// The list shows it live, or in a way that cannot be read, or it is too young to be judged by one.
    Live(Option<&'a Listed>),
    /// The list does not show it, yet the data plane accepts it.
    Unlisted,
    /// Only the data plane knows: ask it.
    Doubtful,
    /// It does not work any more.
    Gone(Gone),
}

/// The row of the list that is this token: the same id, creation time and, if minted, marker.
pub(super) fn row_of<'a>(scene: &Scene<'a>, held: &Held) -> Option<&'a Listed> {
    scene.row(&held.id).filter(|row| is_same(row, held))
}

/// Whether a list may not know it yet (rule 4). One from a time that is yet to come was made by a clock that was ahead.
pub(super) fn is_young(scene: &Scene<'_>, held: &Held) -> bool {
    since(held.created_at, scene.now).max(since(scene.now, held.created_at)) < YOUNG
}

/// Whether the list shows it in a way that cannot be read: nothing is decided by that.
fn has_faulty_row(scene: &Scene<'_>, held: &Held) -> bool {
    scene.listing.faults.iter().any(|fault| fault.id.as_ref() == Some(&held.id))
        || held.marker.as_ref().is_some_and(|marker| scene.faulty_row(|label| label.marker == *marker))
}

/// The held tokens of this server that its list does not show as live, though it should know them by now.
pub(super) fn not_live(scene: &Scene<'_>) -> BTreeSet<TokenId> {
    let records = scene.records.values().filter_map(|known| match known {
        Known::Ours(record) => Some(record),
        Known::Later(_) | Known::Unreadable => None,
    });
    let is_missing = |held: &&Held| {
        held.server == *scene.key
            && !is_young(scene, held)
            && row_of(scene, held).map_or_else(|| !has_faulty_row(scene, held), |row| !row.is_live(scene.now))
    };
    records.flat_map(|record| record.held()).filter(is_missing).map(|held| held.id.clone()).collect()
}

pub(super) fn judge<'a>(scene: &Scene<'a>, held: &Held) -> Judgement<'a> {
    let row = row_of(scene, held);
    if is_young(scene, held) || row.is_none() && has_faulty_row(scene, held) {
        return Judgement::Live(row);
    }
    if let Some(row) = row.filter(|row| row.is_live(scene.now)) {
        return Judgement::Live(Some(row));
    }
    let probed = scene.evidence.probes.get(&held.id);
    let not_live_since = scene.evidence.not_live_since.get(&held.id);
    // Of one that the list shows as expired or revoked, only what was answered after that counts.
    let is_after = |at: Time| row.is_none() || not_live_since.is_some_and(|since| at >= *since);
    let is_accepted = |probed: &Probed| {
        let accepted = probed.accepted_at.filter(|at| probed.refused.is_none() && is_after(*at));
        accepted.is_some_and(|at| since(at, scene.now) < YOUNG)
    };
    if probed.is_some_and(is_accepted) {
        return Judgement::Unlisted;
    }
    // A refusal from before, when a part of the server may not have known the token yet, proves nothing.
    let refused = probed.filter(|_| not_live_since.is_some());
    match row {
        Some(_) if refused.is_some_and(|probed| probed.refused.is_some()) => Judgement::Gone(Gone::Shown),
        None if refused.and_then(Probed::refused_for).is_some_and(|apart| apart >= REFUSED_APART) => {
            Judgement::Gone(Gone::Absent)
        }
        _ => Judgement::Doubtful,
    }
}
