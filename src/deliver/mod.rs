//! Making secrets available to consumers.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::io::Errno;
use tokio::sync::Notify;

use crate::{
    config::ConfigError,
    hint::Hint,
    model::{Allow, Behind, Credential, Holders, Name},
};

mod access;
mod acl;
mod bounded;
pub mod credentials;
mod files;
mod generations;
mod hooks;
mod medium;
pub mod socket;
mod staged;
#[cfg(test)]
mod tests;
mod ways;

pub use access::{Kind, Readers, Unresolved, Why};
pub use credentials::{Left, Refused};
pub use files::Files;
pub use hooks::{Hooks, Read as ReadHooks};

use access::{Nss, Resolver};
use credentials::Credentials;
use socket::{Book, Secrets, Served};
use ways::Ways;

/// One value on its way to its consumers.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Which token.
    pub name: &'a Name,
    /// Which value of it.
    pub generation: u64,
    /// The value; `None` while there is none to be had: consumers then get an error, never an empty secret.
    pub secret: Option<&'a Credential>,
    /// Who may read it.
    pub allow: &'a Allow,
    /// No list has been read yet: a delivered file that is newer than this value stays (rule 16).
    pub keep_newer: bool,
    /// This process has promoted it, and nobody had it before: all its readers can be known.
    pub fresh: bool,
    /// The oldest generation whose value may still work: who has an older one does not matter any more.
    pub oldest: u64,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Consumers get this value now.
    Done,
    /// The same, but for what [`Deliver::note`] does.
    Unnoted,
    /// Consumers keep a newer value than this one (see [`Delivery::keep_newer`]).
    NewerStays,
}

/// Every way in which secrets reach consumers.
pub trait Deliver: Send + Sync {
    /// Makes this the value that consumers get. Does nothing where it is already.
    fn deliver(&self, delivery: Delivery<'_>)
    -> impl Future<Output = Result<Delivered, DeliverError>> + Send;

    /// Which value of this name consumers have, if any: also one that a former process delivered.
    fn generation(&self, name: &Name) -> impl Future<Output = Option<u64>> + Send;

    /// After everything has been delivered, and nothing else since: the names that are to be looked at again, for their
    /// files are not as they were left. `None`: all of them.
    fn altered(&self) -> impl Future<Output = Option<Vec<Name>>> + Send {
        std::future::ready(None)
    }

    /// Makes known, to whoever follows that without reading secrets, which generations have been delivered. Apart from
    /// the deliveries because it takes the longer the more names there are: of many deliveries only the last is
    /// followed by it.
    fn note(&self) -> impl Future<Output = Result<(), NoteError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Who may still hold a value of this name that is older than `generation`, the current one (rule 9).
    fn holders(&self, name: &Name, generation: u64) -> impl Future<Output = Holders> + Send {
        // Where nobody looks, nobody knows.
        let _nobody_looks = (name, generation);
        std::future::ready(Holders::default())
    }

    /// These are all the names there are, and who may read each: what has not been delivered yet is answered as not
    /// ready, where there is somebody to answer.
    fn expect(&self, names: &BTreeMap<&Name, &Allow>) -> impl Future<Output = ()> + Send {
        let _nobody_asks = names;
        std::future::ready(())
    }
}

/// A value that could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("token {name}: {what}: {source}")]
pub struct DeliverError {
    /// Which token.
    pub name: Name,
    /// What could not be done, to which file.
    pub what: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Hint for DeliverError {
    fn hint(&self) -> Option<String> {
        fix_for(&self.source)
    }
}

/// The generations that have been delivered could not be made known.
#[derive(Debug, thiserror::Error)]
#[error("cannot note in {path:?} which generations are delivered: {source}")]
pub struct NoteError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Hint for NoteError {
    fn hint(&self) -> Option<String> {
        fix_for(&self.source)
    }
}

/// A way that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path:?}: {source}")]
pub struct OpenError {
    /// Where.
    pub path: PathBuf,
    /// What could not be done.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Hint for OpenError {
    fn hint(&self) -> Option<String> {
        fix_for(&self.source)
    }
}

fn fix_for(error: &io::Error) -> Option<String> {
    let fix = match Errno::from_io_error(error)? {
        Errno::NOENT => "make the folder above it, as the shipped tmpfiles.d does",
        Errno::ACCESS | Errno::PERM => "make the folder belong to the user this runs as",
        Errno::NOSPC | Errno::DQUOT => "make room on its file system",
        Errno::ROFS => "mount its file system writable; in a unit, name it in ReadWritePaths=",
        Errno::OPNOTSUPP => "deliver to a file system with POSIX ACLs, such as the tmpfs at /run",
        Errno::INVAL => "look whether its ids exist here: PrivateUsers=yes and containers hide most of them",
        Errno::ISDIR | Errno::NOTDIR | Errno::LOOP => "move away what stands there",
        _ => return None,
    };
    Some(fix.to_owned())
}

/// What is handed out from memory alone: over the secrets socket, and as credentials.
#[derive(Clone, Debug)]
pub struct Memory {
    resolver: Arc<Mutex<Resolver<Nss>>>,
    served: Arc<Served>,
    book: Arc<Book>,
    secrets: Arc<Secrets>,
    credentials: Arc<Credentials>,
}

impl Memory {
    /// Nothing yet. `epoch` tells this process from others.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let (served, book) = (Arc::new(Served::new(epoch)), Arc::<Book>::default());
        let resolver = Arc::new(Mutex::new(Resolver::new(Nss)));
        let secrets = Arc::new(Secrets::new(served.clone(), book.clone(), resolver.clone()));
        let credentials = Arc::new(Credentials::new(secrets.clone(), served.clone(), book.clone()));
        Self { resolver, served, book, secrets, credentials }
    }

