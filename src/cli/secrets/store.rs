//! The store, read without a daemon.

use std::{
    cell::OnceCell,
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use super::{Failure, text::bounded};
use crate::{
    model::{Name, Secret},
    nearest::nearest,
    paths::Paths,
    store::{
        StoreError,
        age::{AgeReader, IdentitySource, PLUGIN_TIME, Plugins, Unwrap},
    },
};

/// The store, opened when the first secret is wanted.
pub(super) struct Store {
    path: PathBuf,
    identity: IdentitySource,
    unwrap: Option<PathBuf>,
    is_attended: bool,
    reader: OnceCell<AgeReader>,
}

impl Store {
    pub(super) fn new(path: Option<PathBuf>, identity: Option<PathBuf>, unwrap: Option<PathBuf>) -> Self {
        Self {
            path: path.unwrap_or_else(|| Paths::of_this_process().store),
            identity: identity.map_or(IdentitySource::OfStore, IdentitySource::File),
            unwrap,
            is_attended: true,
            reader: OnceCell::new(),
        }
    }

    /// Where nobody is there to be asked for a passphrase, terminal or not.
    pub(super) fn unattended(
        path: Option<PathBuf>,
        identity: Option<PathBuf>,
        unwrap: Option<PathBuf>,
    ) -> Self {
        Self { is_attended: false, ..Self::new(path, identity, unwrap) }
    }

    pub(super) fn reader(&self) -> Result<&AgeReader, Failure> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let mut person = Person { unwrap: self.unwrap.as_deref(), is_there: self.is_attended };
        let plugins = Plugins::new(PLUGIN_TIME, self.is_attended && rustix::stdio::stdin().is_terminal());
        let reader = AgeReader::open(&self.path, &self.identity, &mut person, plugins)?;
        Ok(self.reader.get_or_init(|| reader))
    }

    pub(super) fn secret(&self, name: &Name) -> Result<Secret, Failure> {
        let reader = self.reader()?;
        let Some(stored) = reader.read(name)? else {
            let names = reader.names()?;
            let near = nearest(name.as_str(), names.iter().map(Name::as_str)).map(str::to_owned);
            return Err(Failure::Unknown { name: name.clone(), near });
        };
        let current = stored.record.into_contents().current.ok_or_else(|| Failure::NotReady(name.clone()))?;
        Ok(current.secret.secret().clone())
    }
}

/// What opens a wrapped identity comes from whoever runs this.
struct Person<'a> {
    unwrap: Option<&'a Path>,
    is_there: bool,
}

impl Unwrap for Person<'_> {
    /// Typed where nobody sees it.
    fn passphrase(&mut self, wrapped: &Path) -> Result<Secret, StoreError> {
        let typed =
            self.is_there.then(|| rpassword::prompt_password("passphrase of the identity: ").ok()).flatten();
        typed.map(Secret::new).ok_or_else(|| StoreError {
            path: wrapped.to_owned(),
            what: "is wrapped by a passphrase, and there is no terminal to ask for it".to_owned(),
            fix: Some("run this at a terminal, or name a clear identity with `--identity`".to_owned()),
            source: None,
        })
    }

    fn identity(&mut self, wrapped: &Path) -> Result<Secret, StoreError> {
        let failed = |what: &str, source| StoreError {
            path: self.unwrap.unwrap_or(wrapped).to_owned(),
            what: what.to_owned(),
            fix: Some("name what opens it with `--unwrap FILE`".to_owned()),
            source,
        };
        let path = self.unwrap.ok_or_else(|| failed("is wrapped for another identity", None))?;
        let read = fs::File::open(path).and_then(bounded);
        let bytes = read.map_err(|error| failed("cannot be read", Some(error)))?.unwrap_or_default();
        String::from_utf8(bytes).map(Secret::new).map_err(|_| failed("holds no identity", None))
    }
}
