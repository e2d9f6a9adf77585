//! Why a command gave no result.

use std::{io, path::PathBuf, time::Duration};

pub use super::{
    arguments::Usage, backend::BadRequest, exec::Unfit, install::NotInstalled, keyring::RingError,
};
use crate::{
    client,
    hint::Hint,
    model::{InvalidName, Name},
    store::{RecordError, StoreError},
};

/// Why a command gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] client::Error),
    /// What was waited for did not come.
    #[error("waited {after:?} in vain: {what}")]
    InVain {
        /// How long.
        after: Duration,
        /// What is still missing.
        what: String,
        /// What to do about it.
        fix: Option<String>,
        /// Whether the daemon has ever answered.
        reached: bool,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record in it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No name at all.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The store has no such name.
    #[error("the store has no token {name:?}", name = name.as_str())]
    Unknown {
        /// Which.
        name: Name,
        /// A name that it does have.
        near: Option<String>,
    },
    /// There is none to be had yet.
    #[error("token {0} is not ready: none has been accepted by the server yet")]
    NotReady(Name),
    /// A reference to somebody else's store.
    #[error("{reference} refers to the store {store:?}, which is not this one")]
    OtherStore {
        /// As it stands.
        reference: String,
        /// Its first part.
        store: String,
    },
    /// A reference that nobody resolves.
    #[error("{0} is no reference: letters, digits and underscores are allowed on both sides of the colon")]
    Literal(String),
    /// A file.
    #[error("{what} {path:?}")]
    File {
        /// What could not be done.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text.
    #[error("{0:?} is larger than {max} MiB", max = super::text::MAX_TEXT >> 20)]
    TooLarge(PathBuf),
    /// The text.
    #[error("{0:?} is not UTF-8")]
    NotText(PathBuf),
    /// What an agent asks.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// The answer to it.
    #[error("the answer has {bytes} bytes, more than the {limit} that may be printed")]
    TooMuch {
        /// Of the whole answer.
        bytes: usize,
        /// What was to be the most.
        limit: usize,
    },
    /// What an agent is to run.
    #[error(transparent)]
    Install(#[from] NotInstalled),
    /// Telegraf, or how it was to be run.
    #[error(transparent)]
    Telegraf(#[from] Unfit),
    /// The kernel's keys.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Some of it.
    #[error("{failed} of {of} tokens are not in the {ring}")]
    Partly {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
        /// What they were to be in.
        ring: String,
    },
    /// No place for secrets.
    #[error("there is no folder in memory: neither \"XDG_RUNTIME_DIR\" names one nor is there \"/dev/shm\"")]
    NoMemory,
    /// What is to be passed on.
    #[error("cannot hold signals")]
    Signals(#[source] io::Error),
    /// The command.
    #[error("{program:?} cannot be started")]
    NotStarted {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The command, after it was started.
    #[error("{program:?} was ended, as it cannot be waited for")]
    Lost {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The result could not be printed.
    #[error("cannot print")]
    Print(#[from] io::Error),
}

impl Failure {
    /// What the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Partly { .. } => 4,
            Self::Daemon(client::Error::Unreachable { .. }) | Self::InVain { reached: false, .. } => 5,
            // As shells and env(1) have it.
            Self::NotStarted { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::NotStarted { .. } => 126,
            _ => 1,
        }
    }
}

impl Hint for Failure {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(),
            Self::Daemon(error) => error.hint(),
            Self::InVain { fix, .. } => fix.clone(),
            Self::Store(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Name(error) => error.hint(),
            Self::Request(error) => error.hint(),
            Self::Install(error) => error.hint(),
            Self::Telegraf(error) => error.hint(),
            Self::Ring(error) => error.hint(),
            Self::NoMemory => Some("mount a tmpfs at \"/dev/shm\"".to_owned()),
            Self::TooMuch { .. } => Some(
                "ask for fewer names at once, or allow more with `--max-output`; Datadog's agent wants \
                 `secret_backend_output_max_size` raised too"
                    .to_owned(),
            ),
            Self::Unknown { near: Some(near), .. } => Some(format!("did you mean {near:?}?")),
            Self::Unknown { near: None, .. } => Some("`influx-secrets list` shows the names".to_owned()),
            Self::NotReady(_) => Some("`influx-tokend status` shows what it waits for".to_owned()),
            Self::OtherStore { .. } => Some("`--id` says what references call this store".to_owned()),
            Self::Literal(_) => Some("write @{influx:NAME}".to_owned()),
            Self::File { .. }
            | Self::TooLarge(_)
            | Self::NotText(_)
            | Self::Partly { .. }
            | Self::Signals(_)
            | Self::NotStarted { .. }
            | Self::Lost { .. }
            | Self::Print(_) => None,
        }
    }
}
