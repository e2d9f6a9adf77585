//! Where things are when nobody says otherwise.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The paths of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The list.
    pub list: PathBuf,
    /// The store's folder.
    pub store: PathBuf,
    /// The secrets socket.
    pub socket: PathBuf,
    /// Delivered files, where the list asks for them.
    pub files: PathBuf,
}

impl Paths {
    /// Of a system service, and of root.
    #[must_use]
    pub fn of_the_system() -> Self {
        Self {
            list: "/etc/influx-tokend/tokens.toml".into(),
            store: "/var/lib/influx-tokend".into(),
            socket: "/run/influx-tokend/secrets.sock".into(),
            files: "/run/influx-tokend/secrets".into(),
        }
    }

    /// Of an ordinary user, after the XDG Base Directory Specification. `variable` looks up the environment;
    /// relative values are ignored, as the specification says. `None` where there is no home.
    #[must_use]
    pub fn of_a_user(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        let home = absolute("HOME")?;
        let folder = |name: &str, usual: &str| {
            absolute(name).unwrap_or_else(|| home.join(usual)).join("influx-tokend")
        };
        // Without a run-time folder sockets and files go beside the store: unlike /tmp nobody else can write there.
        let state = folder("XDG_STATE_HOME", ".local/state");
        let run =
            absolute("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |path| path.join("influx-tokend"));
        Some(Self {
            list: folder("XDG_CONFIG_HOME", ".config").join("tokens.toml"),
            store: state,
            socket: run.join("secrets.sock"),
            files: run.join("secrets"),
        })
    }

    /// Makes the folders above an ordinary user's store and socket, 0700 as the XDG Base Directory Specification
    /// says. The system's are made by whoever installs: one that is missing there may be a file system that is not
    /// mounted, and nothing is made in its place.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn make_parents(&self) -> io::Result<()> {
        if *self == Self::of_the_system() {
            return Ok(());
        }
        let parents = [&self.store, &self.socket].into_iter().filter_map(|path| path.parent());
        parents.into_iter().try_for_each(|path| DirBuilder::new().recursive(true).mode(0o700).create(path))
    }

    /// Those of whoever runs this process: root and system services have the system's, anybody with a home in
    /// which to keep things has their own.
    #[must_use]
    pub fn of_this_process() -> Self {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let is_ordinary = !rustix::process::geteuid().is_root() && !is_system_service(&variable);
        is_ordinary.then(|| Self::of_a_user(variable)).flatten().unwrap_or_else(Self::of_the_system)
    }
}

/// systemd names the journal stream for every service; a user's own services also have a run-time folder.
fn is_system_service(variable: &impl Fn(&str) -> Option<PathBuf>) -> bool {
    variable("INVOCATION_ID").is_some()
        && !variable("XDG_RUNTIME_DIR").is_some_and(|path| Path::is_absolute(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_keeps_things_at_home() {
        let paths = Paths::of_a_user(|name| match name {
            "HOME" => Some("/home/ann".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
            "XDG_STATE_HOME" => Some("relative".into()),
            _ => None,
        })
        .expect("a home");
        assert_eq!(paths.list, Path::new("/home/ann/.config/influx-tokend/tokens.toml"));
        assert_eq!(paths.store, Path::new("/home/ann/.local/state/influx-tokend"));
        assert_eq!(paths.socket, Path::new("/run/user/1000/influx-tokend/secrets.sock"));
    }

    #[test]
    fn without_a_home_there_is_no_place() {
        assert_eq!(Paths::of_a_user(|_| None), None);
    }
}
