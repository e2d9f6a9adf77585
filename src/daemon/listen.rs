//! The sockets we answer on: those that systemd listens on for us, else our own.

use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
            net::{UnixListener as StdListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::sockopt::socket_acceptconn,
};
use tokio::net::UnixListener;

use crate::{deliver::Left, hint::Hint};

/// Who may speak to the admin socket besides root and the daemon's own user.
const ADMIN_GROUP: &str = "influx-tokend-admin";
/// The secrets socket is for everybody: each request is decided by who makes it.
const SECRETS_MODE: u32 = 0o666;
/// Where systemd asks for credentials nobody else may, but root, as which it does, and whoever owns the socket.
const CREDENTIALS_MODE: u32 = 0o600;

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("socket {path:?}: {what}: {source}")]
pub(super) struct ListenError {
    path: PathBuf,
    unit: &'static str,
    what: &'static str,
    #[source]
    source: io::Error,
}

impl Hint for ListenError {
    fn hint(&self) -> Option<String> {
        Some(match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                "end the other process, or name another path in [deliver.socket]".to_owned()
            }
            io::ErrorKind::AlreadyExists => "move away what stands there".to_owned(),
            io::ErrorKind::PermissionDenied => format!(
                "make its folder belong to the user this runs as, or let systemd listen: `systemctl enable --now {}`",
                self.unit
            ),
            _ => return None,
        })
    }
}

/// The daemon's sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) secrets: Listening,
    pub(super) admin: Listening,
    /// Where it cannot be had, the rest goes on without.
    pub(super) credentials: Option<Listening>,
}

/// What systemd passed to this process. Taken once: the descriptors have one owner.
#[derive(Debug, Default)]
pub(super) struct Passed {
    listening: Vec<(PathBuf, StdListener)>,
    /// What the process before has left unanswered.
    left: Vec<Left>,
}

impl Passed {
    /// All listening Unix sockets, by the path they are bound to, and the connections that were kept for us.
    pub(super) fn take() -> Self {
        let fds = sd_listen_fds::get().unwrap_or_else(|error| {
            tracing::warn!("what systemd says of its sockets makes no sense: {error}");
            vec![]
        });
        let mut passed = Self::default();
        for (name, fd) in fds {
            let (name, fd) = (name.unwrap_or_default(), fd.into_std());
            // Programs that we start have no business with it.
            let is_ours = fcntl_setfd(&fd, FdFlags::CLOEXEC).is_ok() && passed.add(&name, fd);
            if !is_ours {
                tracing::warn!("systemd passed {name:?}, which is no unix socket with a path");
            }
        }
        passed
    }

    /// Whether it is something of ours.
    fn add(&mut self, name: &str, fd: OwnedFd) -> bool {
        if !socket_acceptconn(&fd).unwrap_or(true) {
            let left = Left::new(name, fd.into());
            let is_ours = left.is_some();
            self.left.extend(left);
            return is_ours;
        }
        let listener = StdListener::from(fd);
        let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        let is_ours = path.is_some();
        self.listening.extend(path.map(|path| (path, listener)));
        is_ours
    }

    /// The connections that were kept for us: whoever takes them answers.
    pub(super) fn take_left(&mut self) -> Vec<Left> {
        std::mem::take(&mut self.left)
    }

    /// Another descriptor of the socket, so that a start that fails halfway can be tried again.
    fn at(&self, path: &Path) -> Option<io::Result<StdListener>> {
        self.listening.iter().find(|(there, _)| there == path).map(|(_, listener)| listener.try_clone())
    }
}

