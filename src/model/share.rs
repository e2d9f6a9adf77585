//! One copy of what thousands have alike.

use std::{collections::BTreeSet, sync::Arc};

/// Replaces a value by the equal one that was here first.
pub fn share<T: Ord>(known: &mut BTreeSet<Arc<T>>, value: &mut Arc<T>) {
    match known.get(value) {
        Some(first) => *value = first.clone(),
        None => _ = known.insert(value.clone()),
    }
}
