//! One name: its current generation, from which one on every reader is known, and who counts for good.

use std::collections::BTreeSet;

use super::{
    super::reads::Who,
    tally::{Fate, Tally},
};

/// What is known of one name.
#[derive(Debug)]
pub(super) struct Line {
    /// Which value is handed out, or was last.
    generation: u64,
    /// The highest there has been.
    highest: u64,
    /// From this generation on every reader is known; `None`: none has been handed out here.
    complete_from: Option<u64>,
    /// Of what is older, every value has ended, and who held it is forgotten.
    oldest: u64,
    /// Of most names there is none.
    tally: Option<Box<Tally>>,
}

impl Line {
    /// After what a former process has delivered.
    pub(super) fn after(delivered: Option<u64>) -> Self {
        let generation = delivered.unwrap_or_default();
        Self { generation, highest: generation, complete_from: None, oldest: 0, tally: None }
    }

    /// Another value is handed out from now on. One that is not fresh may have been read before this process began, or
    /// under another number; and a number that has been given out before, as after a backup was restored, tells nothing.
    pub(super) fn promote(&mut self, generation: u64, fresh: bool) {
        let follows = generation == self.highest.saturating_add(1);
        self.complete_from = Some(match self.complete_from {
            _ if !fresh || generation <= self.highest => generation.max(self.highest).saturating_add(1),
            Some(from) if follows => from,
            // What came in between was never handed out here.
            _ => generation,
        });
        self.generation = generation;
        self.highest = self.highest.max(generation);
    }

    pub(super) fn forget(&mut self, oldest: u64) {
        if oldest > self.oldest {
            self.oldest = oldest;
            self.tally.iter_mut().for_each(|tally| tally.forget(oldest));
        }
    }

    pub(super) fn count(&mut self, fate: Fate, who: &Who, pid: Option<u32>, generation: u64) {
        if self.matters(generation) {
            self.tally.get_or_insert_default().count(fate, who, pid, generation);
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a value may still work.
    pub(super) fn matters(&self, generation: u64) -> bool {
        generation >= self.oldest
    }

    /// Who counts for good as a holder of another value than this.
    pub(super) fn holders(&self, generation: u64) -> BTreeSet<String> {
        self.tally.as_ref().map(|tally| tally.holders(generation)).unwrap_or_default()
    }

    /// Who held what has been forgotten is not known either.
    pub(super) fn complete_from(&self) -> Option<u64> {
        self.complete_from.map(|from| from.max(self.oldest))
    }
}
