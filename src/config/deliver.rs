//! `[deliver.socket]` and `[deliver.files]`.

use std::path::PathBuf;

use super::{context::ListContext, path::path, section::Section};

/// The socket; and the folder of files, where that table is there.
pub(super) fn deliver(root: &mut Section<'_>, context: &ListContext) -> (PathBuf, Option<PathBuf>) {
    let mut socket = context.defaults.socket.clone();
    let mut files = None;
    let Some(mut section) = root.section("deliver") else { return (socket, files) };
    if let Some(mut table) = section.section("socket") {
        socket = path(&mut table, "path", context).unwrap_or(socket);
        table.finish();
    }
    if let Some(mut table) = section.section("files") {
        files = Some(path(&mut table, "path", context).unwrap_or_else(|| context.defaults.files.clone()));
        table.finish();
    }
    section.finish();
    (socket, files)
}
