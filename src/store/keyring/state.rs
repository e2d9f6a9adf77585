//! What the thread of a keyring works with: its items, and what they must be.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    index::{Entry, Index, Pending},
    items::{Fault, Item, Items, Unusable},
};
use crate::{
    model::{MAX_RECORD_BYTES, Name, Record},
    store::{
        RecordError, RecordFault, Records, Revision, SealError, StoreError, Stored, content,
        folder::{Layout, store_fault},
    },
};

/// The first line of an item, but for its revision.
const HEADER: &str = "influx-tokend 1 ";

pub(super) struct State {
    layout: Layout,
    index: Index,
    items: Box<dyn Items>,
}

impl State {
    pub(super) fn new(layout: Layout, index: Index, items: Box<dyn Items>) -> Self {
        Self { layout, index, items }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.layout.root.clone()
    }

    /// A store is made only where the keyring has none of this folder.
    pub(super) fn must_be_empty(&mut self) -> Result<(), StoreError> {
        let found = self.items.all().map_err(|fault| unavailable(&self.layout.root, &fault))?;
        if found.is_empty() {
            return Ok(());
        }
        let what =
            format!("the keyring has {} of this folder, and the folder has no index", items(found.len()));
        let fix = "put the folder back from a backup, or take those items out of the keyring to begin afresh";
        Err(store_fault(&self.layout.root, what, fix))
    }

    /// All records; the index says afterwards what was found.
    pub(super) fn load(&mut self) -> Result<Records, StoreError> {
        let records = self.look()?;
        let before = self.index.clone();
        self.index.tokens.retain(|name, _| records.contains_key(name));
        for (name, read) in &records {
            if let Ok(Stored { record, revision }) = read {
                let entry = self.index.tokens.entry(name.clone()).or_default();
                (entry.revision, entry.pending) = (revision.0[0], None);
                entry.describe(record);
            }
        }
        if self.index != before {
            self.index.write(&self.layout)?;
        }
        Ok(records)
    }

    /// All records; nothing is written.
    pub(super) fn look(&mut self) -> Result<Records, StoreError> {
        let found = self.items.all().map_err(|fault| unavailable(&self.layout.root, &fault))?;
        if found.is_empty() && self.index.expects_items() {
            return Err(self.emptied());
        }
        // What is not called like a token is a person's own.
        let mut found: BTreeMap<Name, Item> =
            found.into_iter().filter_map(|(name, item)| Some((name.parse().ok()?, item))).collect();
        let known = self.index.tokens.keys().cloned();
        let names: Vec<Name> = known.chain(found.keys().cloned()).collect();
        let mut records = Records::new();
        for name in names {
            if records.contains_key(&name) {
                continue;
            }
            if let Some(read) = self.judge(&name, found.remove(&name)).transpose() {
                records.insert(name, read);
            }
        }
        Ok(records)
    }

    pub(super) fn read(&mut self, name: &Name) -> Result<Option<Stored>, RecordError> {
        let item = self.items.get(name);
        let item = item.map_err(|fault| unreadable(&self.layout, name, &fault.to_string()))?;
        self.judge(name, item)
    }

    /// What an item says, if it is the one that must be there.
    fn judge(&self, name: &Name, item: Option<Item>) -> Result<Option<Stored>, RecordError> {
        let fault = |fault| RecordError { name: name.clone(), file: self.layout.index(), fault };
        let entry = self.index.tokens.get(name);
        let bytes = match (item, entry) {
            (Some(Ok(bytes)), _) => bytes,
            (Some(Err(Unusable::TooLarge)), _) => {
                return Err(fault(RecordFault::TooLarge(MAX_RECORD_BYTES as u64)));
            }
            (Some(Err(Unusable::Several)), _) => {
                return Err(fault(RecordFault::Damaged("the keyring has several items of it".to_owned())));
            }
            (None, None) => return Ok(None),
            // Never acknowledged, or about to be taken out.
            (None, Some(Entry { revision: 0, .. } | Entry { pending: Some(Pending::Removed), .. })) => {
                return Ok(None);
            }
            (None, Some(entry)) => return Err(fault(RecordFault::Missing { ids: entry.ids.clone() })),
        };
        let (revision, record) = decode(&bytes).map_err(fault)?;
        if record.name != *name {
            return Err(fault(RecordFault::Renamed { inside: record.name.to_string() }));
        }
        if let Some(entry) = entry
            && revision < entry.revision
        {
            return Err(fault(RecordFault::Older { ids: entry.ids.clone() }));
        }
        Ok(Some(Stored { record: record.into(), revision: Revision([revision, 0, 0, 0]) }))
    }

