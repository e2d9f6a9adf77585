//! Whether a row of the list is a token that is known here (rule 5).

use std::time::Duration;

use super::terms::YOUNG;
use crate::model::{Held, Listed, Marker, Time};

/// A list may give creation times less exactly than the answer to a mint.
const A_SECOND: Duration = Duration::from_secs(1);

/// Rule 5's test.
pub(super) fn is_same(listed: &Listed, held: &Held) -> bool {
    let is_at = |at: Time, known: Time, apart| at.duration_since(known).unsigned_abs() < apart;
    // Where the answer to the mint claimed what cannot be, the list may know better.
    let is_believed = |at| held.claimed_created_at.is_some() && is_at(at, held.created_at, YOUNG);
    listed.id == held.id
        && listed.created_at.is_none_or(|at| is_at(at, held.listed_created_at(), A_SECOND) || is_believed(at))
        && has_marker(listed, held.marker.as_ref())
}

/// Whether the row's label has the marker, where there is one to compare.
pub(super) fn has_marker(listed: &Listed, marker: Option<&Marker>) -> bool {
    marker.is_none_or(|marker| listed.label.as_ref().map(|label| &label.marker) == Some(marker))
}

/// Whether two creation times are the same, as far as both are known.
pub(super) fn created_together(listed: Option<Time>, known: Option<Time>) -> bool {
    listed.zip(known).is_none_or(|(listed, known)| listed.duration_since(known).unsigned_abs() < A_SECOND)
}
