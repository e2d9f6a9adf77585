//! Sealing records: the one process that holds the lock.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use age::{EncryptError, secrecy::ExposeSecret as _};
use zeroize::Zeroizing;

use super::{
    AgeReader, Identities, IdentitySource, Keys, MAX_SEALED_BYTES, Plugins, identity::parse_recipients,
    plugin::PluginError, reader::Unopened,
};
use crate::{
    hint::Hint,
    model::{Name, Record},
    replace::{Replace, create, rewrite, sync_folder_of},
    store::{
        Instances, Machine, Purpose, RecordError, RecordFault, Records, Revision, SealError, Store,
        StoreError, Stored, blocking, file,
        folder::{Layout, refuse_keyring, store_error, store_fault},
        hold::{Hold, make_folder, remove_leftovers, take_lock},
        instance::InstanceFile,
        marks, retired,
    },
};

/// The largest list (it is sealed too).
const MAX_LIST_BYTES: usize = 16 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The folder.
    pub path: PathBuf,
    /// What opens its files.
    pub identity: IdentitySource,
    /// Who else may open what is sealed from now on.
    pub recipients: Vec<String>,
    /// What tells this machine from another.
    pub machine_id: PathBuf,
    /// Unwraps the identity, where it is wrapped.
    pub keys: Keys,
    /// A file with what else may open records; nothing is sealed for it.
    pub also_opened_by: Option<PathBuf>,
    /// How age plugins are run.
    pub plugins: Plugins,
    /// What for: a store that is being given up or moved is opened for that only.
    pub purpose: Purpose,
}

/// Why a store was not sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Hint for ResealError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Record(RecordError { fault: RecordFault::SealedForAnother, .. }) => {
                Some("name the identity that opened it until now with `--opened-by FILE`".to_owned())
            }
            Self::Record(error) => error.hint(),
            Self::Seal(error) => error.hint(),
        }
    }
}

/// A store, held by this process alone. Cheap to clone.
#[derive(Clone)]
pub struct AgeStore {
    inner: Arc<Inner>,
}

struct Inner {
    reader: AgeReader,
    recipients: Vec<Box<dyn age::Recipient + Send + Sync>>,
    folder: Hold,
}

impl std::fmt::Debug for AgeStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgeStore({:?})", self.inner.reader.layout.root)
    }
}

impl AgeStore {
    /// Opens a store, or makes one where there is none. Identity and instance are drawn only where there is neither
    /// of them nor any record: a missing one means that the store is not available, never that it is empty.
    ///
    /// # Errors
    /// It is not available: held by another process, somebody else's, incomplete, or refused by the system.
    pub fn open(options: OpenOptions) -> Result<Self, StoreError> {
        let layout = Layout { root: options.path.clone() };
        make_folder(&layout.root)?;
        let lock = take_lock(&layout)?;
        marks::refuse(&layout, options.purpose)?;
        refuse_keyring(&layout)?;
        make_folder(&layout.tokens())?;
        remove_leftovers(&[&layout.root, &layout.tokens()])?;
        let plugins = options.plugins;
        let identities = Identities::open(&layout, &options.identity, &mut options.keys.clone(), plugins)?;
        let has_records = holds_records(&layout)?;
        let (mut identities, instance) = complete(&layout, &options, identities, has_records)?;
        if let Some(path) = &options.also_opened_by {
            identities.read_with(path, &mut options.keys.clone(), plugins)?;
        }
        let recipients = parse_recipients(&options.recipients, &layout.root, plugins)?;
        let reader = AgeReader { layout: layout.clone(), identities: Arc::new(identities) };
        let folder = Hold::new(layout, lock, instance, options.machine_id);
        Ok(Self { inner: Arc::new(Inner { reader, recipients, folder }) })
    }

