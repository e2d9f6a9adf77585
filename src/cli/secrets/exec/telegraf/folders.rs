//! What Telegraf finds in a folder.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::Unfit;
use crate::cli::secrets::Failure;

/// More files or deeper folders are no configuration that people write.
pub(super) const MOST_FILES: usize = 1000;
pub(super) const DEEPEST: usize = 32;

/// The `.conf` files that Telegraf finds in a folder: below every folder but those of Kubernetes, which begin with two dots.
pub(super) fn walk(
    folder: &Path,
    copy: &Path,
    depth: usize,
    folders: &mut BTreeSet<PathBuf>,
    found: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), Failure> {
    let failed = |source| Failure::File { what: "cannot read", path: folder.to_owned(), source };
    folders.insert(copy.to_owned());
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if depth > DEEPEST || found.len() > MOST_FILES {
            return Err(Unfit::TooMany(folder.to_owned()).into());
        }
        let (path, copy) = (entry.path(), copy.join(entry.file_name()));
        let name = entry.file_name();
        // Links are followed to files, not to folders.
        if entry.file_type().map_err(failed)?.is_dir() {
            if !name.as_bytes().starts_with(b"..") {
                walk(&path, &copy, depth + 1, folders, found)?;
            }
        } else if name.as_bytes().strip_suffix(b".conf").is_some_and(|stem| !stem.is_empty()) {
            found.push((path, copy));
        }
    }
    Ok(())
}
