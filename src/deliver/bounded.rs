//! Reading small files that others may have put there: never more than a bound, and never anything but a file.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{fs::OFlags, process::geteuid};

/// Whether a link is as good as what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Where only root writes: whoever manages `/etc` may do it with links.
    Followed,
    /// Anywhere else.
    Refused,
}

/// The content, whoever it belongs to; `None` where there is no such file. Links are refused.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let Some((file, _)) = open(path, Links::Refused)? else { return Ok(None) };
    to_end(file, max).map(Some)
}

/// The content, if nobody but root or this user can have written it; `None` where there is no such file.
pub(super) fn read_trusted(path: &Path, max: u64, links: Links) -> io::Result<Option<Vec<u8>>> {
    let Some((file, metadata)) = open(path, links)? else { return Ok(None) };
    if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {}, expected root", metadata.uid())));
    }
    to_end(file, max).map(Some)
}

fn open(path: &Path, links: Links) -> io::Result<Option<(File, Metadata)>> {
    // A pipe that nobody writes to would be waited for.
    let mut flags = OFlags::NONBLOCK;
    flags.set(OFlags::NOFOLLOW, links == Links::Refused);
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Some((file, metadata)))
}

fn to_end(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}
