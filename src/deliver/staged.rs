//! Files that appear whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::model::Name;

/// A new, empty file, 0600, in the folder where it will have its place: the daemon may be unable to write beside it,
/// and a rename does not cross file systems. It goes away unless it is put there.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl Staged {
    /// `FOLDER/.NAME.<random>.tmp`: a name that no token has.
    pub(super) fn create(folder: &Path, name: &str) -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = folder.join(format!(".{name}.{random:016x}.tmp"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, placed: false })
    }

    /// To say who may read it, before there is anything to read.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fills it and gives it its name; whatever had that name is gone. A link there is replaced, not followed.
    pub(super) fn place(mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::rename(&self.path, folder.join(name))?;
        let synced = sync(folder);
        self.placed = true;
        synced
    }
}

/// Puts a file that all may read, whatever the umask, into a folder.
pub(super) fn place_for_all(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let staged = Staged::create(folder, name)?;
    staged.file().set_permissions(Permissions::from_mode(0o644))?;
    staged.place(name, bytes)
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            // If even this fails, the next start removes it.
            let _leftover = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file was staged by a process that ended before it could place or remove it.
pub(super) fn is_leftover(file: &str) -> bool {
    let parts = || file.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.');
    parts().is_some_and(|(name, random)| {
        name.parse::<Name>().is_ok()
            && random.len() == 16
            && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Removes what such processes have left in a folder.
pub(super) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_leftover) && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the entries of a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder that all may enter, whatever the umask, if there is none.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_staged_is_a_leftover() {
        for ours in [".a.0123456789abcdef.tmp", ".edge_writer.ffffffffffffffff.tmp"] {
            assert!(is_leftover(ours), "{ours}");
        }
        for other in [
            "a",
            ".a",
            ".tmp",
            "..tmp",
            ".a.tmp",
            "a.0123456789abcdef.tmp",
            ".a.0123456789ABCDEF.tmp",
            ".a.0123456789abcde.tmp",
            ".a.0123456789abcdef0.tmp",
            ".a.0123456789abcdef.tmp~",
            ".a-b.0123456789abcdef.tmp",
            "..0123456789abcdef.tmp",
            ".telegraf.conf.swp",
        ] {
            assert!(!is_leftover(other), "{other}");
        }
    }

    #[test]
    fn what_is_not_placed_goes_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let entries = || fs::read_dir(folder.path()).expect("the folder").count();
        let staged = Staged::create(folder.path(), "a").expect("staged");
        assert_eq!(entries(), 1);
        drop(staged);
        assert_eq!(entries(), 0);
    }
}