    pub(in crate::store) fn hold(&self) -> &Hold {
        &self.inner.folder
    }

    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.reader.path()
    }

    /// Whether the store was made on this machine, as it was when the store was opened.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.inner.folder.machine()
    }

    /// Puts a record durably into the store; see [`Store::seal`]. After an error the file may be the old one or the
    /// new: it is never neither.
    ///
    /// # Errors
    /// Somebody else has written it since, or the system refuses.
    pub fn seal_record(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let path = self.inner.reader.layout.record(&record.name);
        let json = record.to_json();
        let failed = |error| SealError::Failed(unsealed(&path, "cannot seal the record", error));
        let mut file = Replace::new(&path).map_err(failed)?;
        let sealed = self.encrypt(&json).map_err(failed)?;
        file.write(&sealed).map_err(failed)?;
        if revision_at(&path).map_err(failed)? != read {
            return Err(SealError::Changed(record.name.clone()));
        }
        Ok(file::revision_of(&file.commit().map_err(failed)?))
    }

    /// Takes a record out of the store; see [`Store::remove`].
    ///
    /// # Errors
    /// Somebody else has written it since, or the system refuses.
    pub fn remove_record(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        let path = self.inner.reader.layout.record(name);
        let failed = |error| SealError::Failed(store_error(&path, "cannot remove the record", error));
        if revision_at(&path).map_err(failed)? != Some(read) {
            return Err(SealError::Changed(name.clone()));
        }
        fs::remove_file(&path).and_then(|()| sync_folder_of(&path)).map_err(failed)
    }

    /// The last accepted list, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn accepted_list(&self) -> Result<Option<Zeroizing<String>>, StoreError> {
        let path = self.inner.reader.layout.list();
        let (sealed, _) = match file::read(&path, MAX_SEALED_BYTES) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error(&path, "cannot read the accepted list", error)),
        };
        let mut text =
            self.inner.reader.decrypt(&sealed, MAX_LIST_BYTES).map_err(|unopened| match unopened {
                Unopened::Fault(fault) => {
                    store_fault(&path, fault.to_string(), "correct the list: it is then sealed anew")
                }
                Unopened::Plugin(error) => error.of_store(&path),
            })?;
        let text = String::from_utf8(std::mem::take(&mut *text))
            .map_err(|_| store_fault(&path, "is not text", "correct the list: it is then sealed anew"))?;
        Ok(Some(Zeroizing::new(text)))
    }

    /// Seals the list that is in force from now on, if it is another than before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn seal_list(&self, text: &str) -> Result<(), StoreError> {
        if self.accepted_list().is_ok_and(|known| known.is_some_and(|known| *known == text)) {
            return Ok(());
        }
        self.write_list(text)
    }

    fn write_list(&self, text: &str) -> Result<(), StoreError> {
        let path = self.inner.reader.layout.list();
        let sealed = self.encrypt(text.as_bytes());
        sealed
            .and_then(|sealed| rewrite(&path, &sealed))
            .map_err(|error| unsealed(&path, "cannot seal the list", error))
    }

    /// Seals everything anew, for whom it is sealed now. Where it is interrupted, some of it is.
    ///
    /// # Errors
    /// Something cannot be read, and nothing was sealed; or it could not be sealed.
    pub fn reseal(&self) -> Result<usize, ResealError> {
        let records = self.inner.reader.load()?;
        let records: Vec<Stored> = records.into_values().collect::<Result<_, _>>()?;
        let list = self.accepted_list()?;
        for Stored { record, revision } in &records {
            self.seal_record(record, Some(*revision))?;
        }
        if let Some(text) = list {
            self.write_list(&text)?;
        }
        Ok(records.len())
    }

    /// From now on nothing opens this store but who goes on to retire it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin_to_retire(&self) -> Result<(), StoreError> {
        self.inner.folder.begin_to_retire()
    }

    /// Takes everything out of the store, after [`Self::begin_to_retire`]; what opens it too, if that is kept in it.
    ///
    /// # Errors
    /// Something is left.
    pub fn wipe(&self) -> Result<(), StoreError> {
        retired::wipe(&self.inner.reader.layout)
    }

    /// This machine takes the place of the one that the store was made on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take_over(&self) -> Result<(), StoreError> {
        self.inner.folder.take_over()
    }

    fn encrypt(&self, clear: &[u8]) -> io::Result<Vec<u8>> {
        let own = self.inner.reader.identities.recipients();
        let others = self.inner.recipients.iter().map(|recipient| recipient.as_ref() as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(own.chain(others)).map_err(|error| match error {
            EncryptError::Io(error) => error,
            error => io::Error::other(error),
        })?;
        let mut sealed = Vec::with_capacity(clear.len() + 1024);
        let mut writer = encryptor.wrap_output(&mut sealed)?;
        writer.write_all(clear)?;
        writer.finish()?;
        Ok(sealed)
    }

    async fn off_thread<R: Send + 'static>(&self, work: impl FnOnce(&Self) -> R + Send + 'static) -> R {
        let store = self.clone();
        blocking(move || work(&store)).await
    }
}

