//! Whether a held token is still there (rules 4 and 5).

use std::time::Duration;

use super::{Gone, REFUSED_APART, Scene, YOUNG, since};
use crate::model::{Held, Listed};

/// A list may give creation times less exactly than the answer to a mint.
const A_SECOND: Duration = Duration::from_secs(1);

/// What is known of a held token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// The list shows it live, or it is too young to be judged by one.
    Live(Option<&'a Listed>),
    /// The list does not show it, yet the data plane accepts it.
    Unlisted,
    /// Only the data plane can tell: ask it.
    Doubtful,
    /// It does not work any more.
    Gone(Gone),
}

/// The row of the list that is this token: the same id, creation time and, if minted, marker.
pub(super) fn row_of<'a>(scene: &Scene<'a>, held: &Held) -> Option<&'a Listed> {
    scene.row(&held.id).filter(|row| is_same(row, held))
}

/// Rule 5's test.
pub(super) fn is_same(listed: &Listed, held: &Held) -> bool {
    listed.id == held.id
        && listed
            .created_at
            .is_none_or(|at| since(at, held.created_at).max(since(held.created_at, at)) < A_SECOND)
        && held
            .marker
            .as_ref()
            .is_none_or(|marker| listed.label.as_ref().map(|label| &label.marker) == Some(marker))
}

/// Whether a list may not know it yet (rule 4). One from a time that is yet to come was made by a clock that was ahead.
pub(super) fn is_young(scene: &Scene<'_>, held: &Held) -> bool {
    since(held.created_at, scene.now).max(since(scene.now, held.created_at)) < YOUNG
}

pub(super) fn judge<'a>(scene: &Scene<'a>, held: &Held) -> Judgement<'a> {
    let row = row_of(scene, held);
    if is_young(scene, held) {
        return Judgement::Live(row);
    }
    let probed = scene.evidence.probes.get(&held.id);
    match row {
        Some(row) if row.is_live(scene.now) => Judgement::Live(Some(row)),
        Some(row) if row.revoked_at.is_some() => Judgement::Gone(Gone::Ended),
        Some(_) if probed.is_some_and(|probed| probed.refused.is_some()) => Judgement::Gone(Gone::Ended),
        Some(_) => Judgement::Doubtful,
        None => match probed {
            Some(probed) if probed.refused_for().is_some_and(|apart| apart >= REFUSED_APART) => {
                Judgement::Gone(Gone::Absent)
            }
            Some(probed)
                if probed.refused.is_none()
                    && probed.accepted_at.is_some_and(|at| since(at, scene.now) < YOUNG) =>
            {
                Judgement::Unlisted
            }
            _ => Judgement::Doubtful,
        },
    }
}
