//! Where records are kept between runs. Persists records; knows nothing of what they mean.

#[cfg(feature = "daemon")]
use std::future::Future;
use std::{collections::BTreeMap, io, path::PathBuf};

use crate::{
    hint::Hint,
    model::{Instance, Name, Record, RecordVersion, TokenId},
};

pub mod age;
mod content;
mod file;
mod folder;
#[cfg(feature = "daemon")]
mod hold;
#[cfg(feature = "daemon")]
mod host;
#[cfg(feature = "daemon")]
mod instance;
#[cfg(feature = "secret-service")]
pub mod keyring;
mod marks;
#[cfg(feature = "daemon")]
mod migrate;
#[cfg(feature = "daemon")]
pub mod read_only;
mod retired;

#[cfg(feature = "daemon")]
pub use hold::{exists, is_held, wipe_rest};
#[cfg(feature = "daemon")]
pub use host::{HostReader, HostStore};
#[cfg(feature = "daemon")]
pub use instance::Machine;
pub use marks::Purpose;
#[cfg(feature = "daemon")]
pub use migrate::{MigrateError, migrate, prepare};
pub use retired::Retired;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub record: Record,
    /// Which writing of it this is.
    pub revision: Revision,
}

impl Stored {
    /// Whether this program may plan for it and rewrite it: not so for a record of a later minor version.
    #[must_use]
    pub fn is_ours_to_change(&self) -> bool {
        self.record.version <= RecordVersion::CURRENT
    }
}

/// Tells one writing of a record from any other (age files: device, inode and ctime).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub [u64; 4]);

/// All records of a store, each readable or not.
pub type Records = BTreeMap<Name, Result<Stored, RecordError>>;

/// What is wrong with one record. The others keep working.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {name}: {file:?}: {fault}")]
pub struct RecordError {
    /// Which token, by its file name.
    pub name: Name,
    /// The file.
    pub file: PathBuf,
    /// What is wrong.
    pub fault: RecordFault,
}

/// What can be wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The name inside is another.
    #[error("holds the record of {inside:?}: it was renamed")]
    Renamed {
        /// The name inside.
        inside: String,
    },
    /// It ends too early, or was altered.
    #[error("is cut short or altered: {0}")]
    Damaged(String),
    /// None of our identities opens it.
    #[error("is sealed for another identity")]
    SealedForAnother,
    /// Written by a later program.
    #[error("has version {found}, this program reads {}.x", RecordVersion::CURRENT.major)]
    Version {
        /// What it says.
        found: RecordVersion,
    },
    /// More than a record can be.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// The system would not let us read it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The keyring has acknowledged it, and has it no more.
    #[error("the keyring has no item of it any more")]
    Missing {
        /// The tokens in it.
        ids: Vec<TokenId>,
    },
    /// The keyring has acknowledged a later one.
    #[error("the keyring has an earlier item of it: it was put back from a backup")]
    Older {
        /// The tokens in the later one.
        ids: Vec<TokenId>,
    },
}

impl Hint for RecordError {
    fn hint(&self) -> Option<String> {
        Some(match &self.fault {
            RecordFault::Renamed { inside } => format!("call it {inside}.age again"),
            RecordFault::Damaged(_) | RecordFault::TooLarge(_) => {
                "put it back from a backup, or move it away to have a new token minted".to_owned()
            }
            RecordFault::SealedForAnother => "put back the identity it was sealed for".to_owned(),
            RecordFault::Version { .. } => "run the influx-tokend that wrote it, or a later one".to_owned(),
            RecordFault::Missing { ids } | RecordFault::Older { ids } => {
                let ids: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
                let tokens = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
                format!(
                    "put the keyring back as it was; the tokens that were in it{tokens} live on their server until then"
                )
            }
            RecordFault::Unreadable(_) => "see that it can be read by the user this runs as, now".to_owned(),
        })
    }
}

/// Where records are kept between runs, as the life cycle sees it. Calls may block for long: implementations
/// run them off the async threads.
#[cfg(feature = "daemon")]
pub trait Store: Send + Sync + 'static {
    /// Reads every record. An error means *unavailable*, never *empty*.
    fn load(&self) -> impl Future<Output = Result<Records, StoreError>> + Send;

    /// Reads one record; `None` where there is none.
    fn read(&self, name: &Name) -> impl Future<Output = Result<Option<Stored>, RecordError>> + Send;

    /// Puts a record durably into the store, if the one there is still the one that was `read` (`None`: there
    /// was none). A failed call leaves the old record or the new one, whole.
    fn seal(
        &self,
        record: &Record,
        read: Option<Revision>,
    ) -> impl Future<Output = Result<Revision, SealError>> + Send;

    /// Takes a record out of the store, durably, if the one there is still the one that was `read`.
    fn remove(&self, name: &Name, read: Revision) -> impl Future<Output = Result<(), SealError>> + Send;

    /// This store's instance, and those it had before.
    fn instances(&self) -> impl Future<Output = Result<Instances, StoreError>> + Send;

    /// Takes a new instance; the one before joins the former ones. Records are not touched.
    fn renew_instance(&self) -> impl Future<Output = Result<Instances, StoreError>> + Send;
}

/// Whose tokens are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// In the label of all that is minted from now on.
    pub current: Instance,
    /// What it was before: on another machine, or before a twin was seen.
    pub former: Vec<Instance>,
}

/// The store as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("store {path:?}: {what}{}", source.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
pub struct StoreError {
    /// The store's folder, or the file in it.
    pub path: PathBuf,
    /// What is wrong, or what could not be done.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// Why, where the system said so.
    #[source]
    pub source: Option<io::Error>,
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        self.fix.clone()
    }
}

/// A record that was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Somebody else has written it since it was read: read it and plan again.
    #[error("token {0}: its record was changed by somebody else")]
    Changed(Name),
    /// It could not be written, or not durably.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Hint for SealError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Changed(_) => None,
            Self::Failed(error) => error.hint(),
        }
    }
}

/// Runs what may wait for a disk or an age plugin where it holds up nobody. It runs to its end, whoever waits for it.
#[cfg(feature = "daemon")]
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
