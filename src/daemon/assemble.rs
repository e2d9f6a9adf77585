//! Building the parts that a list names.

use std::{path::PathBuf, sync::Arc, time::Duration};

#[cfg(feature = "secret-service")]
use crate::store::keyring::{self, KeyringReader, KeyringStore};
use crate::{
    config::{AgeConfig, Config, ConfigError, StoreConfig, StoreKind, TokenSource},
    deliver::{Deliver, Deliveries, Hooks, Memory},
    hint::Hint,
    influxdb::{self, ServerError, remove_leftovers},
    lifecycle::{ChangeError, Clock as _, DisownError, Keeper, Ledger, Settings, Shared, SystemClock},
    model::{Known, Secret, ServerName},
    operate,
    source::{SourceError, read_secret},
    store::{
        self, HostReader, HostStore, Machine, MigrateError, Purpose, Store, StoreError,
        age::{AgeReader, AgeStore, IdentitySource, Keys, OpenOptions, ResealError},
        read_only::ReadOnly,
    },
};

/// A store that takes longer to open, because of a disk, is not available; an age plugin has a time of its own.
const OPENING: Duration = Duration::from_secs(60);

/// What all keepers of this host share.
pub type Home = Shared<HostStore, Deliveries, SystemClock>;
/// A keeper on this host.
pub type HostKeeper = operate::HostKeeper<HostStore, Deliveries>;

