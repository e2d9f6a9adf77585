//! What opens the store, and whom it is sealed for.

use std::{
    fmt, io, iter,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use super::plugin::{Plugin, PluginError, Plugins};
use crate::{
    model::Secret,
    store::{
        StoreError, file,
        folder::{Layout, store_error, store_fault},
    },
};

/// The largest identity file.
const MAX_IDENTITY_BYTES: u64 = 64 << 10;
/// The largest work factor of a passphrase, as a power of two: about a minute on a small board.
const MAX_WORK: u8 = 22;

/// Where the identity comes from.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// `identity.txt` or `identity.age` in the store's folder.
    OfStore,
    /// Another file, clear or wrapped.
    File(PathBuf),
    /// The content of one.
    Text(Secret),
}

/// What a wrapped identity is opened with. Asked only where there is one, and once.
pub trait Unwrap {
    /// For one that `age -p` has wrapped.
    ///
    /// # Errors
    /// There is none to be had.
    fn passphrase(&mut self, wrapped: &Path) -> Result<Secret, StoreError>;

    /// For one that is sealed for another identity: a plugin's, or a key that is kept elsewhere. The content of an
    /// identity file.
    ///
    /// # Errors
    /// There is none to be had.
    fn identity(&mut self, wrapped: &Path) -> Result<Secret, StoreError>;
}

/// What a list names for it.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// `[store] passphrase`.
    pub passphrase: Option<Secret>,
    /// `[store] unwrap`.
    pub identity: Option<Secret>,
}

impl Unwrap for Keys {
    fn passphrase(&mut self, wrapped: &Path) -> Result<Secret, StoreError> {
        let fix = "name it in [store]: passphrase = { credential = \"…\" }";
        self.passphrase.clone().ok_or_else(|| store_fault(wrapped, "is wrapped by a passphrase", fix))
    }

    fn identity(&mut self, wrapped: &Path) -> Result<Secret, StoreError> {
        let fix = "name what opens it in [store]: unwrap = { file = \"…\" }";
        self.identity.clone().ok_or_else(|| store_fault(wrapped, "is wrapped for another identity", fix))
    }
}

/// What opens the store: one or more identities, in memory.
pub struct Identities {
    x25519: Vec<age::x25519::Identity>,
    plugins: Vec<Plugin>,
    /// The public keys of the first, made when something is sealed: a reader would pay an eighth of its time for them.
    #[cfg(feature = "daemon")]
    public: std::sync::OnceLock<Vec<age::x25519::Recipient>>,
    /// What opens records as well; nothing is sealed for it.
    also: Vec<Box<dyn age::Identity + Send + Sync>>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({} x25519, {} plugins)", self.x25519.len(), self.plugins.len())
    }
}

impl Identities {
    /// Reads the identity; unwraps it once, where it is wrapped. `None` where the store has none.
    pub(super) fn open(
        layout: &Layout,
        source: &IdentitySource,
        unwrap_with: &mut dyn Unwrap,
        plugins: Plugins,
    ) -> Result<Option<Self>, StoreError> {
        let (path, text) = match source {
            IdentitySource::Text(text) => {
                return parse(text.expose(), &PathBuf::from("(given)"), plugins).map(Some);
            }
            IdentitySource::File(path) => (path.clone(), read(path)?),
            IdentitySource::OfStore => match (read(&layout.identity())?, read(&layout.wrapped_identity())?) {
                (Some(_), Some(_)) => {
                    let what = "there is an identity.txt and an identity.age";
                    return Err(store_fault(&layout.root, what, "keep the one that opens the records"));
                }
                (Some(text), None) => (layout.identity(), Some(text)),
                (None, wrapped) => (layout.wrapped_identity(), wrapped),
            },
        };
        let Some(bytes) = text else {
            return match source {
                IdentitySource::OfStore => Ok(None),
                _ => Err(store_error(&path, "cannot read the identity", io::ErrorKind::NotFound.into())),
            };
        };
        let bytes = if bytes.starts_with(b"age-encryption.org/") {
            unwrap(&bytes, &path, unwrap_with, plugins)?
        } else {
            bytes
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| no_identity(&path, "is not text"))?;
        parse(text, &path, plugins).map(Some)
    }

    /// What is in this file opens records as well; nothing is sealed for it.
    #[cfg(feature = "daemon")]
    pub(super) fn read_with(
        &mut self,
        path: &Path,
        unwrap_with: &mut dyn Unwrap,
        plugins: Plugins,
    ) -> Result<(), StoreError> {
        let layout = Layout { root: PathBuf::new() };
        let source = IdentitySource::File(path.to_owned());
        if let Some(other) = Self::open(&layout, &source, unwrap_with, plugins)? {
            self.also.extend(other.x25519.into_iter().map(|identity| Box::new(identity) as _));
            self.also.extend(other.plugins.into_iter().map(|identity| Box::new(identity) as _));
        }
        Ok(())
    }

