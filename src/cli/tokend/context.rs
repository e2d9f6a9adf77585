//! What every subcommand starts from: the list's path, this host, the log.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use super::{Command, owner::become_owner_of, remote::Daemon};
use crate::{
    config::{self, Config, ConfigError},
    daemon::{AssembleError, Home, HostKeeper, connect_all, memory, open},
    deliver::Hooks,
    hint::Hint,
    influxdb::ServerError,
    lifecycle::{ChangeError, ImportError, Ledger, RotateError, Shared, SystemClock, Unanswered},
    model::{Known, Name},
    operate::{self, command::Refusal, hook::HookError},
    paths::Paths,
    store::{RecordError, StoreError, read_only::ReadOnly},
};

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The list.
    #[error(transparent)]
    List(#[from] ConfigError),
    /// Store, identity or deliveries.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record in it.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A server, or its clock.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A name that gets no new value.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// A token that is not adopted.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Root cannot become the user whose store it is.
    #[error("store {store:?}: cannot become its owner, user {uid}: {source}")]
    Owner {
        /// The store's folder.
        store: PathBuf,
        /// Whose it is.
        uid: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// Several things, each told already.
    #[error("{0}")]
    Several(String),
    /// It was not carried out.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked for makes no sense.
    #[error("{what}")]
    Usage {
        /// What is wrong with it.
        what: String,
        /// What would do.
        fix: String,
    },
    /// Nothing can be printed, or no thread or signal be had.
    #[error("the system refuses")]
    System(#[from] std::io::Error),
}

impl Hint for Failure {
    fn hint(&self) -> Option<String> {
        match self {
            Self::List(error) => error.hint(),
            Self::Assemble(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Change(error) => error.hint(),
            Self::Server(error) => error.hint(),
            Self::Unanswered(error) => error.hint(),
            Self::Rotate(error) => error.hint(),
            Self::Import(error) => error.hint(),
            Self::Hook(error) => error.hint(),
            Self::Owner { .. } => Some("run this as that user".to_owned()),
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Usage { fix, .. } => Some(fix.clone()),
            Self::Several(_) | Self::System(_) => None,
        }
    }
}

/// What every subcommand starts from.
pub(super) struct Context {
    pub(super) list: PathBuf,
    pub(super) config: config::ListContext,
    paths: Paths,
}

/// The store's records, read without its lock.
pub(super) struct Read {
    pub(super) known: Arc<BTreeMap<Name, Known>>,
    pub(super) faults: Vec<RecordError>,
}

impl Context {
    pub(super) fn new(list: Option<PathBuf>, log: Option<&str>, command: &Command) -> Result<Self, Failure> {
        let is_daemon = matches!(command, Command::Run);
        // What a one-shot command has to say it prints itself.
        let usual = if is_daemon { "info" } else { "off" };
        start_log(log.unwrap_or(usual))?;
        let paths = Paths::of_this_process();
        let list = list.unwrap_or_else(|| paths.list.clone());
        let context = config::ListContext {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            one_shot: !is_daemon,
            is_attended: !is_daemon && rustix::stdio::stdin().is_terminal(),
            defaults: config::DefaultPaths {
                store: paths.store.clone(),
                socket: paths.socket.clone(),
                files: paths.files.clone(),
                hooks: list.with_file_name("hooks.d"),
            },
        };
        Ok(Self { list, config: context, paths })
    }

    #[expect(clippy::unused_self, reason = "one place that knows the program's name")]
    pub(super) fn program(&self) -> &'static str {
        "influx-tokend"
    }

    /// Has a running daemon carry it out; `None` where there is none, or it does not let us in.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        command: &operate::command::Command,
    ) -> Result<Option<T>, Failure> {
        match Daemon::at(&self.admin_socket()) {
            Some(daemon) => self.block_on(daemon.ask(command)).map(Some),
            None => Ok(None),
        }
    }

    /// Beside the secrets socket, wherever the list puts that; where it cannot be read, where that usually is.
    fn admin_socket(&self) -> PathBuf {
        self.run_folder().join("admin.sock")
    }

    /// As much of the list as can be read.
    fn salvaged(&self) -> Config {
        Config::salvage(&config::read_lossy(&self.list), &self.config)
    }

    /// Where the store is, as far as the list can be read.
    pub(super) fn store_folder(&self) -> PathBuf {
        self.salvaged().store.path
    }

    /// Where the daemon's run-time files are, as far as the list can be read.
    pub(super) fn run_folder(&self) -> PathBuf {
        self.salvaged().socket.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// The hooks beside the list.
    pub(super) fn hooks(&self) -> Hooks {
        Hooks::new(self.config.defaults.hooks.clone(), &self.run_folder())
    }

    /// Refuses what is root's to anybody else, as long as it is about a list in one of the usual places: of another one,
    /// whoever may write beside it does as with any file.
    pub(super) fn must_be_root(&self, what: &str) -> Result<(), Failure> {
        let is_usual = [&self.paths.list, &Paths::of_the_system().list].contains(&&self.list);
        if rustix::process::geteuid().is_root() || !is_usual {
            return Ok(());
        }
        Err(Failure::Usage {
            what: format!("{what} are root's, for nobody else reloads other services"),
            fix: "run this as root".to_owned(),
        })
    }

    /// The list as it is in the file now. From here on this process is the store's owner, where root runs it: to be
    /// called before anything is opened or any thread begun.
    pub(super) fn load(&self) -> Result<Config, Failure> {
        let config = Config::load(&self.list, &self.config)?;
        become_owner_of(&config.store.path)?;
        Ok(config)
    }

    /// The store's records, without disturbing a daemon that has them too.
    pub(super) fn read_records(&self, config: &Config) -> Result<Read, Failure> {
        let ledger =
            self.block_on(async { Ok::<_, Failure>(Ledger::open(read_only(config).await?).await?) })?;
        Ok(Read { known: ledger.known(), faults: ledger.faults() })
    }

    /// Runs a future to its end on a runtime of its own.
    #[expect(clippy::unused_self, reason = "one place that makes the runtime")]
    pub(super) fn block_on<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(future);
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        outcome
    }

    /// Makes the folders above an ordinary user's store and sockets.
    pub(super) fn make_parents(&self) -> Result<(), Failure> {
        let failed =
            |error| Failure::Several(format!("cannot make the folder above {:?}: {error}", self.paths.store));
        self.paths.make_parents().map_err(failed)
    }

    /// Opens the store as its only owner.
    pub(super) async fn open(&self, config: &Config) -> Result<Arc<Home>, Failure> {
        self.make_parents()?;
        let home = open(config, memory()).await?;
        home.set_specs(config.specs.clone());
        Ok(home)
    }

    /// A keeper for each server of the list.
    pub(super) fn keepers(&self, config: &Config, home: &Arc<Home>) -> Result<Vec<HostKeeper>, Failure> {
        Ok(connect_all(config, home)?)
    }
}

/// What all keepers share when nothing may be changed.
pub(super) type Onlooker = operate::HostKeeper<ReadOnly, crate::deliver::Nowhere>;

/// Keepers that can look and nothing else.
pub(super) async fn onlookers(config: &Config) -> Result<Vec<Onlooker>, Failure> {
    let ledger = Ledger::open(read_only(config).await?).await?;
    let shared = Arc::new(Shared::new(ledger, crate::deliver::Nowhere, SystemClock, || [0; 16]));
    shared.set_specs(config.specs.clone());
    // Nowhere; yet what waits for deliveries is planned as it will be once they are made.
    shared.deliver_all().await;
    Ok(connect_all(config, &shared)?)
}

async fn read_only(config: &Config) -> Result<ReadOnly, Failure> {
    Ok(crate::daemon::open_read_only(&config.store).await?)
}

/// Log lines go to stderr; under systemd the journal has the time already.
fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Failure::Usage {
        what: format!("--log {filter:?}: {error}"),
        fix: "use error, warn, info, debug or trace".to_owned(),
    })?;
    let format =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // A second subscriber can only come from a test in the same process.
    let _installed = if in_journal {
        format.with_ansi(false).without_time().try_init()
    } else {
        format.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    Ok(())
}
