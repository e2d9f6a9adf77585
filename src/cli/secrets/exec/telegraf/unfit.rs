//! Why Telegraf is not started.

use std::path::PathBuf;

use super::folders::{DEEPEST, MOST_FILES};
use crate::{
    hint::Hint,
    telegraf::{StoreError, Version},
};

/// Why Telegraf is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It is asked for its own store, not ours.
    #[error("telegraf reads from the daemon, not from a store")]
    FromStore,
    /// Nothing to put a reference in.
    #[error("telegraf's configuration is not named")]
    NoConfiguration,
    /// Resolving is its own business.
    #[error("{0:?} is telegraf's configuration already")]
    IsConfiguration(PathBuf),
    /// It does not run, or says something else.
    #[error("{program:?} does not tell which version of telegraf it is: {why}")]
    NoVersion {
        /// What was asked.
        program: PathBuf,
        /// What came of it.
        why: String,
    },
    /// It has no store for this.
    #[error("telegraf {0} has no secret store that reads from influx-tokend")]
    TooOld(Version),
    /// Nothing is delivered there.
    #[error("telegraf {version} reads delivered files, and there is no folder {folder:?}")]
    NoFiles {
        /// Which reads files.
        version: Version,
        /// Where they were expected.
        folder: PathBuf,
    },
    /// Something that Telegraf would send as it stands.
    #[error(
        "{file:?}, line {line}: {reference} is no reference: letters, digits and underscores are allowed on both sides of the colon"
    )]
    Literal {
        /// Where.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// As it stands.
        reference: String,
    },
    /// A folder without end.
    #[error("{0:?} has more than {MOST_FILES} files, or folders deeper than {DEEPEST}")]
    TooMany(PathBuf),
    /// A store that cannot be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Hint for Unfit {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::FromStore => "leave out --store, --identity and --unwrap".to_owned(),
            Self::NoConfiguration => {
                "write `telegraf --config FILE`, or `--config-directory FOLDER`".to_owned()
            }
            Self::IsConfiguration(_) => {
                "leave out --file: telegraf resolves its references itself".to_owned()
            }
            Self::NoVersion { .. } => "see what it prints with `--version`".to_owned(),
            Self::TooOld(_) => "1.39 or later is best; from 1.34.1 on tokens are followed live".to_owned(),
            Self::NoFiles { .. } => {
                "write `[deliver.files]` in the list, and name its path with `--delivered` if it is another"
                    .to_owned()
            }
            Self::Literal { .. } => "write @<influx:NAME> or @{influx:NAME}".to_owned(),
            Self::TooMany(_) => return None,
            Self::Store(error) => return error.hint(),
        })
    }
}
