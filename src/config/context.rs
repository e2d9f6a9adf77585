//! What a list depends on besides its text.

use std::path::PathBuf;

/// What a list depends on besides its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListContext {
    /// This host's name: `{host}`.
    pub host: String,
    /// The process is a command that exits by itself, so that a secret in its environment does not stay there.
    pub one_shot: bool,
    /// A person waits at a terminal.
    pub is_attended: bool,
    /// Where things are that the list does not place.
    pub defaults: DefaultPaths,
}

/// Where things are that the list does not place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPaths {
    /// `[store] path`.
    pub store: PathBuf,
    /// `[deliver.socket] path`.
    pub socket: PathBuf,
    /// `[deliver.files] path`.
    pub files: PathBuf,
    /// The folder of hooks, `hooks.d` beside the list.
    pub hooks: PathBuf,
}
