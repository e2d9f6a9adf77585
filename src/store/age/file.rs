//! Files that are whole or not there.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use zeroize::Zeroizing;

use crate::store::Revision;

/// Reads a file of at most `limit` bytes, and tells which writing of it that was. Neither follows a link nor waits
/// for a pipe.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] beyond the limit; whatever the system says.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<(Zeroizing<Vec<u8>>, Revision)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // Sized beforehand: a buffer that grows leaves copies behind that nothing wipes.
    let size = metadata.len().min(limit + 1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
    (&file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok((bytes, revision_of(&metadata)))
}

/// Which writing of a file this is. A file that is replaced has another inode; one that is altered another ctime.
pub(super) fn revision_of(metadata: &fs::Metadata) -> Revision {
    let time = u64::from_ne_bytes(metadata.ctime().to_ne_bytes());
    let nanos = u64::from_ne_bytes(metadata.ctime_nsec().to_ne_bytes());
    Revision([metadata.dev(), metadata.ino(), time, nanos])
}

/// The folder itself, durably.
#[cfg(feature = "daemon")]
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(feature = "daemon")]
pub(super) use writing::{Replace, create};

#[cfg(feature = "daemon")]
mod writing {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

    use super::{OpenOptions, Path, Revision, fs, io, revision_of, sync_folder};

    /// A new file beside the one it is to replace, 0600. Gone again unless [`Replace::commit`] is called.
    pub(in super::super) struct Replace {
        target: PathBuf,
        temporary: PathBuf,
        file: fs::File,
        committed: bool,
    }

    impl Replace {
        pub(in super::super) fn new(target: &Path) -> io::Result<Self> {
            let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
            let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
            let temporary = folder.join(format!(".{name}.{:016x}", random()?));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            Ok(Self { target: target.to_owned(), temporary, file, committed: false })
        }

        pub(in super::super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.file.write_all(bytes)
        }

        /// Makes it durable and puts it into place, both the content and the name.
        pub(in super::super) fn commit(mut self) -> io::Result<Revision> {
            self.file.sync_all()?;
            fs::rename(&self.temporary, &self.target)?;
            // From here on there is nothing to take away: the name is the target's.
            self.committed = true;
            sync_folder(self.target.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
            // After the rename: that changes the ctime.
            Ok(revision_of(&self.file.metadata()?))
        }
    }

    impl Drop for Replace {
        fn drop(&mut self) {
            if !self.committed {
                // Nothing more can be done about one that stays: the next start removes it.
                let _gone = fs::remove_file(&self.temporary);
            }
        }
    }

    /// Writes a file that must not exist yet, whole or not at all.
    pub(in super::super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = Replace::new(path)?;
        file.write(bytes)?;
        file.file.sync_all()?;
        // A link, unlike a rename, does not take the place of a file that has appeared meanwhile.
        fs::hard_link(&file.temporary, path)?;
        drop(file);
        sync_folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn random() -> io::Result<u64> {
        getrandom::u64().map_err(io::Error::other)
    }
}
