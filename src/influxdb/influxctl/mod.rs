//! InfluxData's own tool as the way to manage tokens: all there is for InfluxDB Clustered before release 20250508.
//!
//! Written from its documentation (commands, release notes); what that leaves open is noted where it matters. It tells no
//! date: its lists are judged by the local clock, where that can be believed (rule 10).

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::process::Command;

use super::{
    ErrorKind, Interest, MintError, Minted, Order, ServerError, http::MAX_BODY, management_api::MAX_LIST,
    management_token::ManagementToken,
};
use crate::{
    config::{Influxctl as Given, Login, ServerConfig},
    model::{Action, Capabilities, Database, Grants, Listed, Listing, ServerName, TokenId},
    program::{self, Limits, NotRun, Said},
};

mod answer;
mod clusters;
mod complaint;
mod json;
mod profile;
mod version;

pub use clusters::{KnownCluster, known_clusters};
pub use profile::remove_leftovers;
use profile::{Profile, ProfileFile};
use version::Version;

/// `influxctl version` has this long.
const ASKING: Limits = Limits { time: Duration::from_secs(10), bytes: 64 << 10 };

/// The tool, for one server.
#[derive(Debug)]
pub(super) struct Influxctl {
    server: ServerName,
    given: Given,
    /// What it logs in with, where that is ours.
    own: Option<OwnLogin>,
    proxy: Option<String>,
    timeout: Duration,
    /// Of the file that was asked last.
    version: Mutex<Option<(Stamp, Version)>>,
}

/// A management token, and what else stands in the profile with it.
#[derive(Debug)]
struct OwnLogin {
    token: ManagementToken,
    profile: Profile,
    /// For that profile, and what the tool keeps of its own: a folder on tmpfs that is ours alone.
    private: PathBuf,
}

/// Tells one installation from another: device, inode, and when it was changed.
type Stamp = (u64, u64, i64, i64);

/// A call that did not do what it should.
#[derive(Debug)]
struct Failed {
    kind: ErrorKind,
    /// Nothing was asked of the server, or it did not let us in.
    undone: bool,
}

impl Influxctl {
    /// `private`: a folder on tmpfs that is ours alone.
    pub(super) fn new(name: &ServerName, config: &ServerConfig, given: Given, private: &Path) -> Self {
        let own = match &given.login {
            Login::ManagementToken(source) => Some(OwnLogin {
                token: ManagementToken::kept(source.clone()),
                profile: Profile::new(config),
                private: private.to_owned(),
            }),
            Login::Profile { .. } => None,
        };
        Self {
            server: name.clone(),
            own,
            proxy: config.proxy.as_ref().map(ToString::to_string),
            timeout: config.timeout,
            version: Mutex::default(),
            given,
        }
    }

    /// As a person runs it, about nothing in particular.
    fn of_a_person(given: Given) -> Self {
        Self {
            server: ServerName(ServerName::DEFAULT.to_owned()),
            given,
            own: None,
            proxy: None,
            timeout: ASKING.time,
            version: Mutex::default(),
        }
    }

    /// As far as the version is known: a list tells it.
    pub(super) fn capabilities(&self) -> Capabilities {
        let version = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = version.is_some_and(|(_, version)| version.has_expiry());
        Capabilities { patch: true, expiry: is_recent, lists_revoked: is_recent }
    }

