//! Hooks: units that are reloaded or restarted when a token of theirs has a new value. Adding and removing one, and
//! what its service does, are root's; the daemon only looks at what comes of it.

use std::{io, path::PathBuf};

use rustix::io::Errno;

use crate::{
    config::ConfigError,
    hint::Hint,
    model::{Name, Unit},
    systemctl::SystemctlError,
};

mod add;
mod list;
mod run;

pub use add::{Choice, add, check_names, choose};
pub use list::{ListedHook, ListedToken, Listing, list};
pub use run::run;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// A hook's file.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// systemd.
    #[error("hook {unit}: {source}")]
    Systemctl {
        /// Whose hook.
        unit: Unit,
        /// What systemd did not do.
        source: SystemctlError,
    },
    /// A file or folder.
    #[error("cannot {what} {path:?}: {source}")]
    Io {
        /// What could not be done.
        what: &'static str,
        /// To which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It would wait for ever.
    #[error("token {name}: is not in the list")]
    NotListed {
        /// Which.
        name: Name,
        /// What would do.
        fix: String,
    },
    /// systemd does not know it.
    #[error("systemd knows no unit {0}")]
    NoSuchUnit(Unit),
    /// There is nothing to remove.
    #[error("{0} has no hook")]
    NoHook(Unit),
}

impl HookError {
    /// For a file or folder.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// For what was asked of systemd.
    pub fn of(unit: &Unit) -> impl FnOnce(SystemctlError) -> Self {
        let unit = unit.clone();
        move |source| Self::Systemctl { unit, source }
    }
}

impl Hint for HookError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Systemctl { source, .. } => source.hint(),
            Self::Io { source, .. } => match Errno::from_io_error(source)? {
                Errno::ACCESS | Errno::PERM => Some("run this as root".to_owned()),
                Errno::NOENT => Some("make the folder above it".to_owned()),
                _ => None,
            },
            Self::NotListed { fix, .. } => Some(fix.clone()),
            Self::NoSuchUnit(_) => Some(
                "`systemctl list-unit-files --type=service` shows all there are; for one that is yet to come, say \
                 --reload or --restart"
                    .to_owned(),
            ),
            Self::NoHook(_) => Some("`influx-tokend hook list` shows those that have".to_owned()),
        }
    }
}