impl Sockets {
    /// All of them, the others beside the secrets socket.
    ///
    /// # Errors
    /// One cannot be made that nothing goes on without.
    pub(super) fn open(secrets: &Path, passed: &Passed) -> Result<Self, ListenError> {
        let (admin, credentials) =
            (secrets.with_file_name("admin.sock"), secrets.with_file_name("credentials.sock"));
        let group = uzers::get_group_by_name(ADMIN_GROUP).map(|group| group.gid());
        let sockets = Self {
            secrets: Listening::open(secrets, "influx-tokend.socket", passed, |path| {
                fs::set_permissions(path, Permissions::from_mode(SECRETS_MODE))
            })?,
            admin: Listening::open(&admin, "influx-tokend-admin.socket", passed, |path| {
                // Without the group, or the right to give it the socket, it is ours alone.
                let given = group.is_some() && chown(path, None, group).is_ok();
                fs::set_permissions(path, Permissions::from_mode(if given { 0o660 } else { 0o600 }))
            })?,
            credentials: Self::optional(Listening::open(
                &credentials,
                "influx-tokend-credentials.socket",
                passed,
                |path| fs::set_permissions(path, Permissions::from_mode(CREDENTIALS_MODE)),
            )),
        };
        let ours = [secrets, &admin, &credentials];
        for (path, _) in passed.listening.iter().filter(|(path, _)| !ours.contains(&path.as_path())) {
            tracing::warn!("systemd listens on {path:?}, which the list does not name: nobody answers there");
        }
        Ok(sockets)
    }

    /// Somebody may have masked its unit, who wants no credentials.
    fn optional(opened: Result<Listening, ListenError>) -> Option<Listening> {
        opened
            .inspect_err(|error| {
                tracing::warn!("no credentials are given: {error}");
                error.hint().iter().for_each(|hint| tracing::warn!("hint: {hint}"));
            })
            .ok()
    }
}

/// A socket that is listened on. One that we made ourselves goes away with it.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    _made: Option<Made>,
}

impl Listening {
    fn open(
        path: &Path,
        unit: &'static str,
        passed: &Passed,
        protect: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Self, ListenError> {
        let failed = |what| move |source| ListenError { path: path.to_owned(), unit, what, source };
        let (listener, made) = match passed.at(path) {
            Some(listener) => (listener.map_err(failed("cannot use"))?, None),
            None => {
                let (listener, made) = make(path, protect).map_err(failed("cannot listen"))?;
                (listener, Some(made))
            }
        };
        listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map(|listener| Self { listener, _made: made })
            .map_err(failed("cannot use"))
    }

    /// To be accepted on, and what must be kept for as long.
    pub(super) fn into_parts(self) -> (UnixListener, impl Sized) {
        (self.listener, self._made)
    }
}

/// A socket's file.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    inode: u64,
}

impl Drop for Made {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours {
            // If it stays, the next start replaces it.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

/// Listens beside the path and puts the socket into place when all is set: clients see the old one or the new one.
fn make(path: &Path, protect: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<(StdListener, Made)> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        // Somebody may be serving there. One that nobody answers on was left behind.
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    // Short: the path of a socket has 107 bytes at most.
    let random = getrandom::u32().map_err(io::Error::other)?;
    let temporary = path.with_file_name(format!(".{random:08x}"));
    let listener = StdListener::bind(&temporary)?;
    let placed = protect(&temporary).and_then(|()| {
        fs::rename(&temporary, path)?;
        fs::symlink_metadata(path)
    });
    match placed {
        Ok(metadata) => Ok((listener, Made { path: path.to_owned(), inode: metadata.ino() })),
        Err(error) => {
            let _gone = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Listening, ListenError> {
        Listening::open(path, "influx-tokend.socket", &Passed::default(), |path| {
            fs::set_permissions(path, Permissions::from_mode(SECRETS_MODE))
        })
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_ours_goes_with_us() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secrets.sock");
        drop(StdListener::bind(&path).expect("bound"));
        let listening = open(&path).expect("replaced");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, SECRETS_MODE);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
        UnixStream::connect(&path).expect("answered");
        let error = open(&path).expect_err("somebody answers there");
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(listening);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secrets.sock");
        fs::write(&path, "a file").expect("written");
        let error = open(&path).expect_err("a file is there");
        assert_eq!(error.hint().as_deref(), Some("move away what stands there"));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "a file");
        // And another's socket that took our place stays too.
        fs::remove_file(&path).expect("moved away");
        let listening = open(&path).expect("made");
        fs::remove_file(&path).expect("taken away");
        let _other = StdListener::bind(&path).expect("bound");
        drop(listening);
        assert!(path.exists());
    }
}
