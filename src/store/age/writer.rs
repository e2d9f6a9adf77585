//! Sealing records: the one process that holds the lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions as FileOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{
    AgeReader, Identities, IdentitySource, Keys, Layout, MAX_SEALED_BYTES, Machine, file,
    identity::parse_recipients, instance::InstanceFile, retired, store_error, store_fault,
};
use crate::{
    model::{Name, Record},
    replace::{Replace, create, sync_folder_of},
    store::{Instances, RecordError, Records, Revision, SealError, Store, StoreError, Stored},
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
    /// Also a store that is being retired, to go on with that.
    pub being_retired: bool,
}

/// A store, held by this process alone. Cheap to clone.
#[derive(Clone)]
pub struct AgeStore {
    inner: Arc<Inner>,
}

struct Inner {
    reader: AgeReader,
    recipients: Vec<Box<dyn age::Recipient + Send + Sync>>,
    machine_id: PathBuf,
    machine: Machine,
    instance: Mutex<InstanceFile>,
    /// Held as long as the file is open.
    _lock: File,
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
        if !options.being_retired {
            retired::refuse(&layout)?;
        }
        make_folder(&layout.tokens())?;
        remove_leftovers(&layout)?;
        let identities = Identities::open(&layout, &options.identity, &mut options.keys.clone())?;
        let has_records = holds_records(&layout)?;
        let (identities, instance) = complete(&layout, &options, identities, has_records)?;
        let recipients = parse_recipients(&options.recipients, &layout.root)?;
        let machine = instance.machine(&options.machine_id);
        Ok(Self {
            inner: Arc::new(Inner {
                reader: AgeReader { layout, identities: Arc::new(identities) },
                recipients,
                machine_id: options.machine_id,
                machine,
                instance: Mutex::new(instance),
                _lock: lock,
            }),
        })
    }

    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.reader.path()
    }

    /// Whether the store was made on this machine, as it was when the store was opened.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.inner.machine
    }

    /// Whether a store has been made there. One that may not be looked at has: opening it says what is wrong, and it is
    /// never taken for none.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        match fs::metadata(Layout { root: path.to_owned() }.tokens()) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether a process holds the store there.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let lock = File::open(Layout { root: path.to_owned() }.lock());
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Puts a record durably into the store; see [`Store::seal`]. After an error the file may be the old one or the
    /// new: it is never neither.
    ///
    /// # Errors
    /// Somebody else has written it since, or the system refuses.
    pub fn seal_record(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let path = self.inner.reader.layout.record(&record.name);
        let json = record.to_json();
        let failed = |error| SealError::Failed(store_error(&path, "cannot seal the record", error));
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
        let mut text = self.inner.reader.decrypt(&sealed, MAX_LIST_BYTES).map_err(|fault| {
            store_fault(&path, fault.to_string(), "correct the list: it is then sealed anew")
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
        let path = self.inner.reader.layout.list();
        let write = || -> io::Result<()> {
            let mut file = Replace::new(&path)?;
            file.write(&self.encrypt(text.as_bytes())?)?;
            file.commit().map(drop)
        };
        write().map_err(|error| store_error(&path, "cannot seal the list", error))
    }

    /// From now on nothing opens this store but who goes on to retire it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin_to_retire(&self) -> Result<(), StoreError> {
        let mark = self.inner.reader.layout.retired();
        let write = || -> io::Result<()> {
            let mut file = Replace::new(&mark)?;
            file.write(retired::MARK.as_bytes())?;
            file.commit().map(drop)
        };
        write().map_err(|error| store_error(&mark, "cannot note that the store is retired", error))
    }

    /// Takes everything out of the store, after [`Self::begin_to_retire`]; what opens it too, if that is kept in it.
    ///
    /// # Errors
    /// Something is left.
    pub fn wipe(&self) -> Result<(), StoreError> {
        retired::wipe(&self.inner.reader.layout)
    }

    /// The same once there is no record left to open the store for: a crash may have come between.
    ///
    /// # Errors
    /// Something is left, or another process holds the store.
    pub fn wipe_rest(path: &Path) -> Result<(), StoreError> {
        let layout = Layout { root: path.to_owned() };
        let _lock = take_lock(&layout)?;
        retired::wipe(&layout)
    }

    /// This machine takes the place of the one that the store was made on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take_over(&self) -> Result<(), StoreError> {
        self.amend_instance(|instance| {
            instance.take_over(&self.inner.machine_id);
            Ok(())
        })
        .map(drop)
    }

    fn renew(&self) -> Result<Instances, StoreError> {
        self.amend_instance(|instance| instance.renew(&self.inner.machine_id))
    }

    fn amend_instance(
        &self,
        amend: impl FnOnce(&mut InstanceFile) -> Result<(), StoreError>,
    ) -> Result<Instances, StoreError> {
        let mut instance = self.inner.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let mut amended = instance.clone();
        amend(&mut amended)?;
        amended.write(&self.inner.reader.layout)?;
        *instance = amended;
        Ok(instance.instances())
    }

    fn encrypt(&self, clear: &[u8]) -> io::Result<Vec<u8>> {
        let own = self.inner.reader.identities.recipients();
        let others = self.inner.recipients.iter().map(|recipient| recipient.as_ref() as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(own.chain(others)).map_err(io::Error::other)?;
        let mut sealed = Vec::with_capacity(clear.len() + 1024);
        let mut writer = encryptor.wrap_output(&mut sealed)?;
        writer.write_all(clear)?;
        writer.finish()?;
        Ok(sealed)
    }

    /// Runs what may block for long where it holds up nobody.
    async fn off_thread<R: Send + 'static>(&self, work: impl FnOnce(&Self) -> R + Send + 'static) -> R {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
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
        Ok(self.inner.instance.lock().unwrap_or_else(PoisonError::into_inner).instances())
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        self.off_thread(Self::renew).await
    }
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
    let drawn = layout.root.join(".instance.first");
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

