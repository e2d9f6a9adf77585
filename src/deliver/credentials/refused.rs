//! What was refused, and why.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::claim::Claim;
use crate::{
    deliver::{lock, socket::in_toml},
    hint::Hint as _,
    model::{Allow, InvalidName, Name, Time},
};

/// So many are remembered; a host has a handful.
const MOST: usize = 64;

/// A credential that somebody did not get.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refused {
    /// Who.
    pub by: String,
    /// Which, as its unit calls it; nothing where that was not to be understood.
    pub credential: String,
    /// When.
    pub at: Time,
    /// Why.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why somebody does not get it.
#[derive(Debug)]
pub(super) enum Reason {
    /// Who asks is not systemd.
    NotRoot,
    /// The address says nothing of a unit.
    NoClaim(Vec<u8>),
    /// Whoever asks runs in another unit than the one it names, or where that cannot be told.
    OtherUnit(Claim, Option<String>),
    /// No token can be called so.
    NoName(InvalidName),
    /// No token is called so.
    Unknown(Name),
    /// The token is for others.
    NotYours(Name, String, Allow),
    /// It has not become ready in this time.
    NotReady(Name, Duration, String),
    /// The daemon is told to stop.
    Stopping(Name),
    /// The process before was killed in the middle of its answer.
    Interrupted,
}

impl Reason {
    /// In words, after "because".
    pub(super) fn why(&self) -> String {
        match self {
            Self::NotRoot => "only systemd asks here, as root".to_owned(),
            Self::NoClaim(address) if address.is_empty() => {
                "it does not say for which unit it asks".to_owned()
            }
            Self::NoClaim(address) => {
                format!("it asks by the name \"{}\", expected RANDOM/unit/UNIT/ID", address.escape_ascii())
            }
            Self::OtherUnit(claim, Some(unit)) => {
                format!("it asks in the name of {}, and runs in {unit}", claim.unit)
            }
            Self::OtherUnit(claim, None) => {
                format!("it asks in the name of {}, and in which unit it runs is not known", claim.unit)
            }
            Self::NoName(error) => format!("it names no token: {error}"),
            Self::Unknown(name) => format!("there is no token {name}"),
            Self::NotYours(name, ..) => format!("it may not read token {name}"),
            Self::NotReady(name, waited, why) => {
                format!("token {name} has not become ready in {} s: {why}", waited.as_secs())
            }
            Self::Stopping(name) => format!("the daemon stops before token {name} is ready"),
            Self::Interrupted => "the daemon was killed while it answered".to_owned(),
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRoot | Self::NoClaim(_) => {
                "read from secrets.sock, or have systemd ask with LoadCredential=".to_owned()
            }
            Self::OtherUnit(_, None) => {
                "the daemon must see /proc: no ProtectProc= in its unit, no hidepid=".to_owned()
            }
            Self::NoName(error) => error.hint().unwrap_or_else(|| {
                "LoadCredential=ID:PATH, where ID is a token's name, or that after \"telegraf.\"".to_owned()
            }),
            Self::Unknown(_) => "`influx-tokend status` shows the tokens there are".to_owned(),
            Self::NotYours(_, unit, allow) => {
                let mut allow = allow.clone();
                allow.units.push(unit.clone());
                format!("to let it, write in its [[token]]: allow = {{ {} }}", in_toml(&allow))
            }
            Self::NotReady(..) => "`influx-tokend status` tells what it waits for".to_owned(),
            Self::OtherUnit(_, Some(_)) | Self::Stopping(_) | Self::Interrupted => return None,
        })
    }

    /// The tokens it is about, for whoever counts denials.
    pub(super) fn names(&self) -> Vec<Name> {
        match self {
            Self::Unknown(name)
            | Self::NotYours(name, ..)
            | Self::NotReady(name, ..)
            | Self::Stopping(name) => vec![name.clone()],
            _ => vec![],
        }
    }
}

/// The last refusal of each credential for each who asked, until it is given.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<(String, String), Refused>>);

impl Refusals {
    pub(super) fn note(&self, refused: Refused) {
        let mut all = self.all();
        all.insert((refused.by.clone(), refused.credential.clone()), refused);
        if all.len() > MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, refused)| refused.at).map(|(key, _)| key.clone())
        {
            all.remove(&oldest);
        }
    }

    pub(super) fn forget(&self, by: &str, credential: &str) {
        let mut all = self.all();
        if !all.is_empty() {
            all.remove(&(by.to_owned(), credential.to_owned()));
        }
    }

    pub(super) fn list(&self) -> Vec<Refused> {
        self.all().values().cloned().collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, String), Refused>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(by: usize, at: i64) -> Refused {
        let at = Time::from_second(at).expect("a time");
        let (by, credential) = (by.to_string(), "t".to_owned());
        Refused { by, credential, at, why: "because".to_owned(), hint: None }
    }

    #[test]
    fn the_last_of_each_is_remembered_until_it_is_given_and_no_more_than_there_is_room_for() {
        let refusals = Refusals::default();
        refusals.note(refused(7, 1));
        refusals.note(refused(7, 5));
        assert_eq!(refusals.list(), [refused(7, 5)]);
        refusals.forget("7", "u");
        refusals.forget("7", "t");
        assert_eq!(refusals.list(), []);
        (0..MOST + 10).for_each(|n| refusals.note(refused(n, 1000 - n as i64)));
        let all = refusals.list();
        assert_eq!(all.len(), MOST);
        assert!(all.iter().all(|refused| refused.at.as_second() > 1000 - MOST as i64 - 1), "{all:?}");
    }
}
