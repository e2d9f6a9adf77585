//! `influx-secrets render`: a file with our references resolved and everything else as it stands.

use std::{io, path::Path};

use super::{Failure, Source, resolve::value_of, text::read_text};
use crate::{cli::ui, reference::substitute, replace::Replace};

pub(super) fn run(source: &Source, id: &str, file: &Path, out: Option<&Path>) -> Result<(), Failure> {
    let text = read_text(file)?;
    // All or nothing: the text is whole before anything of it is written.
    let rendered = substitute(&text, |reference| {
        if reference.store != id {
            return Ok::<_, Failure>(None);
        }
        value_of(source, reference).map(Some)
    })?;
    match out {
        None => Ok(ui::print(&rendered)?),
        Some(path) => write(path, rendered.as_bytes()).map_err(|source| Failure::File {
            what: "cannot write",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The old file or the new one, whole.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = Replace::new(path)?;
    file.write(bytes)?;
    file.commit().map(drop)
}