    /// What answers on the secrets socket.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.clone()
    }

    /// What answers where systemd asks for credentials.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.clone()
    }

    /// See [`Deliver::expect`].
    pub async fn expect(&self, names: &BTreeMap<&Name, &Allow>) {
        let Some(without_value) = self.served.without_value(names) else { return };
        let names: BTreeSet<Name> = names.keys().map(|name| (*name).clone()).collect();
        let (served, book, resolver) = (self.served.clone(), self.book.clone(), self.resolver.clone());
        let look = move || {
            let resolve =
                |(name, allow): (Name, Allow)| (name, lock(&resolver).resolve(&allow, Instant::now()));
            served.expect(&names, without_value.into_iter().map(resolve).collect());
            book.retain(&names);
        };
        // It ends early only with the program.
        let _ended = tokio::task::spawn_blocking(look).await;
    }
}

/// The deliveries of this host.
#[derive(Clone, Debug)]
pub struct Deliveries {
    memory: Memory,
    hooks: Option<Hooks>,
    /// Told whenever another value is delivered.
    news: Arc<Notify>,
    /// Held across the blocking work, and handed out in the order of asking: of two values the later one stays, even
    /// if nobody waits for the earlier one any more.
    ways: Arc<tokio::sync::Mutex<Ways>>,
}

impl Deliveries {
    /// Opens each way that the list asks for, besides the one from memory. `run` is the folder for the daemon's other
    /// run-time files. Without [`Self::with_hooks`] there are none.
    ///
    /// # Errors
    /// A folder cannot be made or used.
    pub async fn open(files: Option<PathBuf>, run: &Path, memory: Memory) -> Result<Self, OpenError> {
        let daemon = run.join("daemon");
        let open = move || {
            let ways = Ways::open(files.as_deref(), &daemon, memory.clone())?;
            let news = ways.generations.news().clone();
            Ok(Self { memory, hooks: None, news, ways: Arc::new(tokio::sync::Mutex::new(ways)) })
        };
        tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// What answers on the secrets socket.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.memory.secrets()
    }

