//! Where secrets come from.

use std::{cell::RefCell, collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use super::{Failure, arguments::From, store::Store};
use crate::{
    client::Client,
    model::{Name, Secret},
    paths::Paths,
};

/// The daemon or a store; each name is read once.
pub(super) struct Source {
    pub(super) origin: Origin,
    read: RefCell<BTreeMap<Name, Secret>>,
}

pub(super) enum Origin {
    Daemon(Client),
    Store(Store),
}

impl Source {
    /// `relays`: what is read goes to somebody else.
    pub(super) fn new(from: From, relays: bool) -> Self {
        let origin = match from {
            From::Daemon(socket) if relays => Origin::Daemon(client(socket).relaying()),
            From::Daemon(socket) => Origin::Daemon(client(socket)),
            From::Store { path, identity, unwrap } => Origin::Store(Store::new(path, identity, unwrap)),
        };
        Self { origin, read: RefCell::default() }
    }

    /// One secret.
    pub(super) fn secret(&self, name: &Name) -> Result<Secret, Failure> {
        if let Some(secret) = self.read.borrow().get(name) {
            return Ok(secret.clone());
        }
        let secret = match &self.origin {
            Origin::Daemon(client) => client.secret(name)?,
            Origin::Store(store) => store.secret(name)?,
        };
        self.read.borrow_mut().insert(name.clone(), secret.clone());
        Ok(secret)
    }

    /// Has each name read again, and nothing in memory until then.
    pub(super) fn forget(&self) {
        self.read.borrow_mut().clear();
    }
}

/// Of the daemon at this socket, else the one that the environment names, else the usual one.
pub(super) fn client(named: Option<PathBuf>) -> Client {
    Client::new(socket(named))
}

/// Where that is.
pub(super) fn socket(named: Option<PathBuf>) -> PathBuf {
    let of_environment = || {
        let path = std::env::var_os("INFLUX_SECRETS_SOCKET").filter(|path| !path.is_empty());
        path.map(PathBuf::from)
    };
    named.or_else(of_environment).map_or_else(|| Paths::of_this_process().socket, path_of)
}

/// Telegraf, Docker and curl write `unix:///PATH` where they take other addresses too.
fn path_of(socket: PathBuf) -> PathBuf {
    let bytes = socket.as_os_str().as_bytes();
    match ["unix://", "unix:"].iter().find_map(|scheme| bytes.strip_prefix(scheme.as_bytes())) {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_by_its_path_or_its_address() {
        for (named, path) in [
            ("/run/x.sock", "/run/x.sock"),
            ("unix:///run/x.sock", "/run/x.sock"),
            ("unix:/run/x.sock", "/run/x.sock"),
            ("x.sock", "x.sock"),
            ("./unix:x", "./unix:x"),
        ] {
            assert_eq!(socket(Some(named.into())), PathBuf::from(path), "{named}");
        }
    }
}
