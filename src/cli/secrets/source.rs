//! Where secrets and texts come from.

use std::{
    cell::OnceCell,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::Failure;
use crate::{
    model::{Name, Secret},
    paths::Paths,
    store::{
        StoreError,
        age::{AgeReader, IdentitySource, Unwrap},
    },
};

/// The largest text with references.
pub(super) const MAX_TEXT: u64 = 16 << 20;

/// The store, opened when the first secret is wanted.
pub(super) struct Source {
    store: PathBuf,
    identity: IdentitySource,
    unwrap: Option<PathBuf>,
    reader: OnceCell<AgeReader>,
}

impl Source {
    pub(super) fn new(store: Option<PathBuf>, identity: Option<PathBuf>, unwrap: Option<PathBuf>) -> Self {
        Self {
            store: store.unwrap_or_else(|| Paths::of_this_process().store),
            identity: identity.map_or(IdentitySource::OfStore, IdentitySource::File),
            unwrap,
            reader: OnceCell::new(),
        }
    }

    pub(super) fn reader(&self) -> Result<&AgeReader, Failure> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let reader =
            AgeReader::open(&self.store, &self.identity, &mut Person { unwrap: self.unwrap.as_deref() })?;
        Ok(self.reader.get_or_init(|| reader))
    }

    /// One secret.
    pub(super) fn secret(&self, name: &Name) -> Result<Secret, Failure> {
        let reader = self.reader()?;
        let Some(stored) = reader.read(name)? else {
            let near = nearest(name, &reader.names()?);
            return Err(Failure::Unknown { name: name.clone(), near });
        };
        let current = stored.record.current.ok_or_else(|| Failure::NotReady(name.clone()))?;
        Ok(current.secret.secret().clone())
    }
}

/// What opens a wrapped identity comes from whoever runs this.
struct Person<'a> {
    unwrap: Option<&'a Path>,
}

impl Unwrap for Person<'_> {
    /// Typed where nobody sees it.
    fn passphrase(&mut self, wrapped: &Path) -> Result<Secret, StoreError> {
        rpassword::prompt_password("passphrase of the identity: ").map(Secret::new).map_err(|_| StoreError {
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

/// The name that was probably meant.
fn nearest(name: &Name, names: &[Name]) -> Option<Name> {
    names
        .iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(name.as_str(), known.as_str()), known))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.clone())
}

/// A text from a file, or from stdin for `-`.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File { what: "cannot read", path: path.to_owned(), source };
    let bytes = if path == Path::new("-") {
        bounded(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(bounded)
    };
    let bytes = bytes.map_err(failed)?.ok_or_else(|| Failure::TooLarge(path.to_owned()))?;
    String::from_utf8(bytes).map_err(|_| Failure::NotText(path.to_owned()))
}

fn bounded(reader: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_TEXT).then_some(bytes))
}
