//! How many connections there may be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// All that may read nothing share so many.
const STRANGERS: usize = 64;
/// Each user that may read something has so many.
const READER: usize = 64;
/// And all users together.
const READERS: usize = 1024;

/// The connections there are, by user; `None` for those who may read nothing.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<HashMap<Option<u32>, usize>>);

impl Slots {
    /// A place for one more connection of a user that may read something, or of a stranger.
    pub(super) fn take(self: &Arc<Self>, reader: Option<u32>) -> Option<Slot> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all: usize = taken.iter().filter(|(whose, _)| whose.is_some()).map(|(_, count)| count).sum();
        let mine = taken.entry(reader).or_default();
        let is_full = match reader {
            None => *mine >= STRANGERS,
            Some(_) => *mine >= READER || of_all >= READERS,
        };
        if is_full {
            return None;
        }
        *mine += 1;
        Some(Slot { slots: self.clone(), reader })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    reader: Option<u32>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.reader) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_no_place_from_readers_nor_readers_from_each_other() {
        let slots = Arc::new(Slots::default());
        let take = |reader, count| (0..count).map(|_| slots.take(reader)).collect::<Option<Vec<Slot>>>();
        let strangers = take(None, STRANGERS).expect("room");
        assert!(slots.take(None).is_none());
        let first = take(Some(1), READER).expect("room");
        assert!(slots.take(Some(1)).is_none());
        let second = slots.take(Some(2)).expect("room");
        drop((strangers, first, second));
        assert!(slots.0.lock().expect("not poisoned").is_empty());
        let all: Vec<Slot> = (0..).map_while(|n| slots.take(Some(n / 64))).collect();
        assert_eq!(all.len(), READERS);
        assert!(slots.take(None).is_some());
    }
}
