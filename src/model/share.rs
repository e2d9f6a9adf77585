//! Equal values in one place.

use std::collections::BTreeSet;

/// Replaces a handle by the equal one that was here first.
pub fn share<T: Ord + Clone>(known: &mut BTreeSet<T>, handle: &mut T) {
    match known.get(handle) {
        Some(first) => handle.clone_from(first),
        None => _ = known.insert(handle.clone()),
    }
}
