//! A store that was retired, or is being retired: a file says so. While it is there nothing opens the store, so that no
//! daemon mints anew what a person has ended.

#[cfg(feature = "daemon")]
use std::io;
use std::{fs, path::Path};

#[cfg(feature = "daemon")]
use super::folder::store_error;
use super::{
    StoreError,
    folder::{Layout, store_fault},
};
#[cfg(feature = "daemon")]
use crate::replace::sync_folder_of;

/// Whether a store was retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// It was not.
    No,
    /// It was begun: there are records left.
    Begun,
    /// Nothing is left in it.
    Wholly,
}

impl Retired {
    /// Of the store in this folder, if there is one. What may not be looked at is for its opening to tell.
    #[must_use]
    pub fn of(store: &Path) -> Self {
        let layout = Layout { root: store.to_owned() };
        if fs::symlink_metadata(layout.retired()).is_err() {
            return Self::No;
        }
        let is_left = fs::read_dir(layout.tokens()).is_ok_and(|mut records| records.next().is_some())
            || fs::symlink_metadata(layout.index()).is_ok();
        if is_left { Self::Begun } else { Self::Wholly }
    }
}

/// An error, where it was.
pub(super) fn refuse(layout: &Layout) -> Result<(), StoreError> {
    let mark = layout.retired();
    match Retired::of(&layout.root) {
        Retired::No => Ok(()),
        Retired::Begun => Err(store_fault(
            &layout.root,
            "is being retired: some of its tokens may be left",
            "run `influx-tokend retire` again",
        )),
        Retired::Wholly => Err(store_fault(
            &layout.root,
            "was retired: its tokens are revoked",
            format!("remove {mark:?} to have the tokens of the list minted anew"),
        )),
    }
}

/// Takes everything out of the store but what says that it was retired: the records first, what opens them last.
#[cfg(feature = "daemon")]
pub(super) fn wipe(layout: &Layout) -> Result<(), StoreError> {
    let tokens = layout.tokens();
    let failed = |error| store_error(&tokens, "the records cannot be removed", error);
    let mut records = Vec::new();
    match fs::read_dir(&tokens) {
        Ok(entries) => {
            for entry in entries {
                records.push(entry.map_err(failed)?.path());
            }
            records.iter().try_for_each(|path| remove(path))?;
            sync_folder_of(&tokens.join("any")).map_err(failed)?;
        }
        // A store in a keyring has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    [layout.index(), layout.list()].iter().try_for_each(|path| remove(path))?;
    // An instance alone, or an identity, is a store that has lost something: a crash between them leaves one that opens.
    let (instance, drawn) = (layout.instance(), layout.drawn_instance());
    match fs::rename(&instance, &drawn) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(store_error(&instance, "cannot be removed", error));
        }
        _ => {}
    }
    [layout.identity(), layout.wrapped_identity(), drawn].iter().try_for_each(|path| remove(path))?;
    let mark = layout.retired();
    sync_folder_of(&mark).map_err(|error| store_error(&mark, "cannot be made durable", error))
}

/// Also if it is gone already: a crash may have come between.
#[cfg(feature = "daemon")]
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(store_error(path, "cannot be removed", error))
        }
        _ => Ok(()),
    }
}

/// What the file says to who finds it.
#[cfg(feature = "daemon")]
pub(super) const MARK: &str = "This store was retired: influx-tokend has ended the tokens of this host.\n\
     As long as this file is here, it mints none. Remove it to have the tokens of the list minted anew.\n";
