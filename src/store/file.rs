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
