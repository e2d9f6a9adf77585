//! Which values one process has read.

use std::{collections::BTreeMap, sync::Arc};

use super::Read;
use crate::{deliver::socket::view::Ready, model::Name};

/// The generations that one process has read: of each name the last, and the last before that. What all who may read
/// the same have read in one piece is kept once.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// What it read last in one piece.
    whole: Option<Ready>,
    /// What it read last otherwise.
    single: BTreeMap<Name, u64>,
    /// Whether some of `single` is of later than `whole`.
    is_mixed: bool,
    /// Of what it has read more than one value of: the last but one.
    before: BTreeMap<Name, u64>,
}

impl Values {
    pub(super) fn read(&mut self, read: Read<'_>) {
        match read {
            Read::All(ready) => self.read_all(ready),
            Read::One(name, generation) => self.read_one(name, generation),
        }
    }

    fn read_all(&mut self, ready: &Ready) {
        let is_same = self.whole.as_ref().is_some_and(|whole| Arc::ptr_eq(whole, ready));
        if is_same && !self.is_mixed {
            return;
        }
        let whole = self.whole.replace(ready.clone());
        let single = std::mem::take(&mut self.single);
        self.is_mixed = false;
        let whole = whole.iter().flat_map(|whole| whole.iter());
        let lasts = whole.filter(|(name, _)| !single.contains_key(name)).map(|(name, last)| (name, *last));
        for (name, last) in lasts.chain(single.iter().map(|(name, last)| (name, *last))) {
            match generation_in(ready, name) {
                Some(generation) if generation == last => {}
                Some(_) => _ = self.before.insert(name.clone(), last),
                // It is not to be had any more, and not forgotten by who has had it.
                None => _ = self.single.insert(name.clone(), last),
            }
        }
    }

    fn read_one(&mut self, name: &Name, generation: u64) {
        let last = self.last(name);
        if last == Some(generation) {
            return;
        }
        if let Some(last) = last {
            self.before.insert(name.clone(), last);
        }
        self.single.insert(name.clone(), generation);
        self.is_mixed = true;
    }

    /// The generation of a name that was read last.
    pub(super) fn last(&self, name: &Name) -> Option<u64> {
        let whole = || generation_in(self.whole.as_ref()?, name);
        self.single.get(name).copied().or_else(whole)
    }

    /// The latest that was read and is not the current one.
    pub(super) fn former(&self, name: &Name, current: u64) -> Option<u64> {
        match self.last(name)? {
            last if last == current => self.before.get(name).copied(),
            last => Some(last),
        }
    }

    /// The names of which any was read.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        let whole = self.whole.iter().flat_map(|whole| whole.iter()).map(|(name, _)| name);
        whole.filter(|name| !self.single.contains_key(*name)).chain(self.single.keys())
    }
}

/// They are sorted by name.
fn generation_in(ready: &Ready, name: &Name) -> Option<u64> {
    let at = ready.binary_search_by(|(known, _)| known.cmp(name)).ok()?;
    Some(ready[at].1)
}
