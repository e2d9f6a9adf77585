//! Texts with references.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use super::Failure;

/// The largest text with references.
pub(super) const MAX_TEXT: u64 = 16 << 20;

/// A text from a file, or from stdin for `-`.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File { what: "cannot read", path: path.to_owned(), source };
    let bytes = if path == Path::new("-") {
        bounded(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(bounded)
    };
    let bytes = bytes.map_err(failed)?.ok_or_else(|| Failure::TooLarge(path.to_owned()))?;
    String::from_utf8(bytes).map_err(|_| Failure::NotText(path.to_owned()))
}

pub(super) fn bounded(reader: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_TEXT).then_some(bytes))
}
