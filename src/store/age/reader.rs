//! Reading records. No lock, no async runtime: they are replaced atomically, so a reader sees the old or the new.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use age::DecryptError;
use zeroize::Zeroizing;

use super::{Identities, IdentitySource, MAX_SEALED_BYTES, Unwrap};
use crate::{
    model::{Allow, MAX_RECORD_BYTES, Name, share},
    store::{
        Purpose, RecordError, RecordFault, Records, StoreError, Stored, content, file,
        folder::{Layout, refuse_keyring, store_error, store_fault},
        marks,
    },
};

/// Opens the records of a store.
#[derive(Clone, Debug)]
pub struct AgeReader {
    pub(super) layout: Layout,
    pub(super) identities: Arc<Identities>,
}

impl AgeReader {
    /// Over an existing store.
    ///
    /// # Errors
    /// The folder, or what opens its files, is not available.
    pub fn open(
        path: &Path,
        identity: &IdentitySource,
        unwrap_with: &mut dyn Unwrap,
    ) -> Result<Self, StoreError> {
        let layout = Layout { root: path.to_owned() };
        fs::metadata(path).map_err(|error| store_error(path, "cannot open the store", error))?;
        marks::refuse(&layout, Purpose::Work)?;
        refuse_keyring(&layout)?;
        let identities = Identities::open(&layout, identity, unwrap_with)?.ok_or_else(|| {
            store_fault(path, "has no identity", "name the store's folder, or its identity with `--identity`")
        })?;
        Ok(Self { layout, identities: Arc::new(identities) })
    }

    /// The names that have a record, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, StoreError> {
        let folder = self.layout.tokens();
        let failed = |error| store_error(&folder, "cannot list the records", error);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file_name = entry.map_err(failed)?.file_name();
            // What is not called like a record is none: a leftover that the next start removes, or a person's copy.
            names.extend(
                file_name
                    .to_str()
                    .and_then(|name| name.strip_suffix(".age"))
                    .and_then(|name| name.parse().ok()),
            );
        }
        names.sort_unstable();
        Ok(names)
    }

    /// One record; `None` where there is none.
    ///
    /// # Errors
    /// There is one that cannot be used.
    pub fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        self.read_sharing(name, &mut BTreeSet::new())
    }

    /// The same, with the `allow` that others have too.
    fn read_sharing(
        &self,
        name: &Name,
        allows: &mut BTreeSet<Arc<Allow>>,
    ) -> Result<Option<Stored>, RecordError> {
        let path = self.layout.record(name);
        let fault = |fault| RecordError { name: name.clone(), file: path.clone(), fault };
        let (sealed, revision) = match file::read(&path, MAX_SEALED_BYTES) {
            Ok(read) => read,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::NotFound => Ok(None),
                    io::ErrorKind::FileTooLarge => Err(fault(RecordFault::TooLarge(MAX_SEALED_BYTES))),
                    _ => Err(fault(RecordFault::Unreadable(error.to_string()))),
                };
            }
        };
        let json = self.decrypt(&sealed, MAX_RECORD_BYTES).map_err(fault)?;
        let mut record = content::parse(&json).map_err(fault)?;
        if record.name != *name {
            return Err(fault(RecordFault::Renamed { inside: record.name.to_string() }));
        }
        record.name.clone_from(name);
        share(allows, &mut record.allow);
        Ok(Some(Stored { record: Arc::new(record), revision }))
    }

    /// All records. Opening one is arithmetic, so both cores of a small board take part.
    ///
    /// # Errors
    /// The folder cannot be read; a record that cannot is an error of its own in the result.
    pub fn load(&self) -> Result<Records, StoreError> {
        let names = self.names()?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let share = names.len().div_ceil(threads).max(1);
        let read_some = |names: &[Name]| -> Vec<(Name, Result<Stored, RecordError>)> {
            let mut allows = BTreeSet::new();
            let mut read = |name| self.read_sharing(name, &mut allows).transpose();
            names.iter().filter_map(|name| Some((name.clone(), read(name)?))).collect()
        };
        if names.len() < 16 {
            return Ok(read_some(&names).into_iter().collect());
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> =
                names.chunks(share).map(|names| scope.spawn(move || read_some(names))).collect();
            let mut records = Records::new();
            for part in parts {
                records.extend(part.join().map_err(|_| {
                    store_fault(&self.layout.root, "reading the records failed", "report this with the log")
                })?);
            }
            Ok(records)
        })
    }

    pub(super) fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, RecordFault> {
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(|error| fault_of(&error))?;
        let reader = decryptor.decrypt(self.identities.iter()).map_err(|error| fault_of(&error))?;
        let mut clear = Zeroizing::new(Vec::with_capacity(sealed.len().min(limit) + 1));
        reader
            .take(limit as u64 + 1)
            .read_to_end(&mut clear)
            .map_err(|_| RecordFault::Damaged("its content ends too early or was changed".to_owned()))?;
        if clear.len() > limit {
            return Err(RecordFault::TooLarge(limit as u64));
        }
        Ok(clear)
    }

    /// Whose tokens are ours; `None` where the store has not been made yet.
    ///
    /// # Errors
    /// It cannot be read.
    #[cfg(feature = "daemon")]
    pub fn instances(&self) -> Result<Option<crate::store::Instances>, StoreError> {
        let file = crate::store::instance::InstanceFile::read(&self.layout.instance())?;
        Ok(file.map(|file| file.instances()))
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.layout.root.clone()
    }
}

fn fault_of(error: &DecryptError) -> RecordFault {
    match error {
        DecryptError::NoMatchingKeys => RecordFault::SealedForAnother,
        DecryptError::Plugin(_) | DecryptError::PluginResolve(_) => {
            RecordFault::Unreadable("the age plugin does not open it".to_owned())
        }
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            RecordFault::Damaged("its header ends too early".to_owned())
        }
        _ => RecordFault::Damaged("it is no age file, or was changed".to_owned()),
    }
}
