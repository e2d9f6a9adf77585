//! A store's folder, held by the one process that writes: its lock, whose tokens are ours, whether it was retired.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Instances, StoreError,
    folder::{Layout, store_error, store_fault},
    instance::{InstanceFile, Machine},
    retired,
};
use crate::replace::rewrite;

/// What every kind of store has beside its records.
pub(super) struct Hold {
    pub(super) layout: Layout,
    machine_id: PathBuf,
    machine: Machine,
    instance: Mutex<InstanceFile>,
    /// Held as long as the file is open.
    _lock: File,
}

impl Hold {
    pub(super) fn new(layout: Layout, lock: File, instance: InstanceFile, machine_id: PathBuf) -> Self {
        let machine = instance.machine(&machine_id);
        Self { layout, machine_id, machine, instance: Mutex::new(instance), _lock: lock }
    }

    /// Whether the store was made on this machine, as it was when the store was opened.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(super) fn instances(&self) -> Instances {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner).instances()
    }

    /// Another instance from now on.
    pub(super) fn renew(&self) -> Result<Instances, StoreError> {
        self.amend(|instance| instance.renew(&self.machine_id))
    }

    /// This machine takes the place of the one that the store was made on.
    pub(super) fn take_over(&self) -> Result<(), StoreError> {
        self.amend(|instance| {
            instance.take_over(&self.machine_id);
            Ok(())
        })
        .map(drop)
    }

    fn amend(
        &self,
        amend: impl FnOnce(&mut InstanceFile) -> Result<(), StoreError>,
    ) -> Result<Instances, StoreError> {
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let mut amended = instance.clone();
        amend(&mut amended)?;
        amended.write(&self.layout)?;
        *instance = amended;
        Ok(instance.instances())
    }

    /// The instance of another store is this one's from now on, with all that is known of it.
    pub(super) fn adopt(&self, other: &Self) -> Result<(), StoreError> {
        let theirs = other.instance.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.amend(|instance| {
            *instance = theirs;
            Ok(())
        })
        .map(drop)
    }

    /// From now on nothing opens this store but who goes on to retire it.
    pub(super) fn begin_to_retire(&self) -> Result<(), StoreError> {
        let mark = self.layout.retired();
        rewrite(&mark, retired::MARK.as_bytes())
            .map_err(|error| store_error(&mark, "cannot note that the store is retired", error))
    }
}

/// Whether a store of any kind has been made there. One that may not be looked at has: opening it says what is wrong, and
/// it is never taken for none.
#[must_use]
pub fn exists(path: &Path) -> bool {
    let layout = Layout { root: path.to_owned() };
    let is_there = |path: &Path| match fs::metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    is_there(&layout.tokens()) || is_there(&layout.index())
}

/// Whether a process holds the store there.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    let lock = File::open(Layout { root: path.to_owned() }.lock());
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Takes out what is left of a store that was retired wholly: a crash may have come before its end.
///
/// # Errors
/// Something is left, or another process holds the store.
pub fn wipe_rest(path: &Path) -> Result<(), StoreError> {
    let layout = Layout { root: path.to_owned() };
    let _lock = take_lock(&layout)?;
    retired::wipe(&layout)
}

/// A folder of ours alone: made so, or found so.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
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

/// A child that a former holder was about to start has the lock with it until it has become another program. For so long
/// whoever comes next waits.
const HANDED_DOWN: Duration = Duration::from_millis(200);

fn try_for_a_moment(mut try_lock: impl FnMut() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    let end = Instant::now() + HANDED_DOWN;
    loop {
        match try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(HANDED_DOWN / 20),
            tried => return tried,
        }
    }
}

pub(super) fn take_lock(layout: &Layout) -> Result<File, StoreError> {
    let path = layout.lock();
    let failed = |error| store_error(&path, "cannot take the lock", error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match try_for_a_moment(|| file.try_lock()) {
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
pub(super) fn remove_leftovers(folders: &[&Path]) -> Result<(), StoreError> {
    for folder in folders {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_just_being_let_go_is_waited_for_and_one_that_is_kept_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout { root: folder.path().to_owned() };
        let kept = take_lock(&layout).expect("nobody has it");
        let error = take_lock(&layout).expect_err("it is kept").to_string();
        assert!(error.contains(&format!("is held by process {}", std::process::id())), "{error}");
        let (next, mut kept) = (File::open(layout.lock()).expect("the lock"), Some(kept));
        // Let go once it has been tried in vain.
        let tried = try_for_a_moment(|| {
            let tried = next.try_lock();
            kept = None;
            tried
        });
        tried.expect("it is let go");
    }
}
