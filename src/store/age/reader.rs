//! Reading records. No lock, no async runtime: they are replaced atomically, so a reader sees the old or the new.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use age::DecryptError;
use zeroize::Zeroizing;

use super::{Identities, IdentitySource, MAX_SEALED_BYTES, Plugins, Unwrap, plugin::PluginError};
use crate::{
    model::{CommonValues, MAX_RECORD_BYTES, Name},
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
        plugins: Plugins,
    ) -> Result<Self, StoreError> {
        let layout = Layout { root: path.to_owned() };
        fs::metadata(path).map_err(|error| store_error(path, "cannot open the store", error))?;
        marks::refuse(&layout, Purpose::Work)?;
        refuse_keyring(&layout)?;
        let identities = Identities::open(&layout, identity, unwrap_with, plugins)?.ok_or_else(|| {
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
        let common = &mut CommonValues::default();
        self.open_record(name, common).map_err(|unopened| self.record_error(name, unopened))
    }

    fn record_error(&self, name: &Name, unopened: Unopened) -> RecordError {
        let fault = match unopened {
            Unopened::Fault(fault) => fault,
            Unopened::Plugin(error) => RecordFault::Unreadable(error.to_string()),
        };
        RecordError { name: name.clone(), file: self.layout.record(name), fault }
    }

    fn open_record(&self, name: &Name, common: &mut CommonValues) -> Result<Option<Stored>, Unopened> {
        let path = self.layout.record(name);
        let fault = Unopened::Fault;
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
        let json = self.decrypt(&sealed, MAX_RECORD_BYTES)?;
        let mut record = content::parse(&json).map_err(fault)?;
        if record.name != *name {
            return Err(fault(RecordFault::Renamed { inside: record.name.to_string() }));
        }
        common.share(name, &mut record);
        Ok(Some(Stored { record: Arc::new(record), revision }))
    }

    /// All records. Opening one is arithmetic, so both cores of a small board take part.
    ///
    /// # Errors
    /// The folder cannot be read, or a plugin opens none; a record that cannot be read is an error of its own in the
    /// result.
    pub fn load(&self) -> Result<Records, StoreError> {
        let mut read = self.read_all()?;
        let is_refused = |(_, read): &(Name, Read)| matches!(read, Err(Unopened::Plugin(_)));
        if read.iter().all(is_refused)
            && let Some((_, Err(Unopened::Plugin(error)))) = read.pop()
        {
            // Its device is not there, say: that is no fault of the records.
            return Err(error.of_store(&self.layout.root));
        }
        let told = |(name, read): (Name, Read)| {
            let read = read.map_err(|unopened| self.record_error(&name, unopened));
            (name, read)
        };
        Ok(read.into_iter().map(told).collect())
    }

    fn read_all(&self) -> Result<Vec<(Name, Read)>, StoreError> {
        let names = self.names()?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let share = names.len().div_ceil(threads).max(1);
        let read_some = |names: &[Name]| -> Result<Vec<(Name, Read)>, StoreError> {
            let mut common = CommonValues::default();
            let read =
                names.iter().filter_map(|name| match self.open_record(name, &mut common).transpose()? {
                    // It would not open the next one either, each after its whole time.
                    Err(Unopened::Plugin(error)) if !error.is_refusal => {
                        Some(Err(error.of_store(&self.layout.root)))
                    }
                    read => Some(Ok((name.clone(), read))),
                });
            read.collect()
        };
        if names.len() < 16 {
            return read_some(&names);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> =
                names.chunks(share).map(|names| scope.spawn(move || read_some(names))).collect();
            let mut records = Vec::with_capacity(names.len());
            for part in parts {
                let read = part.join().map_err(|_| {
                    store_fault(&self.layout.root, "reading the records failed", "report this with the log")
                })?;
                records.extend(read?);
            }
            Ok(records)
        })
    }

    pub(super) fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let reader = age::Decryptor::new_buffered(sealed)?.decrypt(self.identities.iter())?;
        let mut clear = Zeroizing::new(Vec::with_capacity(sealed.len().min(limit) + 1));
        reader
            .take(limit as u64 + 1)
            .read_to_end(&mut clear)
            .map_err(|_| RecordFault::Damaged("its content ends too early or was changed".to_owned()))?;
        if clear.len() > limit {
            return Err(RecordFault::TooLarge(limit as u64).into());
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

/// A record that is there, read or not.
type Read = Result<Stored, Unopened>;

/// Why a sealed file was not opened.
#[derive(Debug)]
pub(super) enum Unopened {
    Fault(RecordFault),
    Plugin(PluginError),
}

impl From<RecordFault> for Unopened {
    fn from(fault: RecordFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<DecryptError> for Unopened {
    fn from(error: DecryptError) -> Self {
        let error = match PluginError::of_decryption(error) {
            Ok(error) => return Self::Plugin(error),
            Err(error) => error,
        };
        Self::Fault(match error {
            DecryptError::NoMatchingKeys => RecordFault::SealedForAnother,
            DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                RecordFault::Damaged("its header ends too early".to_owned())
            }
            _ => RecordFault::Damaged("it is no age file, or was changed".to_owned()),
        })
    }
}
