//! Records as items of the user's keyring (Secret Service), with a folder beside it:
//!
//! | path | what |
//! |---|---|
//! | `index` | which items the keyring must have, and in which writing; no secrets |
//! | `instance`, `lock`, `retired` | as in every store |
//! | `list` | the last accepted list |
//!
//! An item has the name of its token for `username`, and `influx-tokend FOLDER` for `service`. Its content is a line,
//! `influx-tokend 1 REVISION`, and the record's JSON.
//!
//! A keyring may be locked, hang, be reset, or be put back from a backup, and none of that may look like a store without
//! tokens: before an item is written the index says so, and afterwards, once it has been read back, which writing of it the
//! keyring has acknowledged.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    Instances, Machine, Purpose, RecordError, Records, Revision, SealError, Store, StoreError, Stored,
    blocking, file,
    folder::{Layout, store_error, store_fault},
    hold::{Hold, make_folder, remove_leftovers, take_lock},
    instance::InstanceFile,
    marks, retired,
};
use crate::{
    model::{Name, Record},
    replace::{create, rewrite},
};

mod index;
mod items;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use index::Index;
use items::{Items, Keyring};
use state::State;
use worker::Worker;

/// A keyring that takes longer is not available.
const TIME: Duration = Duration::from_secs(30);
/// The largest list.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The folder.
    pub path: PathBuf,
    /// What tells this machine from another.
    pub machine_id: PathBuf,
    /// What for: a store that is being given up or moved is opened for that only.
    pub purpose: Purpose,
}

/// A store, held by this process alone. Cheap to clone.
#[derive(Clone)]
pub struct KeyringStore {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Hold,
    worker: Worker<State>,
}

impl std::fmt::Debug for KeyringStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyringStore({:?})", self.inner.folder.layout.root)
    }
}

impl KeyringStore {
    /// Opens a store in the keyring of whoever runs this, or makes one where there is none: neither in the folder nor in
    /// the keyring.
    ///
    /// # Errors
    /// It is not available: held by another process, somebody else's, incomplete, or the keyring is locked, absent or hung.
    pub async fn open(options: OpenOptions) -> Result<Self, StoreError> {
        let keyring = Keyring::new(&options.path);
        Self::over(options, Box::new(keyring)).await
    }

    async fn over(options: OpenOptions, items: Box<dyn Items>) -> Result<Self, StoreError> {
        let machine_id = options.machine_id.clone();
        let Folder { layout, lock, instance, index } = blocking(move || Folder::open(&options)).await?;
        let worker = start(State::new(layout.clone(), index.clone().unwrap_or_else(Index::empty), items))?;
        let instance = match (instance, index) {
            (Some(instance), Some(_)) => instance,
            (instance, _) => {
                ask(&worker, &layout.root, State::must_be_empty).await?;
                let (layout, machine_id) = (layout.clone(), machine_id.clone());
                blocking(move || make(&layout, instance, &machine_id)).await?
            }
        };
        let folder = Hold::new(layout, lock, instance, machine_id);
        Ok(Self { inner: Arc::new(Inner { folder, worker }) })
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.inner.folder
    }

    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.inner.folder.layout.root.clone()
    }

    /// Whether the store was made on this machine, as it was when the store was opened.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.inner.folder.machine()
    }

    /// The last accepted list, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn accepted_list(&self) -> Result<Option<Zeroizing<String>>, StoreError> {
        let path = self.inner.folder.layout.list();
        match file::read(&path, MAX_LIST_BYTES) {
            Ok((mut bytes, _)) => String::from_utf8(std::mem::take(&mut *bytes))
                .map(|text| Some(Zeroizing::new(text)))
                .map_err(|_| store_fault(&path, "is not text", "correct the list: it is then written anew")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(store_error(&path, "cannot read the accepted list", error)),
        }
    }

    /// Keeps the list that is in force from now on, if it is another than before. It has no secrets.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn seal_list(&self, text: &str) -> Result<(), StoreError> {
        if self.accepted_list().is_ok_and(|known| known.is_some_and(|known| *known == text)) {
            return Ok(());
        }
        let path = self.inner.folder.layout.list();
        rewrite(&path, text.as_bytes()).map_err(|error| store_error(&path, "cannot keep the list", error))
    }

    /// From now on nothing opens this store but who goes on to retire it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin_to_retire(&self) -> Result<(), StoreError> {
        self.inner.folder.begin_to_retire()
    }

    /// Takes everything out of the store, after [`Self::begin_to_retire`].
    ///
    /// # Errors
    /// Something is left.
    pub async fn wipe(&self) -> Result<(), StoreError> {
        self.ask(State::wipe).await?;
        let layout = self.inner.folder.layout.clone();
        blocking(move || retired::wipe(&layout)).await
    }

    /// This machine takes the place of the one that the store was made on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take_over(&self) -> Result<(), StoreError> {
        self.inner.folder.take_over()
    }

    async fn ask<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        ask(&self.inner.worker, &self.inner.folder.layout.root, work).await
    }
}

