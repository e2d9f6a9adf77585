//! Who may still hold a former value (rule 9), as far as the socket tells: which generation each process has read last,
//! and what became of those that read an older one.
//!
//! A process is followed by its pidfd, and counts for as long as the rule says:
//!
//! - one that lives, until it has read the current value;
//! - one that had read an older value and has ended since the current one was promoted, for good: it may have handed
//!   the value on. Promoted is, to readers, when it is handed out first;
//! - one that hands on what it reads, or that cannot be followed, for good, whatever becomes of it;
//! - a unit that was given its secret as a credential, for good as well: whoever reads for systemd ends at once, what
//!   it has read stays for as long as the unit runs, and each process of the unit may have it or have handed it on.
//!
//! For good is until the values that it had have ended. Where nobody can tell, nothing is proven.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use super::{Peer, reads::Who, view::Ready};
use crate::{
    deliver::lock,
    model::{Holders, Name},
};

mod line;
mod tally;
#[cfg(test)]
mod tests;
mod values;

use line::Line;
use tally::Fate;
use values::Values;

/// So many processes are followed, each at the price of a file descriptor; a host has a handful.
const MAX_READERS: usize = 256;
/// Those that have ended are looked for when there are twice as many as the last time, and not below this.
const CROWD: usize = 64;

/// What a request reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read<'a> {
    /// All that is ready.
    All(&'a Ready),
    /// The value of one name.
    One(&'a Name, u64),
}

impl<'a> Read<'a> {
    fn values(self) -> impl Iterator<Item = (&'a Name, u64)> {
        let (all, one) = match self {
            Self::All(ready) => (Some(ready), None),
            Self::One(name, generation) => (None, Some((name, generation))),
        };
        let all = all.into_iter().flat_map(|ready| ready.iter());
        all.map(|(name, generation)| (name, *generation)).chain(one)
    }

    fn is_nothing(self) -> bool {
        matches!(self, Self::All(ready) if ready.is_empty())
    }
}

/// A process that has read something.
#[derive(Debug)]
pub(super) struct Reader {
    peer: Arc<Peer>,
    values: Mutex<Values>,
}

impl Reader {
    fn new(peer: &Arc<Peer>) -> Self {
        Self { peer: peer.clone(), values: Mutex::default() }
    }

    fn in_words(&self, pid: u32, generation: u64) -> String {
        let Peer { uid, unit, .. } = &*self.peer;
        match unit {
            Some(unit) => format!("{unit} (uid {uid}, pid {pid}) has generation {generation}"),
            None => format!("a process of uid {uid} (pid {pid}) has generation {generation}"),
        }
    }
}

/// The reader that a connection's process is, found at its first read; the inner `None`: it is not followed.
pub(super) type Followed = OnceLock<Option<Arc<Reader>>>;

/// What has been read by whom, since this process began.
#[derive(Debug, Default)]
pub(in crate::deliver) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    lines: BTreeMap<Name, Line>,
    /// By their number, which is another process's only once they have ended.
    readers: HashMap<u32, Arc<Reader>>,
    /// With so many readers, those that have ended are looked for.
    crowd: usize,
}

impl Book {
    /// These values are about to be handed out to a peer: to be told before they are. `relays`: it says that it hands
    /// them on.
    pub(super) fn is_read(&self, peer: &Arc<Peer>, followed: &Followed, relays: bool, read: Read<'_>) {
        if read.is_nothing() {
            return;
        }
        if relays {
            return self.pages().count(Fate::Relay, peer, read);
        }
        match followed.get_or_init(|| self.pages().follow(peer)) {
            Some(reader) => lock(&reader.values).read(read),
            None if peer.pid.is_none() => self.pages().count(Fate::Unseen, peer, read),
            None => self.pages().count(Fate::Crowded, peer, read),
        }
    }