    pub(super) async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        let verb = "list tokens";
        if let Some(own) = &self.own {
            // A list begins a pass.
            own.token.begin_pass().await;
        }
        let version = self.version().await.map_err(|failed| self.error(verb, failed))?;
        let mut words = vec!["token", "list", "--format", "json"];
        if version.has_expiry() {
            words.push("--include-revoked");
        }
        let said = self.call(&words, MAX_LIST).await.map_err(|failed| self.error(verb, failed))?;
        answer::list(&said.stdout, interest).map_err(|kind| self.told(verb, kind))
    }

    pub(super) async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        let verb = "list databases";
        let words = ["database", "list", "--format", "json"];
        // How it prints them is not documented: minting does without.
        let untold = |kind: ErrorKind| self.told(verb, ErrorKind::Untold(kind.to_string()));
        let said = match self.call(&words, MAX_LIST).await {
            Ok(said) => said,
            Err(Failed { kind: kind @ (ErrorKind::Failed(_) | ErrorKind::Refused { .. }), .. }) => {
                return Err(untold(kind));
            }
            Err(failed) => return Err(self.error(verb, failed)),
        };
        answer::databases(&said.stdout).map_err(untold)
    }

    pub(super) async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        let unminted = |kind| MintError::NotMinted(self.told(verb, kind));
        if let Some(what) = cannot_be_said(order) {
            return Err(unminted(ErrorKind::Untold(what.to_owned())));
        }
        let grants = flags(&order.grants);
        let mut words = vec!["token", "create"];
        words.extend(grants.iter().map(String::as_str));
        let expires_at = order.expires_at.map(|at| format!("{at:.0}"));
        words.extend(expires_at.iter().flat_map(|at| ["--expires-at", at.as_str()]));
        words.extend(["--format", "json", order.description.as_str()]);
        let said = match self.call(&words, MAX_BODY).await {
            Ok(said) => said,
            Err(failed) if failed.undone => return Err(unminted(failed.kind)),
            // Whatever it complains of, the token may be there.
            Err(failed) => return Err(MintError::Unknown(self.told(verb, failed.kind))),
        };
        answer::minted(&said.stdout, order).map_err(|kind| MintError::Unknown(self.told(verb, kind)))
    }

    pub(super) async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        let verb = "get token";
        let words = ["token", "get", "--format", "json", &*id.0];
        let said = self.call(&words, MAX_BODY).await.map_err(|failed| self.error(verb, failed))?;
        answer::one(&said.stdout, id).map_err(|kind| self.told(verb, kind))
    }

    /// The change itself prints nothing that can be read: what has come of it is asked for.
    pub(super) async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        let verb = "change token";
        let flags = flags(grants);
        let mut words = vec!["token", "update"];
        words.extend(flags.iter().map(String::as_str));
        words.push(&id.0);
        self.call(&words, MAX_BODY).await.map_err(|failed| self.error(verb, failed))?;
        let gone = || self.told(verb, ErrorKind::Nonsense("the token is not there any more".to_owned()));
        let mut listed = self.get(id).await?.ok_or_else(gone)?;
        // Where it does not say what a token may do, that it has not complained has to be enough.
        listed.grants.get_or_insert_with(|| grants.clone());
        Ok(listed)
    }

    pub(super) async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        let verb = "end token";
        let version = self.version().await.map_err(|failed| self.error(verb, failed))?;
        let end = if version.has_expiry() { "revoke" } else { "delete" };
        let words = ["token", end, "--force", &*id.0];
        self.call(&words, MAX_BODY).await.map(drop).map_err(|failed| self.error(verb, failed))
    }

    fn error(&self, verb: &'static str, failed: Failed) -> ServerError {
        self.told(verb, failed.kind)
    }

    fn told(&self, verb: &'static str, kind: ErrorKind) -> ServerError {
        ServerError { server: self.server.clone(), verb, kind }
    }

    /// Runs it with these words, once its version is known to do.
    async fn call(&self, words: &[&str], bytes: usize) -> Result<Said, Failed> {
        self.version().await?;
        let (mut token, mut profile) = (None, None);
        if let Some(OwnLogin { token: source, profile: own, private }) = &self.own {
            let secret = source.get().await.map_err(undone)?;
            let failed = |error| {
                undone(ErrorKind::NotHanded(format!("cannot be handed over in {private:?}: {error}")))
            };
            profile = Some(own.write(private, &secret).map_err(failed)?);
            token = Some(secret);
        }
        let mut command = self.command();
        command.args(self.who(profile.as_ref())).args(words);
        let ran = program::run(&mut command, Limits { time: self.timeout, bytes }).await;
        drop(profile);
        let said = ran.map_err(|error| self.not_run(error))?;
        if said.status.success() {
            return Ok(said);
        }
        let failed = complaint::failure(&said, token.as_ref());
        if matches!(failed.kind, ErrorKind::Status { status: 401, .. })
            && let Some(own) = &self.own
        {
            own.token.refused().await;
        }
        Err(failed)
    }

    /// Options that say as whom, and on which cluster.
    fn who<'a>(&'a self, profile: Option<&'a ProfileFile>) -> Vec<&'a OsStr> {
        let mut options: Vec<&OsStr> = Vec::new();
        let mut add = |option: &'static str, value: Option<&'a OsStr>| {
            options.extend(value.into_iter().flat_map(|value| [OsStr::new(option), value]));
        };
        match (&self.given.login, profile) {
            (_, Some(file)) => add("--config", Some(file.path().as_os_str())),
            (Login::Profile { config, name }, None) => {
                add("--config", config.as_deref().map(Path::as_os_str));
                add("--profile", name.as_deref().map(OsStr::new));
            }
            (Login::ManagementToken(_), None) => {}
        }
        add("--account", self.given.account.as_deref().map(OsStr::new));
        add("--cluster", self.given.cluster.as_deref().map(OsStr::new));
        options
    }

    /// Nothing secret in its environment. With a profile of ours it finds no other, and leaves nothing in anybody's home.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.given.program);
        command.env_clear();
        let kept: &[&str] = match self.own {
            Some(_) => &["PATH", "LANG"],
            None => &["PATH", "LANG", "HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"],
        };
        command.envs(kept.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        if let Some(own) = &self.own {
            command.env("HOME", &own.private);
        }
        let proxies = ["HTTPS_PROXY", "HTTP_PROXY"];
        command.envs(self.proxy.iter().flat_map(|proxy| proxies.map(|name| (name, proxy))));
        command
    }

    /// Which version is installed now: asked again when it is another file than before.
    async fn version(&self) -> Result<Version, Failed> {
        let stamp = self.installed().as_deref().and_then(stamp);
        let known = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(stamp), Some((of, version))) = (stamp, known)
            && of == stamp
        {
            return Ok(version);
        }
        let mut command = self.command();
        command.arg("version");
        let said = program::run(&mut command, ASKING).await.map_err(|error| self.not_run(error))?;
        // Told on either, by whatever version.
        let text = said.text() + &said.stderr;
        let version = Version::parse(&text)
            .ok_or_else(|| undone(ErrorKind::Nonsense("`influxctl version` tells no version".to_owned())))?;
        let least = Version::least(self.own.is_some());
        if version < least {
            return Err(undone(ErrorKind::Outdated { found: version.to_string(), least: least.to_string() }));
        }
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = stamp.map(|stamp| (stamp, version));
        Ok(version)
    }

    /// Where it is: as the list says, or the first on PATH.
    fn installed(&self) -> Option<PathBuf> {
        let program = &self.given.program;
        if program.components().count() > 1 {
            return Some(program.clone());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let is_there = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        env::split_paths(&path).map(|folder| folder.join(program)).find(is_there)
    }

    fn not_run(&self, error: NotRun) -> Failed {
        match error {
            error if error.is_absent() => undone(ErrorKind::NoProgram {
                program: self.given.program.clone(),
                path: env::var_os("PATH").unwrap_or_default(),
            }),
            NotRun::NotBegun(error) => undone(ErrorKind::Failed(format!("cannot be run: {error}"))),
            NotRun::TooLong(time) => Failed { kind: ErrorKind::Timeout(time), undone: false },
            NotRun::TooMuch(bytes) => Failed { kind: ErrorKind::TooLarge(bytes), undone: false },
            NotRun::Unread(error) => Failed { kind: ErrorKind::Cut(error.to_string()), undone: false },
        }
    }
}

fn undone(kind: ErrorKind) -> Failed {
    Failed { kind, undone: true }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// What its command line would take for something else.
fn cannot_be_said(order: &Order) -> Option<&'static str> {
    if order.description.starts_with('-') {
        return Some("a description that begins with '-' would be taken for an option");
    }
    let has_comma = order.grants.named_databases().any(|name| name.contains(','));
    has_comma.then_some("a database with a comma in its name would be taken for two")
}

/// `--read-database A … --write-database B …`, in the order of the documentation.
fn flags(grants: &Grants) -> Vec<String> {
    let of = |action: Action, flag: &'static str| {
        let databases = grants.iter().filter(move |grant| grant.action == action);
        databases.flat_map(move |grant| {
            let name = match &grant.database {
                Database::All => "*",
                Database::Named(name) => name,
            };
            [flag.to_owned(), name.to_owned()]
        })
    };
    of(Action::Read, "--read-database").chain(of(Action::Write, "--write-database")).collect()
}
