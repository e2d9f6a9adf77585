//! The folder that every kind of store has.

use std::path::{Path, PathBuf};

use super::StoreError;
use crate::model::Name;

/// Where things are in a store's folder.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    pub(super) fn identity(&self) -> PathBuf {
        self.root.join("identity.txt")
    }

    pub(super) fn wrapped_identity(&self) -> PathBuf {
        self.root.join("identity.age")
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    pub(super) fn record(&self, name: &Name) -> PathBuf {
        self.tokens().join(format!("{name}.age"))
    }

    /// What the OS keyring must have; nothing of this kind is in a store of age files.
    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(super) fn retired(&self) -> PathBuf {
        self.root.join("retired")
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(super) fn moved(&self) -> PathBuf {
        self.root.join("moved")
    }
}

#[cfg(feature = "daemon")]
impl Layout {
    pub(super) fn instance(&self) -> PathBuf {
        self.root.join("instance")
    }

    /// The instance before there is an identity, or when there is none any more: a store that has both opens.
    #[cfg(feature = "daemon")]
    pub(super) fn drawn_instance(&self) -> PathBuf {
        self.root.join(".instance.first")
    }

    pub(super) fn list(&self) -> PathBuf {
        self.root.join("list")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// An error, where the records of the store in this folder are in a keyring.
pub(super) fn refuse_keyring(layout: &Layout) -> Result<(), StoreError> {
    if !layout.index().exists() {
        return Ok(());
    }
    let fix = "name it with kind = \"secret-service\" in [store], or another path; its secrets are to be had from the daemon";
    Err(store_fault(&layout.root, "is the folder of a store in a keyring", fix))
}

pub(super) fn store_error(path: &Path, what: impl Into<String>, source: std::io::Error) -> StoreError {
    let fix = fix_for(&source, path);
    StoreError { path: path.to_owned(), what: what.into(), fix, source: Some(source) }
}

pub(super) fn store_fault(path: &Path, what: impl Into<String>, fix: impl Into<String>) -> StoreError {
    StoreError { path: path.to_owned(), what: what.into(), fix: Some(fix.into()), source: None }
}

/// What usually mends a refusal of the system.
fn fix_for(error: &std::io::Error, path: &Path) -> Option<String> {
    use std::io::ErrorKind as Kind;
    Some(match error.kind() {
        Kind::PermissionDenied => format!("run as the user that owns {path:?}"),
        Kind::StorageFull | Kind::QuotaExceeded => "make room on its file system".to_owned(),
        Kind::ReadOnlyFilesystem => "mount its file system writable".to_owned(),
        Kind::NotFound => "check the path, and that its file system is mounted".to_owned(),
        _ => return None,
    })
}