impl Store for KeyringStore {
    async fn load(&self) -> Result<Records, StoreError> {
        self.ask(State::load).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        let wanted = name.clone();
        let read = self.inner.worker.ask(TIME, move |state| state.read(&wanted)).await;
        read.unwrap_or_else(|| Err(state::unreadable(&self.inner.folder.layout, name, &hung())))
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let record = record.clone();
        let sealed = self.inner.worker.ask(TIME, move |state| state.seal(&record, read)).await;
        sealed.unwrap_or_else(|| Err(does_not_answer(&self.inner.folder.layout.root).into()))
    }

    async fn remove(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        let name = name.clone();
        let removed = self.inner.worker.ask(TIME, move |state| state.remove(&name, read)).await;
        removed.unwrap_or_else(|| Err(does_not_answer(&self.inner.folder.layout.root).into()))
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        Ok(self.inner.folder.instances())
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        let store = self.clone();
        blocking(move || store.inner.folder.renew()).await
    }
}

/// A store that is only looked at, without its lock.
pub struct KeyringReader {
    layout: Layout,
    worker: Worker<State>,
    instances: Option<Instances>,
}

impl std::fmt::Debug for KeyringReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyringReader({:?})", self.layout.root)
    }
}

impl KeyringReader {
    /// Over an existing store.
    ///
    /// # Errors
    /// Its folder cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let layout = Layout { root: path.to_owned() };
        marks::refuse(&layout, Purpose::Work)?;
        let instances = InstanceFile::read(&layout.instance())?.map(|file| file.instances());
        let index = Index::read(&layout)?.unwrap_or_else(Index::empty);
        let worker = start(State::new(layout.clone(), index, Box::new(Keyring::new(path))))?;
        Ok(Self { layout, worker, instances })
    }

    pub(super) fn instances(&self) -> Option<Instances> {
        self.instances.clone()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.layout.root.clone()
    }

    pub(super) async fn load(&self) -> Result<Records, StoreError> {
        ask(&self.worker, &self.layout.root, State::look).await
    }

    pub(super) async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        let wanted = name.clone();
        let read = self.worker.ask(TIME, move |state| state.read(&wanted)).await;
        read.unwrap_or_else(|| Err(state::unreadable(&self.layout, name, &hung())))
    }
}

/// The folder, before the keyring is asked anything.
struct Folder {
    layout: Layout,
    lock: File,
    instance: Option<InstanceFile>,
    index: Option<Index>,
}

impl Folder {
    fn open(options: &OpenOptions) -> Result<Self, StoreError> {
        let layout = Layout { root: options.path.clone() };
        make_folder(&layout.root)?;
        let lock = take_lock(&layout)?;
        marks::refuse(&layout, options.purpose)?;
        if layout.tokens().exists() {
            let what = "has age files in it";
            return Err(store_fault(
                &layout.root,
                what,
                "name another path in [store], and see `influx-tokend store migrate`",
            ));
        }
        remove_leftovers(&[&layout.root])?;
        let instance = InstanceFile::read(&layout.instance())?;
        let index = Index::read(&layout)?;
        if let (None, Some(_)) = (&instance, &index) {
            let fix = "put it back from a backup; nothing is minted in place of what may be sealed";
            return Err(store_fault(&layout.root, "the store has an index and no instance", fix));
        }
        Ok(Self { layout, lock, instance, index })
    }
}

/// What a new store lacks; the index last, for it says that the store was made.
fn make(
    layout: &Layout,
    instance: Option<InstanceFile>,
    machine_id: &Path,
) -> Result<InstanceFile, StoreError> {
    let instance = match instance {
        Some(instance) => instance,
        None => {
            let drawn = InstanceFile::draw(machine_id)?;
            let path = layout.instance();
            create(&path, &drawn.to_json())
                .map_err(|error| store_error(&path, "cannot write the instance", error))?;
            drawn
        }
    };
    Index::empty().write(layout)?;
    Ok(instance)
}

fn start(state: State) -> Result<Worker<State>, StoreError> {
    let root = state.root();
    Worker::start("keyring", state).map_err(|error| store_error(&root, "no thread for the keyring", error))
}

async fn ask<R: Send + 'static>(
    worker: &Worker<State>,
    root: &Path,
    work: impl FnOnce(&mut State) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    worker.ask(TIME, work).await.unwrap_or_else(|| Err(does_not_answer(root)))
}

fn does_not_answer(root: &Path) -> StoreError {
    let fix =
        "see whether it asks for a password somewhere, and that the Secret Service of this user answers";
    store_fault(root, hung(), fix)
}

fn hung() -> String {
    format!("the keyring does not answer within {} s", TIME.as_secs())
}