    /// What answers where systemd asks for credentials.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.memory.credentials()
    }

    /// The same, for these hooks too.
    #[must_use]
    pub fn with_hooks(self, hooks: Hooks) -> Self {
        Self { hooks: Some(hooks), ..self }
    }

    /// Which hooks have not acknowledged something that is delivered, and what cannot be told.
    pub async fn behind(&self) -> (Vec<Behind>, Vec<ConfigError>) {
        let Some(hooks) = self.hooks.clone() else { return (vec![], vec![]) };
        let delivered = self.delivered().await;
        // It ends early only with the program.
        tokio::task::spawn_blocking(move || hooks.behind(&delivered)).await.unwrap_or_default()
    }

    /// Which hooks have not acknowledged this value of a name, in words for people (rule 9).
    pub async fn waiting(&self, name: &Name, generation: u64) -> BTreeSet<String> {
        let (Some(hooks), name) = (self.hooks.clone(), name.clone()) else { return BTreeSet::new() };
        let look = tokio::task::spawn_blocking(move || hooks.waiting(&name, generation));
        look.await.unwrap_or_else(|_| BTreeSet::from(["hooks cannot be looked at any more".to_owned()]))
    }

    /// Waits until another value has been delivered. One that was before counts, if nobody has waited since.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Has hooks look again at what is delivered.
    ///
    /// # Errors
    /// The file of the generations cannot be touched.
    pub async fn touch(&self) -> io::Result<()> {
        let mut ways = Arc::clone(&self.ways).lock_owned().await;
        let touch = tokio::task::spawn_blocking(move || ways.generations.touch());
        touch.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Which generation of each name has been delivered, by former processes too.
    pub async fn delivered(&self) -> BTreeMap<Name, u64> {
        self.ways.lock().await.generations.delivered().clone()
    }

    /// Says, once for each, what lies among the delivered files without being one: other people's files, and those of
    /// names that neither list nor store knows. They are left alone.
    pub async fn report_strangers(&self, known: BTreeSet<Name>) {
        let mut ways = Arc::clone(&self.ways).lock_owned().await;
        let look = move || match ways.files.as_mut().map(|files| files.strangers(&known)) {
            Some(Ok(strangers)) => {
                for file in strangers {
                    tracing::warn!(
                        "{file:?} lies among the delivered files and is not ours: it is left alone"
                    );
                }
            }
            Some(Err(error)) => tracing::warn!("cannot look for strange files: {error}"),
            None => {}
        };
        // It ends early only with the program.
        let _ended = tokio::task::spawn_blocking(look).await;
    }
}

impl Deliver for Deliveries {
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<Delivered, DeliverError> {
        let mut ways = Arc::clone(&self.ways).lock_owned().await;
        self.memory.book.forget(delivery.name, delivery.oldest);
        if ways.are_settled(&delivery, Instant::now()) {
            return Ok(Delivered::Done);
        }
        let (name, allow) = (delivery.name.clone(), delivery.allow.clone());
        let secret = delivery.secret.cloned();
        let Delivery { generation, keep_newer, fresh, oldest, .. } = delivery;
        let work = move || {
            let (name, secret, allow) = (&name, secret.as_ref(), &allow);
            ways.deliver(&Delivery { name, generation, secret, allow, keep_newer, fresh, oldest })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(DeliverError {
                name: delivery.name.clone(),
                what: "cannot deliver any more".to_owned(),
                source: io::Error::other(error),
            }),
        })
    }

    async fn generation(&self, name: &Name) -> Option<u64> {
        self.ways.lock().await.generations.of(name)
    }

    async fn holders(&self, name: &Name, generation: u64) -> Holders {
        let mut holders = self.memory.book.holders(name, generation);
        holders.known.extend(self.waiting(name, generation).await);
        holders
    }

    async fn altered(&self) -> Option<Vec<Name>> {
        let mut ways = Arc::clone(&self.ways).lock_owned().await;
        // It ends early only with the program.
        tokio::task::spawn_blocking(move || ways.altered(Instant::now())).await.ok().flatten()
    }

    async fn note(&self) -> Result<(), NoteError> {
        // Those who wait here at the same time are served by the first of them.
        let Some(due) = self.ways.lock().await.generations.due() else { return Ok(()) };
        tokio::time::sleep_until(due.into()).await;
        let mut ways = Arc::clone(&self.ways).lock_owned().await;
        if ways.generations.are_written() {
            return Ok(());
        }
        let path = ways.generations.folder().to_owned();
        let written = tokio::task::spawn_blocking(move || ways.generations.write()).await;
        written
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| NoteError { path, source })
    }

    async fn expect(&self, names: &BTreeMap<&Name, &Allow>) {
        self.memory.expect(names).await;
        self.memory.served.complete();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers nothing, for commands that only look.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Deliver for Nowhere {
    async fn deliver(&self, _: Delivery<'_>) -> Result<Delivered, DeliverError> {
        Ok(Delivered::Done)
    }

    async fn generation(&self, _: &Name) -> Option<u64> {
        None
    }
}
