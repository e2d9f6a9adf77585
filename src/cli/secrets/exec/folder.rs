//! A folder in memory that nobody else can open, for as long as somebody uses it.
//!
//! Whoever uses it has it locked: we do, and what we have started, for it inherits the lock. So one that is not locked is
//! left over from a process that was killed, and whoever makes a new one removes it.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock, fstat, open},
    io::{FdFlags, fcntl_setfd},
    process::geteuid,
};

use crate::{cli::secrets::Failure, replace::Replace};

/// What they are called, and sixteen hexadecimal digits.
const PREFIX: &str = "influx-secrets-";
/// Where memory is when the environment names none.
const SHARED_MEMORY: &str = "/dev/shm";
/// File systems that are memory (statfs(2), linux/magic.h).
const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
/// So often a new one may be taken for a leftover in the moment before it is locked.
const TRIES: usize = 8;

/// Gone with all that is in it when it is dropped.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked, and inherited by what is started.
    _lock: OwnedFd,
}

impl Folder {
    /// Removes what others have left behind.
    pub(super) fn new() -> Result<Self, Failure> {
        let base = base().ok_or(Failure::NoMemory)?;
        sweep(&base);
        Self::make(&base).map_err(|source| Failure::File {
            what: "cannot make a folder in",
            path: base,
            source,
        })
    }

    fn make(base: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let random = getrandom::u64().map_err(io::Error::other)?;
            let path = base.join(format!("{PREFIX}{random:016x}"));
            DirBuilder::new().mode(0o700).create(&path)?;
            let lock = open_folder(&path)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            let made = fstat(&lock)?;
            if fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == made.st_ino) {
                // Not closed when a program is started.
                fcntl_setfd(&lock, FdFlags::empty())?;
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it, whole or not at all; one that is there already stays as it is if it says the same.
    pub(super) fn put(&self, name: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path.join(name);
        self.write(&path, bytes).map_err(|source| Failure::File { what: "cannot write", path, source })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if fs::metadata(path).is_ok_and(|file| file.len() == bytes.len() as u64)
            && zeroize::Zeroizing::new(fs::read(path)?).as_slice() == bytes
        {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        let mut file = Replace::new(path)?;
        file.write(bytes)?;
        file.commit().map(drop)
    }

    /// One in it that may have nothing in it.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path.join(path))
    }

    pub(super) fn remove(&self, name: &Path) {
        // One that is gone already is what was wanted.
        let _gone = fs::remove_file(self.path.join(name));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed the next one tries again.
        let _gone = fs::remove_dir_all(&self.path);
    }
}

/// The run-time folder of whoever runs this, else shared memory.
fn base() -> Option<PathBuf> {
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    own.into_iter().chain([SHARED_MEMORY.into()]).find(|path| is_fit(path).unwrap_or(false))
}

/// Memory, where nobody else can put another folder in the place of ours.
fn is_fit(path: &Path) -> io::Result<bool> {
    // The kernel's magic numbers have 32 bits; the field's type is another one on each architecture.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 bits")]
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    let folder = fs::metadata(path)?;
    let is_own = folder.uid() == geteuid().as_raw() && folder.mode() & 0o022 == 0;
    let is_sticky = folder.uid() == 0 && folder.mode() & 0o1000 != 0;
    Ok(folder.is_dir() && MEMORY.contains(&magic) && (is_own || is_sticky))
}

/// Removes those of ours that nobody uses.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_one = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_one {
            // One that is another user's, or in use, is none of our business.
            let _left = remove_leftover(&entry.path());
        }
    }
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    let folder = open_folder(path)?;
    if fstat(&folder)?.st_uid != geteuid().as_raw() {
        return Ok(());
    }
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir_all(path)
}

/// No link, and not inherited.
fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn left(base: &Path) -> Vec<String> {
        let names = fs::read_dir(base).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_left_over_is_removed_and_what_is_in_use_or_not_ours_stays() {
        let base = tempfile::tempdir().expect("a folder");
        let base = base.path();
        let used = Folder::make(base).expect("a folder");
        assert_eq!(fs::metadata(used.path()).expect("it").permissions().mode() & 0o7777, 0o700);
        used.put(Path::new("0/a.conf"), b"secret").expect("a file");
        let file = fs::metadata(used.path().join("0/a.conf")).expect("it");
        assert_eq!((file.permissions().mode() & 0o7777, file.len()), (0o600, 6));
        let leftover = base.join(format!("{PREFIX}0123456789abcdef"));
        fs::create_dir_all(leftover.join("0")).expect("a folder");
        fs::write(leftover.join("0/x"), "secret").expect("a file");
        let others =
            ["influx-secrets-", "influx-secrets-0123456789abcdeg", "influx-secrets-0123456789abcdef0"];
        for name in others {
            fs::create_dir(base.join(name)).expect("a folder");
        }
        let target = base.join("target");
        fs::create_dir(&target).expect("a folder");
        std::os::unix::fs::symlink(&target, base.join(format!("{PREFIX}00000000000000aa"))).expect("a link");
        sweep(base);
        let mut expected: Vec<String> = others.map(str::to_owned).to_vec();
        expected.push(format!("{PREFIX}00000000000000aa"));
        expected.push(used.path().file_name().and_then(|name| name.to_str()).expect("a name").to_owned());
        expected.push("target".to_owned());
        expected.sort();
        assert_eq!(left(base), expected);
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }

    #[test]
    fn only_memory_of_ours_or_where_nobody_takes_what_is_another_s_will_do() {
        assert!(!is_fit(Path::new("/proc")).expect("it is there"));
        assert!(is_fit(Path::new("/nonexistent")).is_err());
        if !is_fit(Path::new(SHARED_MEMORY)).unwrap_or(false) {
            return;
        }
        let folder = tempfile::tempdir_in(SHARED_MEMORY).expect("a folder");
        assert!(is_fit(folder.path()).expect("it is there"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        assert!(!is_fit(folder.path()).expect("it is there"));
    }
}
