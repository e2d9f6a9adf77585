//! `[deliver.socket]` and `[deliver.files]`.

use std::path::PathBuf;

use super::{context::ListContext, faults::Faults, path::path, section::Section};

/// The socket; and the folder of files, where that table is there.
pub(super) fn deliver(
    root: &mut Section<'_, '_>,
    context: &ListContext,
    faults: &mut Faults<'_>,
) -> (PathBuf, Option<PathBuf>) {
    let mut socket = context.defaults.socket.clone();
    let mut files = None;
    let Some(mut section) = root.section("deliver", faults) else { return (socket, files) };
    if let Some(mut table) = section.section("socket", faults) {
        socket = path(&mut table, "path", context, faults).unwrap_or(socket);
        table.finish(faults);
    }
    if let Some(mut table) = section.section("files", faults) {
        files =
            Some(path(&mut table, "path", context, faults).unwrap_or_else(|| context.defaults.files.clone()));
        table.finish(faults);
    }
    section.finish(faults);
    (socket, files)
}
