//! What a person asks for: names that are to have a new value now.

use std::collections::BTreeSet;

use super::Keeper;
use crate::{
    deliver::Deliver,
    hint::Hint,
    influxdb::Server,
    lifecycle::{Clock, Clocks},
    model::{Known, Name, ServerKey, Time},
    store::Store,
};

/// Why a name gets no new value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The list does not ask for it.
    #[error("token {0}: is not in the list")]
    NotListed(Name),
    /// Its server is none that is looked after here.
    #[error("token {0}: its server is not managed here")]
    NoServer(Name),
    /// Its record cannot be read.
    #[error("token {0}: the record cannot be read")]
    Unreadable(Name),
    /// Its record is a later program's.
    #[error("token {0}: the record was written by a later influx-tokend")]
    Later(Name),
    /// What it has lives on another server than the list says.
    #[error("token {name}: its token is on {server}, the list names another server")]
    LivesElsewhere {
        /// Which.
        name: Name,
        /// Where it lives.
        server: ServerKey,
    },
}

impl Hint for RotateError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotListed(_) => "add it to the list first; run `influx-tokend status` to list the names",
            Self::NoServer(_) => "check that its server's certificates can be read",
            Self::Unreadable(_) => {
                "restore the record from a backup, or move its file away to get a new token"
            }
            Self::Later(_) => "run the influx-tokend that wrote it, or a later one",
            Self::LivesElsewhere { .. } => {
                "run `influx-tokend apply` if only its address has changed, `influx-tokend confirm` if it is another"
            }
        };
        Some(hint.to_owned())
    }
}

/// A person wants these names to have a new value now: each is asked of the keeper of its server. All of them, or, if
/// one cannot be had, none.
///
/// # Errors
/// What keeps each of the names that cannot have one from it.
pub fn rotate<'a, S: Server + 'a, T: Store + 'a, D: Deliver + 'a, C: Clock + 'a>(
    keepers: impl IntoIterator<Item = &'a Keeper<S, T, D, C>>,
    names: &BTreeSet<Name>,
) -> Result<(), Vec<RotateError>> {
    let keepers: Vec<&Keeper<S, T, D, C>> = keepers.into_iter().collect();
    may_all_rotate(&keepers, names)?;
    for name in names {
        keepers.iter().filter(|keeper| keeper.lists(name)).for_each(|keeper| keeper.ask_for(name));
    }
    Ok(())
}

/// Whether all of these names may have another value.
///
/// # Errors
/// What keeps each of the others from it.
pub fn may_all_rotate<S: Server, T: Store, D: Deliver, C: Clock>(
    keepers: &[&Keeper<S, T, D, C>],
    names: &BTreeSet<Name>,
) -> Result<(), Vec<RotateError>> {
    let specs = keepers.first().map(|keeper| keeper.shared.specs()).unwrap_or_default();
    let mut refused = vec![];
    for name in names {
        match keepers.iter().find(|keeper| keeper.lists(name)) {
            Some(keeper) => refused.extend(keeper.may_rotate(name).err()),
            None if specs.contains_key(name) => refused.push(RotateError::NoServer(name.clone())),
            None => refused.push(RotateError::NotListed(name.clone())),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// The keepers of the servers that these names are listed with.
pub fn keepers_of<'a, S: Server + 'a, T: Store + 'a, D: Deliver + 'a, C: Clock + 'a>(
    keepers: impl IntoIterator<Item = &'a Keeper<S, T, D, C>>,
    names: &BTreeSet<Name>,
) -> Vec<&'a Keeper<S, T, D, C>> {
    keepers.into_iter().filter(|keeper| names.iter().any(|name| keeper.lists(name))).collect()
}

/// What time it is, as far as keepers know.
pub fn clocks<'a, S: Server + 'a, T: Store + 'a, D: Deliver + 'a, C: Clock + 'a>(
    local: Time,
    keepers: impl IntoIterator<Item = &'a Keeper<S, T, D, C>>,
) -> Clocks {
    let time = |keeper: &Keeper<S, T, D, C>| (keeper.name.clone(), keeper.now());
    Clocks { local, servers: keepers.into_iter().map(time).collect() }
}

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// A person wants these names of this server to have a new value now (rule 11: that neither waits nor counts as a
    /// replacement). All of them, or, if one cannot be had, none. One that has a `next` already gets that.
    ///
    /// # Errors
    /// What keeps each of the names that cannot have one from it.
    pub fn rotate(&self, names: &BTreeSet<Name>) -> Result<(), Vec<RotateError>> {
        rotate([self], names)
    }

    /// Whether the list has this name with the keeper's server.
    pub fn lists(&self, name: &Name) -> bool {
        self.shared.specs().get(name).is_some_and(|spec| spec.server == self.name)
    }

    pub(super) fn may_rotate(&self, name: &Name) -> Result<(), RotateError> {
        let known = self.shared.ledger.known();
        let record = match known.get(name) {
            None => return Ok(()),
            Some(Known::Unreadable) => return Err(RotateError::Unreadable(name.clone())),
            Some(Known::Later(_)) => return Err(RotateError::Later(name.clone())),
            Some(Known::Ours(record)) => record,
        };
        let elsewhere = record.current.iter().chain(&record.next).find(|held| held.server != self.key);
        match elsewhere {
            Some(held) if !self.state().evidence.confirmed.contains_key(name) => {
                Err(RotateError::LivesElsewhere { name: name.clone(), server: held.server.clone() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_asked_for(&self, name: &Name) -> bool {
        self.state().evidence.asked.contains(name)
    }

    pub(super) fn ask_for(&self, name: &Name) {
        let mut state = self.state();
        // Whatever the last mint failed of: a person knows better now.
        state.failures.remove(name);
        state.evidence.asked.insert(name.clone());
        drop(state);
        self.wake();
    }
}
