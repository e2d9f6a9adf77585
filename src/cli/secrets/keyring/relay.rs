//! From the daemon into the ring.

use std::{
    collections::BTreeMap,
    fmt::Display,
    time::{Duration, Instant},
};

use super::{
    error::RingError,
    ring::{Put, Ring, RingName},
};
use crate::{
    cli::{secrets::Failure, ui},
    client::{Client, Cursor, Error, Session, Unreachable},
    model::Name,
};

/// All secrets are read within this time: a ring holds some hundreds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon's tokens, as far as this user may read them, and the ring that they go into.
pub(super) struct Relay {
    client: Client,
    pub(super) name: RingName,
    ring: Ring,
    cursor: Option<Cursor>,
    /// Of the last answer: which run of the daemon has given it.
    epoch: String,
    /// Of each name that may be read; 0: not ready.
    pub(super) generations: BTreeMap<Name, u64>,
    /// What the kernel does not take.
    pub(super) failed: BTreeMap<Name, RingError>,
}

impl Relay {
    /// Opens the ring, and asks nothing yet: a Telegraf that begins now finds this ring and no other later.
    pub(super) fn open(client: Client, name: RingName) -> Result<Self, RingError> {
        let ring = Ring::open(&name)?;
        let (generations, failed) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { client, name, ring, cursor: None, epoch: String::new(), generations, failed })
    }

    /// Everything anew: what the daemon has, and whether the ring has that and no more.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        self.cursor = None;
        self.open_again()?;
        match self.client.changes(None, Duration::MAX) {
            Ok(changes) => self.take_over(changes.cursor, changes.changed),
            Err(error) => {
                if matches!(error, Error::Denied { .. }) {
                    self.is_denied(&error)?;
                }
                Err(error.into())
            }
        }
    }

    /// What has changed since, as soon as something has, or until the time is over. `true`: there is more to ask at once.
    pub(super) fn poll(&mut self, at_most: Duration) -> Result<bool, Failure> {
        // An answer that does not come leaves no place to go on from.
        let cursor = self.cursor.take();
        let asked = Instant::now();
        let changes = match self.client.changes(cursor.as_ref(), at_most) {
            Ok(changes) => changes,
            Err(Error::Unreachable { why: Unreachable::TimedOut(_), .. }) if asked.elapsed() >= at_most => {
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        if cursor.is_none_or(|cursor| cursor.epoch() != changes.cursor.epoch()) {
            let is_news = changes.changed != self.generations;
            self.take_over(changes.cursor, changes.changed)?;
            return Ok(is_news);
        }
        self.take_out_withdrawn(&changes.changed)?;
        if !changes.gone.is_empty() {
            self.generations.retain(|name, _| !changes.gone.contains(name));
            self.take_out_others()?;
        }
        let names: Vec<Name> = changes.changed.keys().cloned().collect();
        self.generations.extend(changes.changed);
        self.put(&names)?;
        self.cursor = Some(changes.cursor);
        Ok(!names.is_empty() || !changes.gone.is_empty())
    }

    /// How things stand, in a line.
    pub(super) fn summary(&self) -> String {
        let ready = self.generations.values().filter(|generation| **generation > 0).count();
        let (waiting, failed) = (self.generations.len() - ready, self.failed.len());
        let mut text = format!("{} in the {}", ui::count(ready.saturating_sub(failed), "token"), self.name);
        if waiting > 0 {
            text += &format!(", {waiting} not ready");
        }
        if let Some(first) = self.failed.values().next() {
            text += &format!(", {failed} not taken by the kernel: {first}");
        }
        text
    }

    /// These are all the names there are for this user.
    fn take_over(&mut self, cursor: Cursor, generations: BTreeMap<Name, u64>) -> Result<(), Failure> {
        // First, for what goes makes room for what comes.
        if self.epoch == cursor.epoch() {
            self.take_out_withdrawn(&generations)?;
        }
        cursor.epoch().clone_into(&mut self.epoch);
        self.generations = generations;
        self.take_out_others()?;
        let names: Vec<Name> = self.generations.keys().cloned().collect();
        self.put(&names)?;
        self.cursor = Some(cursor);
        Ok(())
    }

    /// Takes out what a daemon has had a value of, and has none any more: that has ended, or was revoked. Telegraf keeps the
    /// points that it has no token for, and would send them with one that has ended in vain. What a daemon that has begun
    /// anew has no value of may still work: its store does not open, or was put back from a backup.
    fn take_out_withdrawn(&self, now: &BTreeMap<Name, u64>) -> Result<(), RingError> {
        let had = |name: &Name| self.generations.get(name).is_some_and(|generation| *generation > 0);
        let withdrawn = now.iter().filter(|(name, generation)| **generation == 0 && had(name));
        withdrawn
            .into_iter()
            .try_for_each(|(name, _)| self.take_out(name, &"the daemon has no value of it any more"))
    }

    /// Takes out what is ours and was not named. The daemon is asked about each, for there are two reasons that are none:
    /// it may have become ready since, and a daemon whose store does not open knows no more names than the list has, none
    /// of them ready.
    fn take_out_others(&mut self) -> Result<(), Failure> {
        self.failed.retain(|name, _| self.generations.contains_key(name));
        let is_open =
            self.generations.is_empty() || self.generations.values().any(|generation| *generation > 0);
        for name in self.ring.ours()? {
            if self.generations.contains_key(&name) {
                continue;
            }
            match self.client.secret(&name) {
                Err(error @ Error::Denied { .. }) => self.take_out(&name, &error)?,
                Err(error @ Error::Unknown { .. }) if is_open => self.take_out(&name, &error)?,
                Ok(_) | Err(Error::Unknown { .. } | Error::NotReady { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_denied(&mut self, error: &Error) -> Result<(), RingError> {
        self.generations.clear();
        self.failed.clear();
        self.ring.ours()?.iter().try_for_each(|name| self.take_out(name, error))
    }

    fn take_out(&self, name: &Name, why: &dyn Display) -> Result<(), RingError> {
        if self.ring.take_out(name)? {
            note(&format!("token {name} is out of the {}: {why}", self.name));
        }
        Ok(())
    }

    /// Puts in those that are ready.
    fn put(&mut self, names: &[Name]) -> Result<(), Failure> {
        let client = self.client.clone();
        let mut session = client.session(PATIENCE);
        let mut changed = None;
        for name in names {
            let Some(generation @ 1..) = self.generations.get(name).copied() else {
                self.failed.remove(name);
                continue;
            };
            match self.put_one(&mut session, name, generation) {
                Ok(()) => {}
                // It is another's, or nobody's, since the daemon named it: all is to be looked at again.
                Err(error @ (Error::NotReady { .. } | Error::Denied { .. } | Error::Unknown { .. })) => {
                    changed = changed.or(Some(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        changed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn put_one(&mut self, session: &mut Session<'_>, name: &Name, generation: u64) -> Result<(), Error> {
        let secret = session.secret(name)?;
        let ring = &self.name;
        match self.ring.put(name, &secret) {
            Ok(put) => {
                self.failed.remove(name);
                match put {
                    Put::Same => {}
                    Put::New | Put::Changed => {
                        note(&format!("token {name} is in the {ring} (generation {generation})"));
                    }
                    Put::TakenOver => note(&format!(
                        "token {name} is in the {ring} (generation {generation}), in place of a key that somebody else \
                         had put there"
                    )),
                }
            }
            Err(error) => _ = self.failed.insert(name.clone(), error),
        }
        Ok(())
    }

    /// The ring may have been taken away, or another put in its place.
    fn open_again(&mut self) -> Result<(), RingError> {
        let ring = Ring::open(&self.name)?;
        if !ring.is(&self.ring) {
            let name = &self.name;
            note(&format!(
                "warning: the {name} is another one than before: a Telegraf that runs reads the former"
            ));
            note("hint: restart Telegraf");
        }
        self.ring = ring;
        Ok(())
    }
}

fn note(line: &str) {
    ui::note("influx-secrets", line);
}
