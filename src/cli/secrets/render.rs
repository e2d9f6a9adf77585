//! `influx-secrets render`: a file with our references resolved and everything else as it stands.

use std::{io, path::Path};

use zeroize::Zeroizing;

use super::{Failure, Source, resolve::value_of, text::read_text};
use crate::{cli::ui, reference::substitute, replace::Replace};

pub(super) fn run(source: &Source, id: &str, file: &Path, out: Option<&Path>) -> Result<(), Failure> {
    // All or nothing: the text is whole before anything of it is written.
    let rendered = rendered(source, id, &read_text(file)?)?;
    match out {
        None => Ok(ui::print(&rendered)?),
        Some(path) => write(path, rendered.as_bytes()).map_err(|source| Failure::File {
            what: "cannot write",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The text with our references resolved.
pub(super) fn rendered(source: &Source, id: &str, text: &str) -> Result<Zeroizing<String>, Failure> {
    substitute(text, |reference| {
        if reference.store != id {
            return Ok(None);
        }
        value_of(source, reference).map(Some)
    })
}

/// The old file or the new one, whole.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replace::new(path)?;
    file.write(bytes)?;
    file.commit().map(drop)
}
