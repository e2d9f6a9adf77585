//! Files in a store's folder that say why it is not to be opened: it was given up, or it moves.

use std::fs;
#[cfg(feature = "daemon")]
use std::{io, path::Path};

#[cfg(feature = "daemon")]
use super::folder::store_error;
use super::{
    StoreError,
    folder::{Layout, store_fault},
    retired,
};
#[cfg(feature = "daemon")]
use crate::replace::{rewrite, sync_folder_of};

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To look after tokens, or to read them.
    Work,
    /// To end them all: also where that was begun before.
    Retire,
    /// To move them to another store, or from one: also where that was begun before.
    Migrate,
}

/// An error, where the store may not be opened for this.
pub(super) fn refuse(layout: &Layout, purpose: Purpose) -> Result<(), StoreError> {
    if purpose != Purpose::Retire {
        retired::refuse(layout)?;
    }
    if purpose == Purpose::Migrate {
        return Ok(());
    }
    let is_there = |path: &std::path::Path| fs::symlink_metadata(path).is_ok();
    if is_there(&layout.incoming()) {
        let fix = "run `influx-tokend store migrate` again, as before";
        return Err(store_fault(&layout.root, "is being moved here: some of it may be missing", fix));
    }
    if is_there(&layout.moved()) {
        let to = fs::read_to_string(layout.moved()).unwrap_or_default();
        let what = format!("was moved: {}", to.lines().next().unwrap_or_default());
        let fix = format!(
            "name that in [store], or remove {:?} to have the tokens of the list minted anew",
            layout.moved()
        );
        return Err(store_fault(&layout.root, what, fix));
    }
    Ok(())
}

/// While what is moved to this store is not all there. `from`: which store that is.
#[cfg(feature = "daemon")]
pub(super) fn expect(layout: &Layout, from: &Path) -> Result<(), StoreError> {
    write(&layout.incoming(), &line("from", from))
}

/// Whether it is that store that is being moved to this one.
#[cfg(feature = "daemon")]
pub(super) fn expects(layout: &Layout, from: &Path) -> bool {
    says(&layout.incoming(), &line("from", from))
}

/// All of it is there.
#[cfg(feature = "daemon")]
pub(super) fn arrived(layout: &Layout) -> Result<(), StoreError> {
    let mark = layout.incoming();
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(store_error(&mark, "cannot be removed", error))
        }
        _ => sync_folder_of(&mark).map_err(|error| store_error(&mark, "cannot be made durable", error)),
    }
}

/// From now on this store is another one.
#[cfg(feature = "daemon")]
pub(super) fn gone(layout: &Layout, to: &Path) -> Result<(), StoreError> {
    write(&layout.moved(), &line("to", to))
}

/// Whether it has been moved, and there.
#[cfg(feature = "daemon")]
pub(super) fn is_gone(layout: &Layout, to: &Path) -> Result<bool, StoreError> {
    let mark = layout.moved();
    if fs::symlink_metadata(&mark).is_err() {
        return Ok(false);
    }
    if says(&mark, &line("to", to)) {
        return Ok(true);
    }
    Err(store_fault(&layout.root, "was moved to another store", format!("see what {mark:?} says")))
}

#[cfg(feature = "daemon")]
fn line(word: &str, path: &Path) -> String {
    format!("{word} {}\n", path.display())
}

#[cfg(feature = "daemon")]
fn says(mark: &Path, text: &str) -> bool {
    fs::read_to_string(mark).is_ok_and(|said| said == text)
}

#[cfg(feature = "daemon")]
fn write(mark: &Path, text: &str) -> Result<(), StoreError> {
    rewrite(mark, text.as_bytes()).map_err(|error| store_error(mark, "cannot be written", error))
}
