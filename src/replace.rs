//! Files that are whole or not there, and durable once they are; ours alone unless said otherwise.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A new file beside the one it is to replace: `.NAME.` and sixteen hexadecimal digits, 0600 before the first byte.
/// Gone again unless [`Replace::commit`] is called.
pub(crate) struct Replace {
    target: PathBuf,
    temporary: PathBuf,
    file: fs::File,
    committed: bool,
}

/// Whose a file is, and what they may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ownership {
    pub(crate) mode: u32,
    /// User and group; ours if not given.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Replace {
    pub(crate) fn new(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let random = getrandom::u64().map_err(io::Error::other)?;
        let temporary = target.with_file_name(format!(".{name}.{random:016x}"));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { target: target.to_owned(), temporary, file, committed: false })
    }

    /// One that is somebody else's, or that they may read, before the first byte.
    pub(crate) fn owned(target: &Path, ownership: Ownership) -> io::Result<Self> {
        let new = Self::new(target)?;
        if let Some((uid, gid)) = ownership.owner {
            std::os::unix::fs::fchown(&new.file, Some(uid), Some(gid))?;
        }
        // Whatever the umask says.
        new.file.set_permissions(fs::Permissions::from_mode(ownership.mode))?;
        Ok(new)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes it durable and puts it into place, both the content and the name.
    pub(crate) fn commit(mut self) -> io::Result<fs::Metadata> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        // From here on there is nothing to take away: the name is the target's.
        self.committed = true;
        sync_folder_of(&self.target)?;
        // After the rename: that changes the ctime.
        self.file.metadata()
    }
}

impl Drop for Replace {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing more can be done about one that stays.
            let _gone = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a file whether or not there is one: afterwards it is this one or the former, whole.
#[cfg(feature = "daemon")]
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replace::new(path)?;
    file.write(bytes)?;
    file.commit().map(drop)
}

/// Writes a file that must not exist yet, whole or not at all.
#[cfg(feature = "daemon")]
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replace::new(path)?;
    file.write(bytes)?;
    file.file.sync_all()?;
    // A link, unlike a rename, does not take the place of a file that has appeared meanwhile.
    fs::hard_link(&file.temporary, path)?;
    drop(file);
    sync_folder_of(path)
}

/// The folder that a file is in, durably.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
