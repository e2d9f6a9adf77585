//! The store of this host, of whatever kind its list says.

use std::path::PathBuf;

use zeroize::Zeroizing;

#[cfg(feature = "secret-service")]
use super::keyring::{KeyringReader, KeyringStore};
use super::{
    Instances, Machine, RecordError, Records, Revision, SealError, Store, StoreError, Stored,
    age::{AgeReader, AgeStore},
    blocking,
    hold::Hold,
};
use crate::model::{Name, Record};

/// One of the kinds, held by this process alone. Cheap to clone.
#[derive(Clone, Debug)]
pub enum HostStore {
    /// Age files.
    Age(AgeStore),
    /// A user's keyring.
    #[cfg(feature = "secret-service")]
    SecretService(KeyringStore),
}

/// The same of either kind.
macro_rules! either {
    ($self:expr, $store:ident => $done:expr) => {
        match $self {
            Self::Age($store) => $done,
            #[cfg(feature = "secret-service")]
            Self::SecretService($store) => $done,
        }
    };
}

impl HostStore {
    pub(super) fn hold(&self) -> &Hold {
        either!(self, store => store.hold())
    }

    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        either!(self, store => store.path())
    }

    /// Whether the store was made on this machine, as it was when the store was opened.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        either!(self, store => store.machine())
    }

    /// The last accepted list, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn accepted_list(&self) -> Result<Option<Zeroizing<String>>, StoreError> {
        let store = self.clone();
        blocking(move || either!(&store, store => store.accepted_list())).await
    }

    /// Keeps the list that is in force from now on.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn seal_list(&self, text: &str) -> Result<(), StoreError> {
        let (store, text) = (self.clone(), text.to_owned());
        blocking(move || either!(&store, store => store.seal_list(&text))).await
    }

    /// From now on nothing opens this store but who goes on to retire it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin_to_retire(&self) -> Result<(), StoreError> {
        either!(self, store => store.begin_to_retire())
    }

    /// Takes everything out of the store, after [`Self::begin_to_retire`].
    ///
    /// # Errors
    /// Something is left.
    pub async fn wipe(&self) -> Result<(), StoreError> {
        match self {
            Self::Age(store) => store.wipe(),
            #[cfg(feature = "secret-service")]
            Self::SecretService(store) => store.wipe().await,
        }
    }

    /// This machine takes the place of the one that the store was made on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take_over(&self) -> Result<(), StoreError> {
        either!(self, store => store.take_over())
    }
}

impl Store for HostStore {
    async fn load(&self) -> Result<Records, StoreError> {
        either!(self, store => store.load().await)
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        either!(self, store => store.read(name).await)
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        either!(self, store => store.seal(record, read).await)
    }

    async fn remove(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        either!(self, store => store.remove(name, read).await)
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        either!(self, store => store.instances().await)
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        either!(self, store => store.renew_instance().await)
    }
}

/// One of the kinds, to be read without its lock.
#[derive(Debug)]
pub enum HostReader {
    /// Age files.
    Age(AgeReader),
    /// A user's keyring.
    #[cfg(feature = "secret-service")]
    SecretService(KeyringReader),
}

impl HostReader {
    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        either!(self, reader => reader.path())
    }

    /// Whose tokens are ours; `None` where the store has not been made yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn instances(&self) -> Result<Option<Instances>, StoreError> {
        match self {
            Self::Age(reader) => reader.instances(),
            #[cfg(feature = "secret-service")]
            Self::SecretService(reader) => Ok(reader.instances()),
        }
    }

    pub(super) async fn load(&self) -> Result<Records, StoreError> {
        match self {
            Self::Age(reader) => {
                let reader = reader.clone();
                blocking(move || reader.load()).await
            }
            #[cfg(feature = "secret-service")]
            Self::SecretService(reader) => reader.load().await,
        }
    }

    pub(super) async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        match self {
            Self::Age(reader) => {
                let (reader, name) = (reader.clone(), name.clone());
                blocking(move || reader.read(&name)).await
            }
            #[cfg(feature = "secret-service")]
            Self::SecretService(reader) => reader.read(name).await,
        }
    }
}
