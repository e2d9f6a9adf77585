//! The ring that Telegraf's `os` store reads, and what of it is ours.
//!
//! Telegraf looks in the ring of its user for a ring of a name, once, and in that for keys, on every use. It runs in a
//! session of its own, so what it may do is what the *user* of a key may. A key that is changed in place is never missing
//! to anybody who reads; a ring that is replaced is lost to a Telegraf that runs.
//!
//! Which keys are ours the kernel keeps: each is also in a second ring, `influx-secrets:NAME` beside the first, which lasts
//! exactly as long as they do. A key of the same name that somebody else has made since is another key, and not in there.
//!
//! At no step is there anything that the next run would not put right: we may be killed at any of them.

use std::fmt;

use rustix::io::Errno;
use zeroize::Zeroizing;

use super::error::{NotARing, RingError};
use crate::{
    keys::{self, Key, Kind},
    model::{Name, Secret},
};

/// Everything to us and to our user, and nothing to others: what Telegraf itself gives what it makes.
const PERMISSIONS: u32 = 0x3f3f_0000;
/// What the user has to be let do: see it, read it, find it.
const NEEDED: u32 = 0x000b_0000;

/// What a ring is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::secrets) struct RingName(String);

impl RingName {
    /// The longest name, in bytes.
    const MAX: usize = 256;

    /// What the kernel takes for the name of a ring, and nothing that its descriptions of keys could not show.
    pub(in crate::cli::secrets) fn parse(text: &str) -> Result<Self, NotARing> {
        match text {
            "" => Err(NotARing::Empty),
            text if text.len() > Self::MAX => Err(NotARing::TooLong { len: text.len(), max: Self::MAX }),
            text if text.starts_with('.') => Err(NotARing::Dot),
            text => match text.chars().find(|c| *c == ';' || c.is_control()) {
                Some(found) => Err(NotARing::Character(found)),
                None => Ok(Self(text.to_owned())),
            },
        }
    }

    /// Of the ring that says which of the keys are ours.
    fn own(&self) -> String {
        format!("influx-secrets:{}", self.0)
    }
}

impl Default for RingName {
    /// Telegraf's own default.
    fn default() -> Self {
        Self("telegraf".to_owned())
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ring {:?}", self.0)
    }
}

/// What came of putting a secret in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It was there.
    Same,
    /// There was no key of this name.
    New,
    /// There was another value of ours.
    Changed,
    /// There was another value, of somebody else's.
    TakenOver,
}

/// The ring, and which of its keys are ours. Of one thread: another does not possess what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    name: RingName,
    ring: Key,
    own: Key,
}

impl Ring {
    /// Opens both rings; makes what is not there.
    pub(super) fn open(name: &RingName) -> Result<Self, RingError> {
        possess(name)?;
        let open = |description: &str| {
            let found = keys::search(Key::OF_USER, Kind::Ring, description)?;
            found
                .map_or_else(|| make(Kind::Ring, description, b"", &[Key::OF_USER]), Ok)
                .and_then(open_to_user)
        };
        let both = open(&name.own()).and_then(|own| Ok((open(&name.0)?, own)));
        let (ring, own) = both.map_err(|errno| RingError::new(format!("open the {name}"), errno))?;
        Ok(Self { name: name.clone(), ring, own })
    }

    /// Opens both rings where both are there; makes nothing.
    pub(super) fn find(name: &RingName) -> Result<Option<Self>, RingError> {
        possess(name)?;
        let find = |description: &str| keys::search(Key::OF_USER, Kind::Ring, description);
        let both = || match (find(&name.0)?, find(&name.own())?) {
            (Some(ring), Some(own)) => Ok(Some(Self { name: name.clone(), ring, own })),
            // Keys of a ring that is gone are nobody's.
            (None, Some(own)) => unlinked(own, Key::OF_USER).map(|_| None),
            (_, None) => Ok(None),
        };
        both().map_err(|errno| RingError::new(format!("open the {name}"), errno))
    }

    /// Makes this the value that Telegraf reads under a name, whoever has put there what it reads now: the name is the
    /// list's.
    pub(super) fn put(&self, name: &Name, secret: &Secret) -> Result<Put, RingError> {
        let bytes = secret.expose().len();
        if bytes > keys::MAX_VALUE {
            return Err(RingError::TooLarge { name: name.clone(), bytes });
        }
        let put = match keys::search(self.ring, Kind::Value, name.as_str()) {
            Ok(Some(key)) => self.renew(key, name, secret),
            Ok(None) => self.add(name, secret).map(|()| Put::New),
            Err(errno) => Err(errno),
        };
        put.map_err(|errno| RingError::new(format!("put token {name} into the {}", self.name), errno))
    }

    fn renew(&self, key: Key, name: &Name, secret: &Secret) -> Result<Put, Errno> {
        let (is_same, is_ours) = (holds(key, secret), self.is_ours(key, name)?);
        let key = match if is_same { Ok(key) } else { self.change(key, name, secret) } {
            Ok(key) => key,
            // Nobody's that we may change, or gone since: a key of ours takes its place.
            Err(Errno::ACCESS | Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED) => {
                self.add(name, secret)?;
                return Ok(Put::TakenOver);
            }
            Err(errno) => return Err(errno),
        };
        open_to_user(key)?;
        if !self.is_ours(key, name)? {
            keys::link(key, self.own)?;
        }
        Ok(match (is_same, is_ours) {
            (true, _) => Put::Same,
            (false, true) => Put::Changed,
            (false, false) => Put::TakenOver,
        })
    }

