//! `influx-secrets render`: a file with our references resolved and everything else as it stands.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, Source, resolve::value_of, source::read_text};
use crate::{cli::ui, reference::substitute, replace::Replace};

/// What to render.
#[derive(Debug, Args)]
pub(super) struct Render {
    /// The file; '-' for stdin
    file: PathBuf,

    /// Where to write it, mode 0600; stdout if not given
    #[arg(short, long, value_name = "PATH")]
    out: Option<PathBuf>,
}

pub(super) fn run(source: &Source, id: &str, render: &Render) -> Result<(), Failure> {
    let text = read_text(&render.file)?;
    // All or nothing: the text is whole before anything of it is written.
    let rendered = Zeroizing::new(substitute(&text, |reference| {
        if reference.store != id {
            return Ok::<_, Failure>(None);
        }
        value_of(source, reference).map(|value| Some(value.to_string()))
    })?);
    match &render.out {
        None => Ok(ui::print(&rendered)?),
        Some(path) => write(path, rendered.as_bytes()).map_err(|source| Failure::File {
            what: "cannot write",
            path: path.clone(),
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
