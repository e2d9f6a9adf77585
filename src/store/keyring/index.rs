//! What the keyring must have: a file beside it, so that one that was reset or put back from a backup is noticed.

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Marker, Name, Record, TokenId},
    replace::rewrite,
    store::{
        StoreError, file,
        folder::{Layout, store_error, store_fault},
    },
};

/// The largest one: ten thousand names with a few tokens each.
const MAX_BYTES: u64 = 16 << 20;

/// The content of `index`. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    version: u32,
    pub(super) tokens: BTreeMap<Name, Entry>,
}

/// What is known of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Which writing of it the keyring has acknowledged last; 0: none.
    pub(super) revision: u64,
    /// Which one it may have as well, for a crash may come between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// The tokens in it, for a person to end if it is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ids: Vec<TokenId>,
    /// What tokens bear that may have been minted and are not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) markers: Vec<Marker>,
}

/// What was about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pending {
    Written(u64),
    Removed,
}

impl Entry {
    /// What this record has is in the item now.
    pub(super) fn describe(&mut self, record: &Record) {
        self.ids = record.held().map(|held| held.id.clone()).collect();
        self.markers = record.intents.iter().map(|intent| intent.marker.clone()).collect();
    }

    /// The same, beside what is there already.
    pub(super) fn describe_too(&mut self, record: &Record) {
        let before = self.clone();
        self.describe(record);
        self.ids.extend(before.ids.into_iter().filter(|id| !record.held().any(|held| held.id == *id)));
        self.markers.extend(before.markers);
        self.markers.dedup();
    }
}

impl Index {
    pub(super) fn empty() -> Self {
        Self { version: 1, tokens: BTreeMap::new() }
    }

    /// `None` where there is none.
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>, StoreError> {
        let path = layout.index();
        let bytes = match file::read(&path, MAX_BYTES) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error(&path, "cannot read the index", error)),
        };
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| {
            store_fault(&path, format!("is no index: {error}"), "put it back from a backup")
        })?;
        if index.version != 1 {
            let what = format!("has version {}, this program reads 1", index.version);
            return Err(store_fault(&path, what, "run the influx-tokend that wrote it, or a later one"));
        }
        Ok(Some(index))
    }

    /// Durably.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), StoreError> {
        let path = layout.index();
        let json = serde_json::to_vec(self).map_err(io::Error::other);
        json.and_then(|json| rewrite(&path, &json))
            .map_err(|error| store_error(&path, "cannot write the index", error))
    }

    /// Whether the keyring has acknowledged any item.
    pub(super) fn expects_items(&self) -> bool {
        self.tokens.values().any(|entry| entry.revision > 0 && entry.pending != Some(Pending::Removed))
    }
}
