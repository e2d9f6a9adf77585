//! Secrets as files, one per token, for Telegraf's `secretstores.docker` with `dynamic = true`, which reads the file
//! on every use and trims nothing (Telegraf 1.27 to 1.40, `plugins/secretstores/docker`).

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, OFlags, StatxFlags, statx},
    process::geteuid,
};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    DeliverError, OpenError,
    access::Readers,
    acl,
    medium::Medium,
    staged::{Staged, is_leftover, make_folder, remove_leftovers, sync},
};
use crate::model::{Name, Secret};

/// One writing of a file. Whatever alters content, owner, mode or access list moves the time, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: (u32, u32),
    inode: u64,
    /// Since 1970.
    changed: Duration,
}

impl Stamp {
    /// Whether the next change has another stamp for sure: the file's clock ticks in milliseconds, a second is plenty.
    /// One from the future, after a clock was put back, tells nothing.
    pub(super) fn is_settled(&self) -> bool {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        now.checked_sub(self.changed).is_some_and(|age| age > Duration::from_secs(1))
    }
}

/// The folder, opened.
#[derive(Debug)]
pub(super) struct Look(fs::File);

impl Look {
    /// What tells this writing of a file from any other; `None` where there is none.
    pub(super) fn stamp(&self, name: &Name) -> Option<Stamp> {
        let mask = StatxFlags::INO | StatxFlags::CTIME;
        let stat = statx(&self.0, name.as_str(), AtFlags::SYMLINK_NOFOLLOW, mask).ok()?;
        let changed = Duration::new(stat.stx_ctime.tv_sec.try_into().ok()?, stat.stx_ctime.tv_nsec);
        Some(Stamp { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino, changed })
    }
}

/// The folder of delivered files.
///
/// It remembers nothing of them: each look reads the file, so that whatever was altered is seen and put back.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    medium: Medium,
    /// What is not ours and has been told.
    strangers: BTreeSet<OsString>,
}

impl Files {
    /// Takes over a folder, or makes it (0755) where its parent exists. Leftovers of ours are removed.
    ///
    /// # Errors
    /// It cannot be made or read, or others can write in it.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |what| move |source| OpenError { path: folder.to_owned(), what, source };
        make_folder(folder).map_err(failed("cannot make the folder for delivered files"))?;
        let metadata = fs::metadata(folder).map_err(failed("cannot open the folder"))?;
        let mode = metadata.permissions().mode();
        if !metadata.is_dir() {
            return Err(failed("cannot use")(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        if mode & 0o022 != 0 {
            let error = io::Error::other("others can write in it");
            return Err(failed("cannot use the folder for delivered files")(error));
        }
        if mode & 0o001 == 0 {
            tracing::warn!(
                "{folder:?} has mode {:04o}: readers other than its owner cannot enter",
                mode & 0o7777
            );
        }
        let medium = Medium::of(folder).map_err(failed("cannot tell the file system of"))?;
        if let Some(leak) = medium.leak() {
            tracing::warn!("{folder:?} {leak}");
        }
        let files = Self { folder: folder.to_owned(), medium, strangers: BTreeSet::new() };
        remove_leftovers(folder).map_err(failed("cannot remove leftovers in"))?;
        Ok(files)
    }

    /// Whether looking at a file never waits for a disk.
    pub(super) fn are_in_memory(&self) -> bool {
        self.medium.is_memory()
    }

    /// For a look at many files: the way to the folder is gone once.
    pub(super) fn look(&self) -> io::Result<Look> {
        fs::File::open(&self.folder).map(Look)
    }

    /// Whether there is a file of this name, right or wrong.
    pub(super) fn has(&self, name: &Name) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Whether the file is what [`Self::put`] would make it, to the last bit.
    pub(super) fn holds(&self, name: &Name, secret: &Secret, readers: &Readers) -> bool {
        let acl = acl::for_readers(readers, geteuid().as_raw());
        is_right(&self.path(name), secret.expose().as_bytes(), acl.as_deref()).unwrap_or(false)
    }

    /// Makes `FOLDER/NAME` hold exactly these bytes, readable by exactly these readers. Writes nothing where it does
    /// already. Consumers see the old file or the new one.
    ///
    /// # Errors
    /// Consumers see the old file, or that there is none; or the new one, if all that failed was to make the folder
    /// durable.
    pub fn put(&self, name: &Name, secret: &Secret, readers: &Readers) -> Result<(), DeliverError> {
        let path = self.path(name);
        let failed = |what: String| move |source| DeliverError { name: name.clone(), what, source };
        if secret.expose().is_empty() {
            // Telegraf would send it, and be refused for as long.
            let error = io::Error::from(io::ErrorKind::InvalidData);
            return Err(failed(format!("will not write an empty secret to {path:?}"))(error));
        }
        if self.holds(name, secret, readers) {
            return Ok(());
        }
        let staged = self.stage(name).map_err(failed(format!("cannot write {path:?}")))?;
        let acl = acl::for_readers(readers, geteuid().as_raw());
        acl::set(staged.file(), acl.as_deref())
            .map_err(failed(format!("cannot let its readers read {path:?}, on {}", self.medium.name())))?;
        staged
            .place(name.as_str(), secret.expose().as_bytes())
            .map_err(failed(format!("cannot write {path:?}")))
    }

    /// Takes a file away: its consumers get an error, never an empty secret.
    ///
    /// # Errors
    /// It is still there; or it is gone, if all that failed was to make the folder durable.
    pub fn withdraw(&self, name: &Name) -> Result<(), DeliverError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|source| DeliverError {
            name: name.clone(),
            what: format!("cannot remove {path:?}"),
            source,
        })
    }

    /// What lies in the folder without being a known name. Left alone; each is told once.
    pub(super) fn strangers(&mut self, known: &BTreeSet<Name>) -> io::Result<Vec<OsString>> {
        let mut there = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?.file_name();
            if !file.to_str().is_some_and(|file| known.contains(file) || is_leftover(file)) {
                there.insert(file);
            }
        }
        let new = there.difference(&self.strangers).cloned().collect();
        self.strangers = there;
        Ok(new)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.as_str())
    }

    /// The folder may have gone since the start, as `systemd-tmpfiles --remove` does it: then it is made again.
    fn stage(&self, name: &Name) -> io::Result<Staged> {
        match Staged::create(&self.folder, name.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(&self.folder)?;
                Staged::create(&self.folder, name.as_str())
            }
            other => other,
        }
    }
}

/// Whether a file has this content, this access list and nothing else about it. Never follows a link, nor waits for
/// the other end of a pipe.
fn is_right(path: &Path, bytes: &[u8], acl: Option<&[u8]>) -> io::Result<bool> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    // With an ACL the group bits show its mask.
    let mode = if acl.is_some() { 0o640 } else { 0o600 };
    let is_ours = metadata.is_file()
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode() & 0o7777 == mode
        && metadata.len() == bytes.len() as u64
        && acl::is(&file, acl);
    if !is_ours {
        return Ok(false);
    }
    let mut there = Zeroizing::new(vec![0; bytes.len()]);
    file.read_exact(&mut there)?;
    Ok(there.ct_eq(bytes).into())
}