    /// A new one, and the text of its file.
    #[cfg(feature = "daemon")]
    pub(super) fn generate() -> (Self, SecretString) {
        use age::secrecy::ExposeSecret as _;

        let identity = age::x25519::Identity::generate();
        let text = SecretString::from(format!(
            "# public key: {}\n{}\n",
            identity.to_public(),
            identity.to_string().expose_secret()
        ));
        let mut identities = Self::none();
        identities.x25519.push(identity);
        (identities, text)
    }

    /// Each that may open a file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        let plugins = self.plugins.iter().map(|identity| identity as &dyn age::Identity);
        let also = self.also.iter().map(|identity| &**identity as &dyn age::Identity);
        self.x25519.iter().map(|identity| identity as &dyn age::Identity).chain(plugins).chain(also)
    }

    /// Whom files are sealed for, so that this host can open them.
    #[cfg(feature = "daemon")]
    pub(super) fn recipients(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        let public =
            self.public.get_or_init(|| self.x25519.iter().map(age::x25519::Identity::to_public).collect());
        let plugins = self.plugins.iter().map(|recipient| recipient as &dyn age::Recipient);
        public.iter().map(|recipient| recipient as &dyn age::Recipient).chain(plugins)
    }
}

/// The recipients that a list names beside the host itself.
///
/// # Errors
/// One that is none, or of a kind that is not used.
#[cfg(feature = "daemon")]
pub(super) fn parse_recipients(
    texts: &[String],
    path: &Path,
    plugins: Plugins,
) -> Result<Vec<Box<dyn age::Recipient + Send + Sync>>, StoreError> {
    texts
        .iter()
        .map(|text| -> Result<Box<dyn age::Recipient + Send + Sync>, StoreError> {
            if let Ok(recipient) = age::x25519::Recipient::from_str(text) {
                return Ok(Box::new(recipient));
            }
            let recipient = age::plugin::Recipient::from_str(text).map_err(|_| {
                store_fault(path, format!("recipient {text:?} is none"), "write an age1… recipient")
            })?;
            let plugin = Plugin::of_recipient(&recipient, plugins)
                .map_err(|_| missing_plugin(path, recipient.plugin()))?;
            Ok(Box::new(plugin))
        })
        .collect()
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    match file::read(path, MAX_IDENTITY_BYTES) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(store_error(path, "cannot read the identity", error)),
    }
}

fn unwrap(
    bytes: &[u8],
    path: &Path,
    unwrap: &mut dyn Unwrap,
    plugins: Plugins,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let wrong = |what: &str| {
        store_fault(path, what, "check that it is this store's identity, and what it was wrapped by")
    };
    let decryptor =
        age::Decryptor::new_buffered(bytes).map_err(|_| wrong("is no age file that this program reads"))?;
    let reader = if decryptor.is_scrypt() {
        let passphrase = SecretString::from(unwrap.passphrase(path)?.expose().to_owned());
        let mut identity = age::scrypt::Identity::new(passphrase);
        identity.set_max_work_factor(MAX_WORK);
        decryptor
            .decrypt(iter::once(&identity as &dyn age::Identity))
            .map_err(|_| wrong("the passphrase does not open the identity"))?
    } else {
        let identities = parse(unwrap.identity(path)?.expose(), path, plugins)?;
        decryptor.decrypt(identities.iter()).map_err(|error| match PluginError::of_decryption(error) {
            Ok(error) => error.of_store(path),
            Err(_) => wrong("what it was wrapped for does not open the identity"),
        })?
    };
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    io::Read::read_to_end(&mut io::Read::take(reader, MAX_IDENTITY_BYTES), &mut text)
        .map_err(|_| wrong("the identity is cut short or altered"))?;
    Ok(text)
}

/// Lines of an identity file: comments, X25519 identities and plugins'. An error tells the line's number, never the
/// line.
fn parse(text: &str, path: &Path, plugins: Plugins) -> Result<Identities, StoreError> {
    let mut identities = Identities::none();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Ok(identity) = age::x25519::Identity::from_str(line) {
            identities.x25519.push(identity);
        } else if let Ok(identity) = age::plugin::Identity::from_str(line) {
            let plugin = Plugin::of_identity(&identity, plugins);
            identities.plugins.push(plugin.map_err(|_| missing_plugin(path, identity.plugin()))?);
        } else {
            let what = format!("line {} is no identity", number + 1);
            let fix = "expected AGE-SECRET-KEY-1… or AGE-PLUGIN-…; ssh keys are not used";
            return Err(store_fault(path, what, fix));
        }
    }
    if identities.x25519.is_empty() && identities.plugins.is_empty() {
        return Err(no_identity(path, "holds no identity"));
    }
    Ok(identities)
}

impl Identities {
    fn none() -> Self {
        Self {
            x25519: vec![],
            plugins: vec![],
            #[cfg(feature = "daemon")]
            public: std::sync::OnceLock::new(),
            also: vec![],
        }
    }
}

fn missing_plugin(path: &Path, name: &str) -> StoreError {
    let what = format!("needs the age plugin {name:?}, which is not there");
    store_fault(path, what, format!("install age-plugin-{name} where PATH finds it"))
}

fn no_identity(path: &Path, what: &str) -> StoreError {
    store_fault(
        path,
        format!("the identity {what}"),
        "put back the identity that the records were sealed for",
    )
}
