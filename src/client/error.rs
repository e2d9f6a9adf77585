//! Why the daemon gave no answer, or not the one that was wanted.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{hint::Hint, model::Name};

/// Why the daemon gave no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer at all.
    #[error("the daemon cannot be reached at {socket:?}: {why}")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        why: Unreachable,
    },
    /// An answer that influx-tokend does not give.
    #[error("{socket:?} is no secrets socket of influx-tokend as this program knows it: it {what}")]
    Nonsense {
        /// Where.
        socket: PathBuf,
        /// What was answered, and what was expected.
        what: String,
    },
    /// The daemon has trouble of its own.
    #[error("the daemon at {socket:?} answered with status {status}{}", because(said.as_deref()))]
    Failed {
        /// Where.
        socket: PathBuf,
        /// 429, or 500 and above.
        status: u16,
        /// The daemon's own words.
        said: Option<String>,
    },
    /// The list does not allow it.
    #[error("{}", or(said.as_deref(), match name { Some(name) => format!("token {name} is not for this user"), None => "this user may read no token".to_owned() }))]
    Denied {
        /// Which; `None`: any.
        name: Option<Name>,
        /// The daemon's own words.
        said: Option<String>,
    },
    /// The daemon has no such name.
    #[error("{}", or(said.as_deref(), format!("the daemon has no token {:?}", name.as_str())))]
    Unknown {
        /// Which.
        name: Name,
        /// The daemon's own words.
        said: Option<String>,
    },
    /// There is none to be had yet.
    #[error("{}", or(said.as_deref(), format!("token {name} is not ready")))]
    NotReady {
        /// Which.
        name: Name,
        /// The daemon's own words.
        said: Option<String>,
    },
}

/// What is there in the place of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Folder,
    /// A file, or anything else.
    File,
}

/// Why there was no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unreachable {
    /// No such socket.
    Missing,
    /// Nobody listens.
    Refused,
    /// The system keeps us out.
    NotPermitted,
    /// Something else is there.
    NotASocket(FileKind),
    /// It is not a path, but an address of another kind.
    NotAPath,
    /// The path is none that a socket can have.
    NoSocketPath,
    /// Closed before the first byte.
    Closed,
    /// No answer within this time.
    TimedOut(Duration),
    /// Something else.
    Other(io::Error),
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such socket"),
            Self::Refused => f.write_str("nobody listens there"),
            Self::NotPermitted => f.write_str("permission denied"),
            Self::NotASocket(FileKind::Folder) => f.write_str("it is a folder, expected a socket"),
            Self::NotASocket(FileKind::File) => f.write_str("it is a file, expected a socket"),
            Self::NotAPath => f.write_str("expected the path of a Unix socket"),
            Self::NoSocketPath => f.write_str("a socket's path has 1 to 107 bytes"),
            Self::Closed => f.write_str("it closed the connection without an answer"),
            Self::TimedOut(after) => write!(f, "no answer within {after:.1?}"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// The daemon's own words are whole sentences, which know more than we do.
fn or(said: Option<&str>, ours: String) -> String {
    said.map_or(ours, str::to_owned)
}

fn because(said: Option<&str>) -> String {
    said.map(|said| format!(": {said}")).unwrap_or_default()
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { why: Unreachable::NotASocket(FileKind::Folder), socket } => {
                format!("name the socket in it: {:?}", socket.join("secrets.sock"))
            }
            Self::Unreachable { why, .. } => return why.hint(),
            Self::Nonsense { .. } => {
                "see that `--socket` names the secrets socket, and that both programs have the same version"
                    .to_owned()
            }
            Self::Failed { .. } => {
                "try again; its log says more: `journalctl --unit influx-tokend.service`".to_owned()
            }
            Self::Denied { .. } => "the token's `allow` in the list says who may read it".to_owned(),
            Self::Unknown { .. } => "`influx-secrets list` shows the names".to_owned(),
            Self::NotReady { name, .. } => {
                format!(
                    "`influx-secrets wait {name}` waits for it, `influx-tokend status` shows what it waits for"
                )
            }
        })
    }
}

impl Unreachable {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing => {
                "the daemon is not running, or its socket is elsewhere: name it with `--socket`, or read without \
                 a daemon with `--store`"
                    .to_owned()
            }
            Self::Refused | Self::Closed => {
                "the daemon is not running: `systemctl status influx-tokend.service` shows why"
                    .to_owned()
            }
            Self::NotPermitted => "everybody may connect to the secrets socket: see that its folder has mode 0755 \
                                   and the socket 0666"
                .to_owned(),
            Self::NotASocket(_) | Self::NotAPath => {
                "write the path that `[deliver.socket]` in the list has, as in \"/run/influx-tokend/secrets.sock\"".to_owned()
            }
            Self::NoSocketPath => "name a shorter one with `--socket`".to_owned(),
            Self::TimedOut(_) => "see what the daemon is doing: `systemctl status influx-tokend.service`".to_owned(),
            Self::Other(_) => return None,
        })
    }
}
