//! The ways to consumers, worked together: what is served, files, and which generations have arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

use super::{
    DeliverError, Delivered, Delivery, Files, Memory, OpenError, Readers, files::Stamp,
    generations::Generations, lock,
};
use crate::model::{Credential, Name, Secret};

#[derive(Debug)]
pub(super) struct Ways {
    pub(super) files: Option<Files>,
    pub(super) generations: Generations,
    /// Its resolver is locked while names are looked up, which may take long: never waited for where nothing may wait.
    memory: Memory,
    /// Names with an `allow` of which something grants nothing.
    pub(super) warned: BTreeMap<Name, Arc<Readers>>,
    /// Files that were found to be right, with the version of what is served that they were compared with: one that was
    /// not touched since needs no other look inside.
    right: BTreeMap<Name, (u64, Stamp)>,
    /// Names of which that cannot be told.
    unsure: BTreeSet<Name>,
    /// The version of what is served when files were looked at together.
    looked_at: Option<u64>,
}

impl Ways {
    /// `daemon`: the folder of the generations.
    ///
    /// # Errors
    /// A folder cannot be made or used.
    pub(super) fn open(files: Option<&Path>, daemon: &Path, memory: Memory) -> Result<Self, OpenError> {
        Ok(Self {
            generations: Generations::open(daemon)?,
            files: files.map(Files::open).transpose()?,
            memory,
            warned: BTreeMap::new(),
            right: BTreeMap::new(),
            unsure: BTreeSet::new(),
            looked_at: None,
        })
    }

    /// Whether there is nothing to do, as far as that can be told without waiting for a disk or for NSS: a pass over
    /// many names that changes nothing shall cost next to nothing.
    pub(super) fn are_settled(&mut self, delivery: &Delivery<'_>, now: Instant) -> bool {
        let Delivery { name, generation, secret, allow, .. } = *delivery;
        if self.generations.of(name) != secret.map(|_| generation) || !self.generations.are_written() {
            return false;
        }
        if self.files.as_ref().is_some_and(|files| !files.are_in_memory()) {
            return false;
        }
        let remembered =
            self.memory.resolver.try_lock().ok().and_then(|resolver| resolver.remembered(allow, now));
        let Some(readers) = remembered else { return false };
        let value = secret.map(|credential| (generation, credential.secret()));
        let served = self.memory.served.holds(name, value, &readers);
        let holds = served.is_some_and(|version| match (&self.files, secret) {
            (None, _) => true,
            (Some(files), None) => !files.has(name),
            (Some(_), Some(credential)) => self.file_is_right(name, credential.secret(), &readers, version),
        });
        self.warn(name, &readers);
        holds
    }

    /// Whether a file is what is served. `version` stands for the value and its readers.
    fn file_is_right(&mut self, name: &Name, secret: &Secret, readers: &Readers, version: u64) -> bool {
        let Some(files) = &self.files else { return true };
        let stamp = files.look().ok().and_then(|look| look.stamp(name));
        if stamp.is_some_and(|stamp| self.right.get(name) == Some(&(version, stamp))) {
            return true;
        }
        let is_right = files.holds(name, secret, readers);
        if let Some(stamp) = stamp.filter(|stamp| is_right && stamp.is_settled()) {
            self.unsure.remove(name);
            self.right.insert(name.clone(), (version, stamp));
        } else {
            self.is_unsure(name);
        }
        is_right
    }

    fn is_unsure(&mut self, name: &Name) {
        self.right.remove(name);
        self.unsure.insert(name.clone());
    }

    /// See [`Deliver::altered`].
    pub(super) fn altered(&mut self, now: Instant) -> Option<Vec<Name>> {
        let readers_are_as_before = lock(&self.memory.resolver).is_as_before(now);
        let served = self.memory.served.version();
        let looked_at = self.looked_at.replace(served);
        if !readers_are_as_before || looked_at != Some(served) || !self.generations.are_written() {
            return None;
        }
        let Some(files) = &self.files else { return Some(vec![]) };
        let look = files.look().ok()?;
        let altered = self.right.iter().filter(|(name, (_, stamp))| look.stamp(name) != Some(*stamp));
        Some(altered.map(|(name, _)| name).chain(&self.unsure).cloned().collect())
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<Delivered, DeliverError> {
        let Delivery { name, generation, allow, keep_newer, fresh, .. } = *delivery;
        let secret = delivery.secret.map(Credential::secret);
        let readers = lock(&self.memory.resolver).resolve(allow, Instant::now());
        self.warn(name, &readers);
        if let Some(newer) = self.generations.of(name).filter(|delivered| *delivered > generation)
            && keep_newer
            && self.files.as_ref().is_none_or(|files| files.has(name))
        {
            tracing::warn!(
                %name,
                "generation {newer} stays delivered until a list was read: the sealed one is {generation}"
            );
            // The newer value is in its file alone. Who asks over the socket waits rather than get one that may have
            // been revoked.
            self.memory.served.put(name, None, &readers);
            return Ok(Delivered::NewerStays);
        }
        self.is_unsure(name);
        self.hand_out(name, secret.map(|secret| (generation, secret)), fresh, &readers);
        if let Some(files) = &self.files {
            match secret {
                Some(secret) => files.put(name, secret, &readers)?,
                None => files.withdraw(name)?,
            }
        }
        self.generations.note(name, secret.map(|_| generation));
        Ok(if self.generations.are_written() { Delivered::Done } else { Delivered::Unnoted })
    }

    /// Over the socket. Who reads a value that is another one is noted from its first read on.
    fn hand_out(&self, name: &Name, value: Option<(u64, &Secret)>, fresh: bool, readers: &Arc<Readers>) {
        let Memory { served, book, .. } = &self.memory;
        if let Some((generation, secret)) = value
            && !served.hands_out(name, generation, secret)
        {
            book.promote(name, generation, fresh, self.generations.of(name));
        }
        served.put(name, value, readers);
    }

    /// Says what grants nothing when it changes, not at every pass.
    fn warn(&mut self, name: &Name, readers: &Arc<Readers>) {
        let before = self.warned.get(name).map_or(&[][..], |before| &before.warnings);
        if before == readers.warnings {
            return;
        }
        for warning in &readers.warnings {
            tracing::warn!(%name, "{warning}");
        }
        if readers.warnings.is_empty() {
            self.warned.remove(name);
        } else {
            self.warned.insert(name.clone(), readers.clone());
        }
    }
}