    /// This value is about to be given to a unit as a credential: to be told before it is.
    pub(in crate::deliver) fn is_given(&self, unit: &str, name: &Name, generation: u64) {
        if let Some(line) = self.pages().lines.get_mut(name) {
            // One unit is one holder, however often it is started.
            line.count(Fate::Credential, &Who::Unit(unit.to_owned()), None, generation);
        }
    }

    /// This becomes the value of a name that is handed out: to be told before it is. `fresh`: it never was before;
    /// `delivered`: the generation that a former process delivered last.
    pub(in crate::deliver) fn promote(
        &self,
        name: &Name,
        generation: u64,
        fresh: bool,
        delivered: Option<u64>,
    ) {
        let mut pages = self.pages();
        // What has ended by now has done so before.
        pages.part_with_ended();
        let line = pages.lines.entry(name.clone()).or_insert_with(|| Line::after(delivered));
        line.promote(generation, fresh);
    }

    /// The values of a name before this generation have ended: who held one does not matter any more.
    pub(in crate::deliver) fn forget(&self, name: &Name, oldest: u64) {
        if let Some(line) = self.pages().lines.get_mut(name) {
            line.forget(oldest);
        }
    }

    /// These are all the names there are.
    pub(in crate::deliver) fn retain(&self, names: &BTreeSet<Name>) {
        self.pages().lines.retain(|name, _| names.contains(name));
    }

    /// Who may hold a value of a name other than this generation of it.
    pub(in crate::deliver) fn holders(&self, name: &Name, generation: u64) -> Holders {
        let mut pages = self.pages();
        pages.part_with_ended();
        let Some(line) = pages.lines.get(name) else { return Holders::default() };
        let mut known = line.holders(generation);
        for (pid, reader) in &pages.readers {
            let last = lock(&reader.values).last(name);
            let former = last.filter(|last| *last != generation && line.matters(*last));
            known.extend(former.map(|former| reader.in_words(*pid, former)));
        }
        Holders { known, complete_from: line.complete_from() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.0)
    }
}

impl Pages {
    /// The reader that a peer is, from now on; `None` where it cannot be followed.
    fn follow(&mut self, peer: &Arc<Peer>) -> Option<Arc<Reader>> {
        let pid = peer.pid?;
        if !peer.is_alive() {
            // Its number may be another's already. What it gets now it gets before anything is promoted: no holder.
            return Some(Arc::new(Reader::new(peer)));
        }
        match self.readers.get(&pid) {
            // Two that live at the same moment under one number are one.
            Some(known) if known.peer.is_alive() => return Some(known.clone()),
            Some(_) => self.part_with(pid),
            None => {}
        }
        if self.readers.len() >= self.crowd {
            self.part_with_ended();
            self.crowd = (self.readers.len() * 2).clamp(CROWD, MAX_READERS);
        }
        if self.readers.len() >= MAX_READERS {
            return None;
        }
        let reader = Arc::new(Reader::new(peer));
        self.readers.insert(pid, reader.clone());
        Some(reader)
    }

    fn part_with_ended(&mut self) {
        let ended = self.readers.iter().filter(|(_, reader)| !reader.peer.is_alive());
        let ended: Vec<u32> = ended.map(|(pid, _)| *pid).collect();
        ended.into_iter().for_each(|pid| self.part_with(pid));
    }

    /// A reader has ended: of what it had, each former value counts from now on for good.
    fn part_with(&mut self, pid: u32) {
        let Some(reader) = self.readers.remove(&pid) else { return };
        let (values, who) = (lock(&reader.values), Who::of(&reader.peer));
        for name in values.names() {
            if let Some(line) = self.lines.get_mut(name)
                && let Some(former) = values.former(name, line.generation())
            {
                line.count(Fate::Ended, &who, Some(pid), former);
            }
        }
    }

    /// Somebody that is not followed reads.
    fn count(&mut self, fate: Fate, peer: &Peer, read: Read<'_>) {
        let who = Who::of(peer);
        for (name, generation) in read.values() {
            if let Some(line) = self.lines.get_mut(name) {
                line.count(fate, &who, peer.pid, generation);
            }
        }
    }
}
