//! Files of ours alone that are whole or not there, and durable once they are.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
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

impl Replace {
    pub(crate) fn new(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let random = getrandom::u64().map_err(io::Error::other)?;
        let temporary = target.with_file_name(format!(".{name}.{random:016x}"));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { target: target.to_owned(), temporary, file, committed: false })
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
