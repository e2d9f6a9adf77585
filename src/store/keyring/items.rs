//! The items of a store in the user's keyring, over the Secret Service API.

use std::{collections::HashMap, path::Path, sync::Arc};

use dbus_secret_service_keyring_store::Store as SecretService;
use keyring_core::{Entry, Error, api::CredentialStoreApi as _};
use zeroize::Zeroizing;

use crate::model::Name;

/// The largest item: a record at its bound and its first line.
const MAX_ITEM: usize = crate::model::MAX_RECORD_BYTES + 128;

/// Where a store's items are. A call may block for as long as whoever answers likes.
pub(super) trait Items: Send + 'static {
    /// All items of this store, each with the name it bears.
    fn all(&mut self) -> Result<Vec<(String, Item)>, Fault>;

    /// One item, if there is one.
    fn get(&mut self, name: &Name) -> Result<Option<Item>, Fault>;

    /// Makes or replaces an item.
    fn set(&mut self, name: &Name, value: &[u8]) -> Result<(), Fault>;

    /// Takes an item out, if there is one.
    fn remove(&mut self, name: &Name) -> Result<(), Fault>;
}

/// What is in an item, or why that is not known.
pub(super) type Item = Result<Zeroizing<Vec<u8>>, Unusable>;

/// An item that is no use, while the others may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There are several of this name.
    Several,
    /// More than a record can be.
    TooLarge,
}

/// The keyring cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It is there, and does not let us in.
    #[error("the keyring is locked")]
    Locked,
    /// It is not there, or does not do what it should.
    #[error("the keyring cannot be used: {0}")]
    Unavailable(String),
}

/// The keyring of whoever runs this. Connected when it is first used, and again after it has failed.
pub(super) struct Keyring {
    /// What all items of this store have in common, and those of no other.
    service: String,
    connection: Option<Arc<SecretService>>,
}

impl Keyring {
    /// For the store in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { service: format!("influx-tokend {}", folder.display()), connection: None }
    }

    /// Whatever fails may have to do with the connection: the service may have been started anew.
    fn with<T>(&mut self, work: impl FnOnce(&SecretService, &str) -> Result<T, Error>) -> Result<T, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => SecretService::new().map_err(|error| fault(&error))?,
        };
        let done = work(&connection, &self.service).map_err(|error| fault(&error))?;
        self.connection = Some(connection);
        Ok(done)
    }
}

impl Items for Keyring {
    fn all(&mut self) -> Result<Vec<(String, Item)>, Fault> {
        self.with(|connection, service| {
            let entries = connection.search(&HashMap::from([("service", service)]))?;
            let mut all: Vec<(String, Item)> = Vec::with_capacity(entries.len());
            for entry in entries {
                // One that has gone since it was found.
                let Some((_, name)) = entry.get_specifiers() else { continue };
                match all.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, item)) => *item = Err(Unusable::Several),
                    None => all.push((name, content(&entry)?)),
                }
            }
            Ok(all)
        })
    }

    fn get(&mut self, name: &Name) -> Result<Option<Item>, Fault> {
        self.with(|connection, service| match content(&entry(connection, service, name)?) {
            Ok(item) => Ok(Some(item)),
            Err(Error::NoEntry) => Ok(None),
            Err(Error::Ambiguous(_)) => Ok(Some(Err(Unusable::Several))),
            Err(error) => Err(error),
        })
    }

    fn set(&mut self, name: &Name, value: &[u8]) -> Result<(), Fault> {
        self.with(|connection, service| entry(connection, service, name)?.set_secret(value))
    }

    fn remove(&mut self, name: &Name) -> Result<(), Fault> {
        self.with(|connection, service| match entry(connection, service, name)?.delete_credential() {
            Err(Error::NoEntry) => Ok(()),
            done => done,
        })
    }
}

fn entry(connection: &SecretService, service: &str, name: &Name) -> Result<Entry, Error> {
    // What a person reads in a program that shows keyrings.
    let label = format!("influx-tokend: {name}");
    connection.build(service, name.as_str(), Some(&HashMap::from([("label", label.as_str())])))
}

fn content(entry: &Entry) -> Result<Item, Error> {
    let value = Zeroizing::new(entry.get_secret()?);
    Ok(if value.len() > MAX_ITEM { Err(Unusable::TooLarge) } else { Ok(value) })
}

/// What an error says is the service's own, and no secret: those that carry bytes do not print them.
fn fault(error: &Error) -> Fault {
    match error {
        Error::NoStorageAccess(_) => Fault::Locked,
        Error::PlatformFailure(why) => Fault::Unavailable(why.to_string()),
        other => Fault::Unavailable(other.to_string()),
    }
}
