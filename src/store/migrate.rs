//! A store moves to another: another kind, another place. Nothing is minted, and at no time do two stores have the same
//! instance and may both be opened: while the new one is filled it says that it is, and the old one says that it has moved
//! before the new one may be used.

use std::path::{Path, PathBuf};

use super::{
    HostStore, RecordError, Records, SealError, Store as _, StoreError, Stored,
    folder::Layout,
    hold::{exists, make_folder},
    marks,
};
use crate::{hint::Hint, model::Name};

/// Why a store was not moved, or not wholly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// One of the two is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read: it would be lost.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record cannot be sealed in the new store.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A record is a later program's: something in it would be lost.
    #[error("token {0}: its record was written by a later influx-tokend")]
    Later(Name),
    /// The new store has tokens of its own.
    #[error("store {path:?}: holds {records} records already")]
    NotEmpty {
        /// Its folder.
        path: PathBuf,
        /// How many.
        records: usize,
    },
    /// The new store does not give back what was sealed.
    #[error("token {0}: the new store does not give back its record")]
    Differs(Name),
}

impl Hint for MigrateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Seal(error) => error.hint(),
            Self::Later(_) => Some("run that influx-tokend, or a later one".to_owned()),
            Self::NotEmpty { .. } => Some("name a store that is not there yet in its [store]".to_owned()),
            Self::Differs(_) => Some("see what is wrong with it; the old store is as it was".to_owned()),
        }
    }
}

/// Says of a store that is not there yet that it is being filled, before it is made: to be called before it is opened.
///
/// # Errors
/// Its folder cannot be made.
pub fn prepare(to: &Path, from: &HostStore) -> Result<(), StoreError> {
    if exists(to) {
        return Ok(());
    }
    make_folder(to)?;
    marks::expect(&Layout { root: to.to_owned() }, &from.path())
}

/// Moves all that is in a store to another, and wipes the first. Both were opened for it; it may be called again after an
/// interruption. Returns how many records have moved.
///
/// # Errors
/// Before all of it has been found in the new store, the old one is as it was, and may be used again.
pub async fn migrate(from: &HostStore, to: &HostStore) -> Result<usize, MigrateError> {
    if !marks::is_gone(&from.hold().layout, &to.path())? {
        copy(from, to).await?;
        marks::gone(&from.hold().layout, &to.path())?;
    }
    marks::arrived(&to.hold().layout)?;
    let records = to.load().await?.len();
    from.wipe().await?;
    Ok(records)
}

async fn copy(from: &HostStore, to: &HostStore) -> Result<(), MigrateError> {
    let records = all_of(from).await?;
    let mut there = to.load().await?;
    if !marks::expects(&to.hold().layout, &from.path()) {
        if !there.is_empty() {
            return Err(MigrateError::NotEmpty { path: to.path(), records: there.len() });
        }
        marks::expect(&to.hold().layout, &from.path())?;
    }
    to.hold().adopt(from.hold())?;
    if let Some(list) = from.accepted_list().await? {
        to.seal_list(&list).await?;
    }
    for Stored { record, .. } in &records {
        match there.remove(&record.name).transpose()? {
            Some(stored) if stored.record == *record => {}
            before => _ = to.seal(record, before.map(|stored| stored.revision)).await?,
        }
    }
    // Of an earlier attempt: the old store has been in use since.
    for (name, stored) in there {
        to.remove(&name, stored?.revision).await?;
    }
    let mut moved: Records = to.load().await?;
    for Stored { record, .. } in records {
        match moved.remove(&record.name).transpose()? {
            Some(stored) if stored.record == record => {}
            _ => return Err(MigrateError::Differs(record.name.clone())),
        }
    }
    Ok(())
}

/// Every record, each of which can be written again as it is.
async fn all_of(store: &HostStore) -> Result<Vec<Stored>, MigrateError> {
    let mut all = Vec::new();
    for (name, read) in store.load().await? {
        let stored = read?;
        if !stored.is_ours_to_change() {
            return Err(MigrateError::Later(name));
        }
        all.push(stored);
    }
    Ok(all)
}