    /// In place. `keyctl` takes a page at most (`keyctl_update_key` in the kernel's `keyctl.c`); what is larger is added,
    /// which changes the key that is there, or where it has gone since makes another.
    fn change(&self, key: Key, name: &Name, secret: &Secret) -> Result<Key, Errno> {
        let value = secret.expose().as_bytes();
        match keys::update(key, value) {
            Ok(()) => Ok(key),
            Err(Errno::INVAL) => keys::add(Kind::Value, name.as_str(), value, self.ring),
            Err(errno) => Err(errno),
        }
    }

    /// First where it is said to be ours: a key that only Telegraf's ring had would not be.
    fn add(&self, name: &Name, secret: &Secret) -> Result<(), Errno> {
        make(Kind::Value, name.as_str(), secret.expose().as_bytes(), &[self.own, self.ring]).map(drop)
    }

    fn is_ours(&self, key: Key, name: &Name) -> Result<bool, Errno> {
        Ok(keys::search(self.own, Kind::Value, name.as_str())? == Some(key))
    }

    /// The names that we have put in, and not taken out.
    pub(super) fn ours(&self) -> Result<Vec<Name>, RingError> {
        let failed = |errno| RingError::new(format!("read what is ours of the {}", self.name), errno);
        let keys = keys::members(self.own).map_err(failed)?;
        // What cannot be described has gone since, or somebody else has put it there.
        Ok(keys.into_iter().filter_map(|key| keys::describe(key).ok()?.description.parse().ok()).collect())
    }

    /// Takes our key of this name out; one of somebody else's stays. Whether there was one of ours.
    pub(super) fn take_out(&self, name: &Name) -> Result<bool, RingError> {
        let take = || {
            let Some(ours) = keys::search(self.own, Kind::Value, name.as_str())? else { return Ok(false) };
            // Looked for, as the kernel takes out whatever has the description of the key that it is told.
            let is_there = keys::search(self.ring, Kind::Value, name.as_str())? == Some(ours);
            let was_there = is_there && unlinked(ours, self.ring)?;
            unlinked(ours, self.own)?;
            Ok(was_there)
        };
        take().map_err(|errno| RingError::new(format!("take token {name} out of the {}", self.name), errno))
    }

    /// Takes out all that is ours, and with it what says so. The ring itself stays: a Telegraf that runs would not see
    /// another. How many there were.
    pub(super) fn clear(&self) -> Result<usize, RingError> {
        let mut count = 0;
        for name in self.ours()? {
            count += usize::from(self.take_out(&name)?);
        }
        let cleared = unlinked(self.own, Key::OF_USER);
        cleared.map_err(|errno| RingError::new(format!("clear the {}", self.name), errno))?;
        Ok(count)
    }

    /// Whether it is the ring that this one was: to a Telegraf that runs it matters.
    pub(super) fn is(&self, before: &Self) -> bool {
        self.ring == before.ring
    }
}

/// What is in a ring of this thread's we possess, and may do more with than its user may: let the user in, where somebody
/// else has made it. What we have made lets the user do everything, so where there is no room for it we do without.
fn possess(name: &RingName) -> Result<(), RingError> {
    match keys::link(Key::OF_USER, Key::OF_THREAD) {
        Ok(()) | Err(Errno::DQUOT) => Ok(()),
        Err(errno) => Err(RingError::new(format!("open the {name}"), errno)),
    }
}

/// Makes a key, with its permissions before anybody finds it, and puts it into these rings.
fn make(kind: Kind, description: &str, value: &[u8], rings: &[Key]) -> Result<Key, Errno> {
    let key = keys::add(kind, description, value, Key::OF_THREAD)?;
    let mut linked = vec![];
    let made = keys::set_permissions(key, PERMISSIONS)
        .and_then(|()| rings.iter().try_for_each(|ring| keys::link(key, *ring).map(|()| linked.push(*ring))));
    if made.is_err() {
        // Of the others' keys nothing is taken out.
        linked.into_iter().for_each(|ring| _ = keys::unlink(key, ring));
    }
    keys::unlink(key, Key::OF_THREAD)?;
    made.map(|()| key)
}

/// Who made it by hand gave it the kernel's permissions, by which Telegraf would not get in.
fn open_to_user(key: Key) -> Result<Key, Errno> {
    if keys::describe(key)?.permissions & NEEDED != NEEDED {
        keys::set_permissions(key, PERMISSIONS)?;
    }
    Ok(key)
}

/// Whether a key has this value. One that cannot be read has another, as far as Telegraf is concerned.
fn holds(key: Key, secret: &Secret) -> bool {
    let mut value = Zeroizing::new(vec![0; keys::MAX_VALUE]);
    let length = keys::read(key, &mut value).ok();
    length.and_then(|length| value.get(..length)).is_some_and(|value| secret.is(value))
}

/// Takes a key out of a ring. Whether it was there.
fn unlinked(key: Key, ring: Key) -> Result<bool, Errno> {
    match keys::unlink(key, ring) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT | Errno::NOKEY) => Ok(false),
        Err(errno) => Err(errno),
    }
}