impl Store for AgeStore {
    async fn load(&self) -> Result<Records, StoreError> {
        self.off_thread(|store| store.inner.reader.load()).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        let name = name.clone();
        self.off_thread(move |store| store.inner.reader.read(&name)).await
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let record = record.clone();
        self.off_thread(move |store| store.seal_record(&record, read)).await
    }

    async fn remove(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        let name = name.clone();
        self.off_thread(move |store| store.remove_record(&name, read)).await
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        Ok(self.inner.folder.instances())
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        self.off_thread(|store| store.inner.folder.renew()).await
    }
}

/// The fix, where a plugin is the cause, is not the file's.
fn unsealed(path: &Path, what: &str, error: io::Error) -> StoreError {
    let fix = PluginError::of(&error).map(PluginError::fix);
    let unsealed = store_error(path, what, error);
    StoreError { fix: fix.or(unsealed.fix), ..unsealed }
}

fn revision_at(path: &Path) -> io::Result<Option<Revision>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(file::revision_of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Draws what a new store lacks. Both are on disk before either has its name, so that a crash between them leaves
/// something to go on from.
fn complete(
    layout: &Layout,
    options: &OpenOptions,
    identities: Option<Identities>,
    has_records: bool,
) -> Result<(Identities, InstanceFile), StoreError> {
    let path = layout.instance();
    let drawn = layout.drawn_instance();
    let missing = |what: &str| {
        let what = format!("the store has {what}");
        store_fault(
            &layout.root,
            what,
            "put it back from a backup; nothing is minted in place of what may be sealed",
        )
    };
    match (identities, InstanceFile::read(&path)?) {
        (Some(identities), Some(instance)) => Ok((identities, instance)),
        (None, Some(_)) => Err(missing("an instance and no identity")),
        (_, None) if has_records => Err(missing("records and no instance")),
        (Some(identities), None)
            if matches!(options.identity, IdentitySource::OfStore) && !drawn.exists() =>
        {
            drop(identities);
            Err(missing("an identity and no instance"))
        }
        (identities, None) => {
            let instance = match InstanceFile::read(&drawn)? {
                Some(instance) if identities.is_some() => instance,
                _ => {
                    let _stale = fs::remove_file(&drawn);
                    let instance = InstanceFile::draw(&options.machine_id)?;
                    create(&drawn, &instance.to_json())
                        .map_err(|error| store_error(&path, "cannot write the instance", error))?;
                    instance
                }
            };
            let identities = match identities {
                Some(identities) => identities,
                None => {
                    let (identities, text) = Identities::generate();
                    create(&layout.identity(), text.expose_secret().as_bytes()).map_err(|error| {
                        store_error(&layout.identity(), "cannot write the identity", error)
                    })?;
                    identities
                }
            };
            fs::rename(&drawn, &path)
                .and_then(|()| sync_folder_of(&path))
                .map_err(|error| store_error(&path, "cannot write the instance", error))?;
            Ok((identities, instance))
        }
    }
}

/// Anything in the folder for records counts, whatever it is called.
fn holds_records(layout: &Layout) -> Result<bool, StoreError> {
    let folder = layout.tokens();
    let mut entries =
        fs::read_dir(&folder).map_err(|error| store_error(&folder, "cannot list the records", error))?;
    Ok(entries.next().is_some())
}
