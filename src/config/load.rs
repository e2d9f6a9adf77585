//! From a file to text: bounded, and only text.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::fault::ConfigError;

/// The largest list.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// What there is of a list that may not even be text: for [`Config::salvage`](super::Config::salvage).
#[must_use]
pub fn read_remains(path: &Path) -> String {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Reads a list, whatever it says.
///
/// # Errors
/// It is not there, not a file, not text, or too large; no more than the bound is ever read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
        let what = format!("is not UTF-8 (line {line}, byte {column} of it)");
        fault(path, what, Some("save it as UTF-8"))
    })
}

fn fault(path: &Path, what: String, fix: Option<&str>) -> ConfigError {
    ConfigError::Unreadable { file: path.to_owned(), what, fix: fix.map(str::to_owned) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fault = |what: String, fix: Option<&str>| fault(path, what, fix);
    let failed = |error: io::Error| {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => Some("name the list with `--config PATH`"),
            io::ErrorKind::PermissionDenied => Some("see that the user this runs as may read it"),
            _ => None,
        };
        fault(format!("cannot read the list: {error}"), fix)
    };
    // A pipe that nobody writes to would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a folder" } else { "no regular file" };
        return Err(fault(
            format!("is {kind}, expected a list in TOML"),
            Some("name the list with `--config PATH`"),
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fault(
            format!("is larger than {} MiB", MAX_BYTES >> 20),
            Some("a list that large is none"),
        ));
    }
    Ok(bytes)
}