    /// Writes an item: the index says so before, and that it was acknowledged after it has been read back.
    pub(super) fn seal(&mut self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let name = &record.name;
        let before = self.revision_now(name)?;
        if before.map(|revision| Revision([revision, 0, 0, 0])) != read {
            return Err(SealError::Changed(name.clone()));
        }
        let mut entry = self.index.tokens.get(name).cloned().unwrap_or_default();
        let revision = entry.revision.max(before.unwrap_or_default()) + 1;
        entry.pending = Some(Pending::Written(revision));
        entry.describe_too(record);
        self.note(name, Some(entry.clone()))?;
        let value = encode(revision, record);
        let failed = |fault: Fault| SealError::Failed(unavailable(&self.layout.root, &fault));
        self.items.set(name, &value).map_err(failed)?;
        let there = self.items.get(name).map_err(failed)?;
        if !there.is_some_and(|item| item.is_ok_and(|bytes| *bytes == *value)) {
            let fix = "see what else writes to the keyring of this user";
            let what = format!("the keyring does not give back what was sealed for {name}");
            return Err(store_fault(&self.layout.root, what, fix).into());
        }
        (entry.revision, entry.pending) = (revision, None);
        entry.describe(record);
        self.note(name, Some(entry))?;
        Ok(Revision([revision, 0, 0, 0]))
    }

    pub(super) fn remove(&mut self, name: &Name, read: Revision) -> Result<(), SealError> {
        if self.revision_now(name)?.map(|revision| Revision([revision, 0, 0, 0])) != Some(read) {
            return Err(SealError::Changed(name.clone()));
        }
        let mut entry = self.index.tokens.get(name).cloned().unwrap_or_default();
        entry.pending = Some(Pending::Removed);
        self.note(name, Some(entry))?;
        self.items.remove(name).map_err(|fault| unavailable(&self.layout.root, &fault))?;
        Ok(self.note(name, None)?)
    }

    /// Takes every item out, and then what says that there were any.
    pub(super) fn wipe(&mut self) -> Result<(), StoreError> {
        let failed = |fault: Fault| unavailable(&self.layout.root, &fault);
        let found = self.items.all().map_err(failed)?;
        for name in found.iter().filter_map(|(name, _)| name.parse().ok()) {
            self.items.remove(&name).map_err(failed)?;
        }
        self.index = Index::empty();
        Ok(())
    }

    /// Which writing of an item there is.
    fn revision_now(&mut self, name: &Name) -> Result<Option<u64>, StoreError> {
        let item = self.items.get(name).map_err(|fault| unavailable(&self.layout.root, &fault))?;
        // Of one that cannot be read nobody has a revision.
        Ok(item.map(|item| item.ok().and_then(|bytes| Some(split(&bytes)?.0)).unwrap_or(u64::MAX)))
    }

    fn note(&mut self, name: &Name, entry: Option<Entry>) -> Result<(), StoreError> {
        let mut index = self.index.clone();
        match entry {
            Some(entry) => _ = index.tokens.insert(name.clone(), entry),
            None => _ = index.tokens.remove(name),
        }
        index.write(&self.layout)?;
        self.index = index;
        Ok(())
    }

    fn emptied(&self) -> StoreError {
        let known = self.index.tokens.len();
        let what =
            format!("the keyring has none of this store's {}: it was reset, or is another", items(known));
        let fix = format!(
            "put the keyring back, or see that the right one is open; to give up what was in it, move {:?} away: the tokens \
             in it live on and are to be ended on their server",
            self.layout.root
        );
        store_fault(&self.layout.root, what, fix)
    }
}

fn items(count: usize) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

/// Of a record that the keyring does not let us see.
pub(super) fn unreadable(layout: &Layout, name: &Name, why: &str) -> RecordError {
    RecordError { name: name.clone(), file: layout.index(), fault: RecordFault::Unreadable(why.to_owned()) }
}

fn unavailable(root: &Path, fault: &Fault) -> StoreError {
    let fix = match fault {
        Fault::Locked => {
            "unlock it: log in where it asks for the password, or run `gnome-keyring-daemon --unlock`"
        }
        Fault::Unavailable(_) => {
            "see that a Secret Service runs for this user (gnome-keyring, KWallet, KeePassXC), with a default collection, on \
             the bus that DBUS_SESSION_BUS_ADDRESS names"
        }
    };
    store_fault(root, fault.to_string(), fix)
}

fn encode(revision: u64, record: &Record) -> Zeroizing<Vec<u8>> {
    let json = record.to_json();
    // Sized beforehand: growing would leave a copy behind that nothing wipes.
    let mut value = Zeroizing::new(Vec::with_capacity(json.len() + HEADER.len() + 24));
    let _infallible = writeln!(value, "{HEADER}{revision}");
    value.extend_from_slice(&json);
    value
}

/// Revision and JSON of an item.
fn split(item: &[u8]) -> Option<(u64, &[u8])> {
    let end = item.iter().take(64).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(item.get(..end)?).ok()?;
    Some((line.strip_prefix(HEADER)?.parse().ok()?, item.get(end + 1..)?))
}

fn decode(item: &[u8]) -> Result<(u64, Record), RecordFault> {
    let no_item = || RecordFault::Damaged("its item is none of influx-tokend's".to_owned());
    let (revision, json) = split(item).ok_or_else(no_item)?;
    Ok((revision, content::parse(json)?))
}
