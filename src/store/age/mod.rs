//! Records as age files, one per token, in one folder:
//!
//! | path | what |
//! |---|---|
//! | `identity.txt`, or `identity.age` | opens the records; `.age`: wrapped, by a passphrase or for another identity |
//! | `instance` | whose tokens are ours, and which machine this is |
//! | `list` | the last accepted list, sealed |
//! | `tokens/NAME.age` | one record |
//! | `lock` | held by the one process that writes |
//! | `retired` | its tokens have ended, or are being ended: nothing opens it any more |
//!
//! Files are 0600 and folders 0700 from the moment they exist.

use std::path::{Path, PathBuf};

mod file;
mod identity;
#[cfg(feature = "daemon")]
mod instance;
mod reader;
mod retired;
#[cfg(all(test, feature = "daemon"))]
mod tests;
#[cfg(feature = "daemon")]
mod writer;

pub use identity::{Identities, IdentitySource, Keys, Unwrap};
#[cfg(feature = "daemon")]
pub use instance::Machine;
pub use reader::AgeReader;
pub use retired::Retired;
#[cfg(feature = "daemon")]
pub use writer::{AgeStore, OpenOptions};

/// The largest sealed file: a record or a list at its bound, and age's own bytes.
const MAX_SEALED_BYTES: u64 = 24 << 20;

/// Where things are in a store's folder.
#[derive(Clone, Debug)]
struct Layout {
    root: PathBuf,
}

impl Layout {
    fn identity(&self) -> PathBuf {
        self.root.join("identity.txt")
    }

    fn wrapped_identity(&self) -> PathBuf {
        self.root.join("identity.age")
    }

    fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    fn record(&self, name: &crate::model::Name) -> PathBuf {
        self.tokens().join(format!("{name}.age"))
    }
}

#[cfg(feature = "daemon")]
impl Layout {
    fn instance(&self) -> PathBuf {
        self.root.join("instance")
    }

    fn list(&self) -> PathBuf {
        self.root.join("list")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

fn store_error(path: &Path, what: impl Into<String>, source: std::io::Error) -> super::StoreError {
    let fix = fix_for(&source, path);
    super::StoreError { path: path.to_owned(), what: what.into(), fix, source: Some(source) }
}

fn store_fault(path: &Path, what: impl Into<String>, fix: impl Into<String>) -> super::StoreError {
    super::StoreError { path: path.to_owned(), what: what.into(), fix: Some(fix.into()), source: None }
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
