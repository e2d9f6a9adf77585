//! `influx-secrets render`: a file with our references resolved and everything else as it stands.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, Source, resolve::value_of, source::read_text};
use crate::{cli::ui, reference::substitute};

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

/// The old file or the new one, whole; 0600 before the first byte.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let random = getrandom::u64().map_err(io::Error::other)?;
    let temporary = path.with_file_name(format!(".{name}.{random:016x}"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Of no use, and it holds secrets.
        let _gone = fs::remove_file(&temporary);
    }
    written
}
