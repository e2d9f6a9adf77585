//! From a file to text: bounded, and only text.

use std::{fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use super::error::{ConfigError, MAX_LIST_BYTES, ReadError};

/// As much of a list as can be read, for [`Config::salvage`](super::Config::salvage): it may not even be text.
#[must_use]
pub fn read_lossy(path: &Path) -> String {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Reads the text of a list, valid or not.
///
/// # Errors
/// It is not there, not a file, not text, or too large; no more than the bound is ever read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let text = bytes(path).and_then(|bytes| String::from_utf8(bytes).map_err(|error| not_utf8(&error)));
    text.map_err(|error| ConfigError::List { file: path.to_owned(), error })
}

fn not_utf8(error: &std::string::FromUtf8Error) -> ReadError {
    let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let byte = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    ReadError::NotUtf8 { line, byte }
}

fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    // A pipe without a writer would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ReadError::Folder);
    }
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LIST_BYTES { Err(ReadError::TooLarge) } else { Ok(bytes) }
}
