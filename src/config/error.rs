//! Why a list or a hook's file is refused.

use std::{
    fmt::{self, Write as _},
    io,
    path::{Path, PathBuf},
};

use crate::hint::Hint;

/// The largest list, in bytes.
pub(super) const MAX_LIST_BYTES: u64 = 16 << 20;
/// More faults than these are counted and not shown.
const MAX_SHOWN: usize = 50;

/// A list or a hook's file that is not valid, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list cannot be read.
    #[error("{file:?}: {error}")]
    List {
        /// The list.
        file: PathBuf,
        /// Why.
        error: ReadError,
    },
    /// A hook's file, or the folder of hooks, cannot be read.
    #[error("{file:?}: cannot read the hook: {error}")]
    Hook {
        /// The file or the folder.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The text has faults.
    #[error("{}", in_lines(file, faults, *more))]
    Faults {
        /// The file.
        file: PathBuf,
        /// Sorted by place; never empty.
        faults: Vec<ConfigFault>,
        /// How many more there are.
        more: usize,
    },
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::List { error, .. } => error.hint(),
            Self::Hook { .. } => Some(
                "make it a regular file that root owns and all can read, or write it with `influx-tokend hook add`".to_owned(),
            ),
            // Each fault has its own beside it.
            Self::Faults { .. } => None,
        }
    }
}

/// Why the file of a list cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refuses it.
    #[error("cannot read the list: {0}")]
    Io(#[from] io::Error),
    /// It is a folder.
    #[error("is a folder, expected a list in TOML")]
    Folder,
    /// It is a device, a pipe or a socket.
    #[error("is not a regular file, expected a list in TOML")]
    NotRegular,
    /// It is not text.
    #[error("is not UTF-8: line {line}, byte {byte}")]
    NotUtf8 {
        /// From 1.
        line: usize,
        /// In this line, from 1.
        byte: usize,
    },
    /// It is larger than a list can be.
    #[error("is too large to be a token list: more than {} MiB", MAX_LIST_BYTES >> 20)]
    TooLarge,
}

impl Hint for ReadError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "let the user this runs as read it"
            }
            Self::Io(error) if error.kind() != io::ErrorKind::NotFound => return None,
            Self::Io(_) | Self::Folder | Self::NotRegular | Self::TooLarge => {
                "name the list with `--config PATH`"
            }
            Self::NotUtf8 { .. } => "save it as UTF-8",
        };
        Some(hint.to_owned())
    }
}

/// One thing that is wrong with a list or a hook's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the tree, as a person would write it.
    pub key: String,
    /// What is wrong, and what was expected.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, what, hint } = self;
        let separator = if key.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {key}{separator}{what}")?;
        hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

fn in_lines(file: &Path, faults: &[ConfigFault], more: usize) -> String {
    let shown = faults.iter().take(MAX_SHOWN).map(|fault| format!("{}:{fault}", file.display()));
    let mut text = shown.collect::<Vec<_>>().join("\n");
    let more = faults.len().saturating_sub(MAX_SHOWN) + more;
    if more > 0 {
        let _infallible = write!(text, "\nand {more} more");
    }
    text
}