/// Why the parts cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The list.
    #[error(transparent)]
    List(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record in it.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// What opens it.
    #[error("store: {0}")]
    Source(#[from] SourceError),
    /// The tokens of a copied store cannot be set apart.
    #[error("this store comes from another machine, and its tokens cannot be set apart: {0}")]
    Disown(#[from] DisownError),
    /// The store cannot be moved.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The store cannot be sealed anew.
    #[error(transparent)]
    Reseal(#[from] ResealError),
    /// The folder for delivered files.
    #[error(transparent)]
    Deliver(#[from] crate::deliver::OpenError),
    /// The system.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

impl AssembleError {
    /// Whether trying again later may do.
    #[must_use]
    pub fn passes(&self) -> bool {
        !matches!(self, Self::Signals(_))
    }
}

impl Hint for AssembleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::List(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Change(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Migrate(error) => error.hint(),
            Self::Reseal(error) => error.hint(),
            Self::Deliver(error) => error.hint(),
            Self::Disown(error) => error.hint(),
            Self::Signals(_) => None,
        }
    }
}

/// Opens store and deliveries. Tokens of a store that was made on another machine are set apart first (rule 13).
///
/// # Errors
/// Something is not available; nothing is half-open.
pub async fn open(config: &Config, memory: Memory) -> Result<Arc<Home>, AssembleError> {
    // The store first: who does not get it changes nothing of what is delivered.
    let ledger = open_ledger(config).await?;
    open_deliveries(config, ledger, memory).await
}

/// The same, also of a store that is being retired.
///
/// # Errors
/// As [`open`].
pub async fn open_to_retire(config: &Config, memory: Memory) -> Result<Arc<Home>, AssembleError> {
    let ledger = ledger_of(open_store(&config.store, Purpose::Retire).await?).await?;
    open_deliveries(config, ledger, memory).await
}

/// The rest, once the store is open.
pub(super) async fn open_deliveries(
    config: &Config,
    ledger: Ledger<HostStore>,
    memory: Memory,
) -> Result<Arc<Home>, AssembleError> {
    // The store is ours alone, and so are its profiles.
    remove_leftovers(&private_folder(config));
    let deliveries = Deliveries::open(config.files.clone(), &run_folder(config), memory).await?;
    let deliveries = deliveries.with_hooks(hooks(config));
    Ok(Arc::new(Shared::new(ledger, deliveries, SystemClock, random_bits)))
}

/// Deliveries from memory, of which there are none yet.
///
/// # Panics
/// Where the kernel gives no random bits: nothing safe can be done then.
#[must_use]
pub fn memory() -> Memory {
    Memory::new(getrandom::u64().expect("the kernel gives random bits"))
}

pub(super) async fn open_ledger(config: &Config) -> Result<Ledger<HostStore>, AssembleError> {
    ledger_of(open_store(&config.store, Purpose::Work).await?).await
}

async fn ledger_of(store: HostStore) -> Result<Ledger<HostStore>, AssembleError> {
    let machine = store.machine().clone();
    let ledger = Ledger::open(store).await?;
    match machine {
        Machine::Same => {}
        Machine::Other => {
            tracing::warn!("this store comes from another machine: its tokens are replaced, not revoked");
            // Its values are delivered all the same; nothing is planned with them before all are set apart.
            match ledger.disown(&SystemClock.moment()).await {
                Err(error @ DisownError::Unread(_)) => tracing::error!("{error}"),
                outcome => outcome?,
            }
        }
        Machine::Undetectable(why) => tracing::info!("a copied store would not be noticed: {why}"),
    }
    for fault in ledger.faults() {
        tracing::error!("{fault}");
    }
    Ok(ledger)
}

/// The hooks of this host.
#[must_use]
pub fn hooks(config: &Config) -> Hooks {
    Hooks::new(config.hooks.clone(), &run_folder(config))
}

/// Where the daemon's run-time files are: beside the secrets socket, wherever the list puts that.
fn run_folder(config: &Config) -> PathBuf {
    config.socket.parent().map(std::path::Path::to_owned).unwrap_or_default()
}

/// For what nobody else may read and no disk may hold.
fn private_folder(config: &Config) -> PathBuf {
    run_folder(config).join("private")
}

/// The store, only to be looked at: without its lock, and without making it.
///
/// # Errors
/// It is there and cannot be read.
pub async fn open_read_only(config: &StoreConfig) -> Result<ReadOnly, AssembleError> {
    if !store::exists(&config.path) {
        return Ok(ReadOnly::new(None, None));
    }
    let reader = match &config.kind {
        StoreKind::Age(age) => {
            let identity = identity_source(age).await?;
            HostReader::Age(AgeReader::open(&config.path, &identity, &mut keys(age).await?, age.plugins)?)
        }
        #[cfg(feature = "secret-service")]
        StoreKind::SecretService => HostReader::SecretService(KeyringReader::open(&config.path)?),
    };
    let instances = reader.instances()?;
    Ok(ReadOnly::new(Some(reader), instances))
}

/// This machine takes the place of the one that the store was made on. Returns how many tokens it takes over.
///
/// # Errors
/// The store is not available, or cannot be changed.
pub async fn take_over(config: &Config) -> Result<usize, AssembleError> {
    let store = open_store(&config.store, Purpose::Work).await?;
    let ledger = Ledger::open(store.clone()).await?;
    if *store.machine() == Machine::Other {
        store.take_over()?;
        return Ok(ledger
            .known()
            .values()
            .filter_map(Known::record)
            .map(|record| record.held().count())
            .sum());
    }
    // Records first: an interrupted take-over leaves tokens that are ours under a former instance, which is no harm.
    let owned = ledger.claim(&SystemClock.moment()).await.map_err(DisownError::Change)?;
    if owned > 0 {
        store.take_over()?;
    }
    Ok(owned)
}

/// Moves a store to where another list says. Returns how many records have moved.
///
/// # Errors
/// One of the two is not available, or cannot be moved.
pub async fn migrate(from: &StoreConfig, to: &StoreConfig) -> Result<usize, AssembleError> {
    let from = open_store(from, Purpose::Migrate).await?;
    store::prepare(&to.path, &from)?;
    let to = open_store(to, Purpose::Migrate).await?;
    Ok(store::migrate(&from, &to).await?)
}

/// Seals a store of age files anew, for whom its list says. Returns how many records; `None` where it is of another kind.
/// `also_opened_by`: an identity that opened it until now.
///
/// # Errors
/// It is not available, or cannot be sealed.
pub async fn reseal(
    config: &StoreConfig,
    also_opened_by: Option<PathBuf>,
) -> Result<Option<usize>, AssembleError> {
    let (path, machine_id) = (config.path.clone(), config.machine_id.clone());
    match &config.kind {
        StoreKind::Age(age) => {
            let store = open_age(path, machine_id, age, Purpose::Work, also_opened_by).await?;
            let resealing = tokio::task::spawn_blocking(move || store.reseal());
            Ok(Some(
                resealing
                    .await
                    .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?,
            ))
        }
        #[cfg(feature = "secret-service")]
        StoreKind::SecretService => Ok(None),
    }
}

async fn identity_source(config: &AgeConfig) -> Result<IdentitySource, SourceError> {
    Ok(match &config.identity {
        None => IdentitySource::OfStore,
        Some(TokenSource::File(path)) => IdentitySource::File(path.clone()),
        Some(source) => IdentitySource::Text(read_secret(source).await?),
    })
}

async fn keys(config: &AgeConfig) -> Result<Keys, SourceError> {
    async fn read(source: Option<&TokenSource>) -> Result<Option<Secret>, SourceError> {
        match source {
            Some(source) => read_secret(source).await.map(Some),
            None => Ok(None),
        }
    }
    Ok(Keys {
        passphrase: read(config.passphrase.as_ref()).await?,
        identity: read(config.unwrap.as_ref()).await?,
    })
}

async fn open_store(config: &StoreConfig, purpose: Purpose) -> Result<HostStore, AssembleError> {
    let (path, machine_id) = (config.path.clone(), config.machine_id.clone());
    match &config.kind {
        StoreKind::Age(age) => open_age(path, machine_id, age, purpose, None).await.map(HostStore::Age),
        #[cfg(feature = "secret-service")]
        StoreKind::SecretService => {
            let options = keyring::OpenOptions { path, machine_id, purpose };
            Ok(HostStore::SecretService(KeyringStore::open(options).await?))
        }
    }
}

async fn open_age(
    path: PathBuf,
    machine_id: PathBuf,
    config: &AgeConfig,
    purpose: Purpose,
    also_opened_by: Option<PathBuf>,
) -> Result<AgeStore, AssembleError> {
    let options = OpenOptions {
        path: path.clone(),
        identity: identity_source(config).await?,
        recipients: config.recipients.clone(),
        machine_id,
        keys: keys(config).await?,
        also_opened_by,
        plugins: config.plugins,
        purpose,
    };
    let failed = |what: String, fix: Option<String>| StoreError { path, what, fix, source: None };
    let opening = tokio::task::spawn_blocking(move || AgeStore::open(options));
    let time = OPENING + config.plugins.time();
    match tokio::time::timeout(time, opening).await {
        Ok(Ok(opened)) => Ok(opened?),
        Ok(Err(_)) => Err(failed("cannot be opened".to_owned(), None).into()),
        Err(_) => {
            let fix = "see that its file system answers";
            Err(failed(format!("does not open within {} s", time.as_secs()), Some(fix.to_owned())).into())
        }
    }
}

/// A keeper for each server of the list.
///
/// # Errors
/// As [`connect`], of the first.
pub fn connect_all<T: Store, D: Deliver>(
    config: &Config,
    shared: &Arc<Shared<T, D, SystemClock>>,
) -> Result<Vec<operate::HostKeeper<T, D>>, ServerError> {
    config.servers.keys().map(|name| connect(config, name, shared)).collect()
}

/// A keeper for one server of the list.
///
/// # Errors
/// Its certificates cannot be read, or the system's are missing.
pub fn connect<T: Store, D: Deliver>(
    config: &Config,
    name: &ServerName,
    shared: &Arc<Shared<T, D, SystemClock>>,
) -> Result<operate::HostKeeper<T, D>, ServerError> {
    let server = &config.servers[name];
    let settings = Settings {
        reconcile: config.reconcile,
        timeout: server.timeout,
        lifecycle: config.lifecycle.clone(),
    };
    let client = influxdb::connect(name, server, &private_folder(config))?;
    Ok(Keeper::new(name.clone(), server.key(), client, shared.clone(), settings))
}

/// # Panics
/// Where the kernel gives no random bits: nothing safe can be done then.
fn random_bits() -> [u8; 16] {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the kernel gives random bits");
    bits
}