/// A folder of ours alone: made so, or found so.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(store_error(path, "cannot make the folder", error)),
    }
    let metadata = fs::metadata(path).map_err(|error| store_error(path, "cannot open the folder", error))?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        return Err(store_fault(path, "is no folder", "name another path in [store]"));
    }
    if metadata.uid() != own {
        let owner = metadata.uid();
        let what = format!("belongs to uid {owner}, this process runs as uid {own}");
        return Err(store_fault(
            path,
            what,
            format!("run as uid {owner}: `setpriv --reuid {owner} …`, or its unit"),
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        let what = format!("can be written by others (mode {:o})", metadata.mode() & 0o7777);
        return Err(store_fault(path, what, format!("chmod 0700 {}", path.display())));
    }
    if metadata.mode() & 0o055 != 0 {
        tracing::warn!("store {path:?} can be listed by others; chmod 0700 {}", path.display());
    }
    Ok(())
}

fn take_lock(layout: &Layout) -> Result<File, StoreError> {
    let path = layout.lock();
    let failed = |error| store_error(&path, "cannot take the lock", error);
    let mut file = FileOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _unread = (&file).take(32).read_to_string(&mut holder);
            let who = holder
                .trim()
                .parse::<u32>()
                .map_or_else(|_| "another process".to_owned(), |pid| format!("process {pid}"));
            let what = format!("is held by {who}");
            return Err(store_fault(
                &layout.root,
                what,
                "a running influx-tokend applies the list by itself; stop it first for this",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    // For people only; the lock itself is the kernel's.
    let _told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// What a crash left half-written. Called under the lock, so it is nobody's work in progress.
fn remove_leftovers(layout: &Layout) -> Result<(), StoreError> {
    for folder in [&layout.root, &layout.tokens()] {
        let failed = |error| store_error(folder, "cannot list the folder", error);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.to_str().is_some_and(is_leftover) {
                let path = folder.join(&name);
                fs::remove_file(&path)
                    .map_err(|error| store_error(&path, "cannot remove the leftover", error))?;
            }
        }
    }
    Ok(())
}

/// `.NAME.` and sixteen hexadecimal digits, as [`Replace`] names what it has not finished.
fn is_leftover(name: &str) -> bool {
    let Some((stem, digits)) = name.rsplit_once('.') else {
        return false;
    };
    stem.starts_with('.') && digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Anything in the folder for records counts, whatever it is called.
fn holds_records(layout: &Layout) -> Result<bool, StoreError> {
    let folder = layout.tokens();
    let mut entries =
        fs::read_dir(&folder).map_err(|error| store_error(&folder, "cannot list the records", error))?;
    Ok(entries.next().is_some())
}
