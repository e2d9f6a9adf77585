//! Secrets as files, one per token, for Telegraf's `secretstores.docker` with `dynamic = true`, which reads the file
//! on every use and trims nothing (Telegraf 1.27 to 1.40, `plugins/secretstores/docker`).

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{DeliverError, OpenError, access::Readers, acl};
use crate::model::{Name, Secret};

/// The folder of delivered files.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// What each file was when it was last known to be right, so that looking again costs one system call.
    seen: BTreeMap<Name, Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    generation: u64,
    readers: Readers,
    stamp: Stamp,
}

/// Changes with every change of content, mode, owner or ACL.
type Stamp = (u64, u64, i64, i64);

impl Files {
    /// Takes over a folder, or makes it (0755) where its parent exists. Leftovers of ours are removed.
    ///
    /// # Errors
    /// It cannot be made or read, or others can write in it.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |what, source| OpenError { path: folder.to_owned(), what, source };
        match DirBuilder::new().mode(0o755).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("cannot make the folder for delivered files", error)),
        }
        let metadata = fs::metadata(folder).map_err(|error| failed("cannot open the folder", error))?;
        if metadata.permissions().mode() & 0o022 != 0 {
            let error = io::Error::other("others can write in it");
            return Err(failed("cannot use the folder for delivered files", error));
        }
        warn_where_it_may_reach_a_disk(folder);
        let files = Self { folder: folder.to_owned(), seen: BTreeMap::new() };
        files.remove_leftovers().map_err(|error| failed("cannot remove leftovers", error))?;
        Ok(files)
    }

    /// Makes `FOLDER/NAME` hold exactly these bytes, readable by exactly these readers. Writes nothing where it does
    /// already. Consumers see the old file or the new one.
    ///
    /// # Errors
    /// The file is as it was.
    pub fn put(
        &mut self,
        name: &Name,
        generation: u64,
        secret: &Secret,
        readers: Readers,
    ) -> Result<(), DeliverError> {
        let path = self.folder.join(name.as_str());
        let failed = |what: &str| {
            let what = format!("{what} {path:?}");
            |source| DeliverError { name: name.clone(), what, source }
        };
        if let Some(seen) = self.seen.get(name)
            && (seen.generation, &seen.readers) == (generation, &readers)
            && fs::symlink_metadata(&path).is_ok_and(|metadata| stamp(&metadata) == seen.stamp)
        {
            return Ok(());
        }
        let acl = acl::for_readers(&readers);
        let bytes = secret.expose().as_bytes();
        let stamp = match right_already(&path, bytes, acl.as_deref()) {
            Some(stamp) => stamp,
            None => self.write(&path, bytes, acl.as_deref()).map_err(failed("cannot write"))?,
        };
        self.seen.insert(name.clone(), Seen { generation, readers, stamp });
        Ok(())
    }

    /// Takes a file away: its consumers get an error, never an empty secret.
    ///
    /// # Errors
    /// It is still there.
    pub fn withdraw(&mut self, name: &Name) -> Result<(), DeliverError> {
        self.seen.remove(name);
        let path = self.folder.join(name.as_str());
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

    /// The daemon cannot write beside the folder, so the new file stands in it, under a name that no reference can
    /// have. Mode and ACL are there before the first byte.
    fn write(&self, path: &Path, bytes: &[u8], acl: Option<&[u8]>) -> io::Result<Stamp> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let random = getrandom::u64().map_err(io::Error::other)?;
        let temporary = self.folder.join(format!(".{name}.{random:016x}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let written = (|| {
            if acl.is_some() {
                acl::set(&file, acl)?;
            }
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            sync(&self.folder)?;
            Ok(stamp(&file.metadata()?))
        })();
        if written.is_err() {
            // Gone already, if only the folder could not be synced.
            let _gone = fs::remove_file(&temporary);
        }
        written
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_leftover) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// `.NAME.` and sixteen hexadecimal digits.
fn is_leftover(file: &str) -> bool {
    let Some((name, digits)) = file.strip_prefix('.').and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    name.parse::<Name>().is_ok() && digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a file is what it should be, to the last bit; never follows a link.
fn right_already(path: &Path, bytes: &[u8], acl: Option<&[u8]>) -> Option<Stamp> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    // With an ACL the group bits show its mask.
    let mode = if acl.is_some() { 0o640 } else { 0o600 };
    let ours = metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.permissions().mode() & 0o7777 == mode
        && metadata.len() == bytes.len() as u64
        && acl::get(&file).ok()?.as_deref() == acl;
    if !ours {
        return None;
    }
    let mut there = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
    (&file).take(bytes.len() as u64 + 1).read_to_end(&mut there).ok()?;
    bool::from(there.ct_eq(bytes)).then(|| stamp(&metadata))
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Delivered secrets are in clear: they belong into memory that no disk ever sees (rule 18).
fn warn_where_it_may_reach_a_disk(folder: &Path) {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    #[expect(clippy::cast_sign_loss, reason = "a magic number")]
    let kind = rustix::fs::statfs(folder).map(|statfs| statfs.f_type as u64);
    match kind {
        Ok(RAMFS) => {}
        Ok(TMPFS) => {
            if let Some(swap) = unencrypted_swap() {
                tracing::warn!(
                    "{folder:?} may be swapped out in clear to {swap}; encrypt the swap, or turn it off"
                );
            }
        }
        Ok(_) => tracing::warn!("{folder:?} is not on tmpfs: delivered secrets lie on a disk in clear"),
        Err(error) => tracing::warn!("{folder:?}: the kind of its file system is not known: {error}"),
    }
}

/// The first swap space that is neither memory itself nor on a device mapper, which may be dm-crypt.
fn unencrypted_swap() -> Option<String> {
    let swaps = fs::read_to_string("/proc/swaps").ok()?;
    swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .find(|path| {
            !path.starts_with("/dev/zram")
                && !path.starts_with("/dev/dm-")
                && !path.starts_with("/dev/mapper/")
        })
        .map(str::to_owned)
}
