//! The program itself: as whom it is run, with which words, and what it answers.

use std::{
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
    complaint,
    profile::{Profile, ProfileFile},
    version::InfluxctlVersion,
};
use crate::{
    config::{InfluxctlConfig, Login, ServerConfig},
    influxdb::{ErrorKind, ServerError, management_token::ManagementToken},
    model::{Product, ServerName},
    program::{self, Limits, NotRun, Said},
};

/// `influxctl version` has this long.
const ASKING: Limits = Limits { time: Duration::from_secs(10), bytes: 64 << 10 };

/// The tool, for one server.
#[derive(Debug)]
pub(super) struct InfluxctlProgram {
    server: ServerName,
    product: Product,
    settings: InfluxctlConfig,
    /// What it logs in with, where that is ours.
    login: Option<OwnLogin>,
    proxy: Option<String>,
    timeout: Duration,
    /// Of the file that was asked last.
    version: Mutex<Option<(Stamp, InfluxctlVersion)>>,
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
pub(super) struct FailedCall {
    pub(super) kind: ErrorKind,
    /// Nothing was asked of the server, or it refused.
    pub(super) no_effect: bool,
}

impl FailedCall {
    pub(super) fn without_effect(kind: ErrorKind) -> Self {
        Self { kind, no_effect: true }
    }
}

impl InfluxctlProgram {
    /// `private`: a folder on tmpfs that is ours alone.
    pub(super) fn new(
        name: &ServerName,
        config: &ServerConfig,
        settings: InfluxctlConfig,
        private: &Path,
    ) -> Self {
        let login = match &settings.login {
            Login::ManagementToken(source) => Some(OwnLogin {
                token: ManagementToken::kept(source.clone()),
                profile: Profile::new(config),
                private: private.to_owned(),
            }),
            Login::Profile { .. } => None,
        };
        Self {
            server: name.clone(),
            product: config.product,
            login,
            proxy: config.proxy.as_ref().map(ToString::to_string),
            timeout: config.timeout,
            version: Mutex::default(),
            settings,
        }
    }

    /// As a person runs it, about nothing in particular.
    pub(super) fn of_a_person(settings: InfluxctlConfig) -> Self {
        Self {
            server: ServerName(ServerName::DEFAULT.to_owned()),
            product: Product::Dedicated,
            settings,
            login: None,
            proxy: None,
            timeout: ASKING.time,
            version: Mutex::default(),
        }
    }

    /// Another pass begins: the management token may be another.
    pub(super) async fn begin_pass(&self) {
        if let Some(login) = &self.login {
            login.token.begin_pass().await;
        }
    }

    /// The version that was seen last.
    pub(super) fn known_version(&self) -> Option<InfluxctlVersion> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, version)| version)
    }

    pub(super) fn error(&self, verb: &'static str, kind: ErrorKind) -> ServerError {
        ServerError { server: self.server.clone(), product: self.product, verb, kind }
    }

    /// Runs it with these words, once its version is known to do.
    pub(super) async fn call(&self, words: &[&str], bytes: usize) -> Result<Said, FailedCall> {
        self.version().await?;
        let (mut token, mut profile) = (None, None);
        if let Some(OwnLogin { token: source, profile: login, private }) = &self.login {
            let secret = source.get().await.map_err(FailedCall::without_effect)?;
            let failed = |error| {
                FailedCall::without_effect(ErrorKind::NotHanded(format!(
                    "cannot write in {private:?}: {error}"
                )))
            };
            profile = Some(login.write(private, &secret).map_err(failed)?);
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
            && let Some(login) = &self.login
        {
            login.token.refused().await;
        }
        Err(failed)
    }

    /// Options that say as whom, and on which cluster.
    fn who<'a>(&'a self, profile: Option<&'a ProfileFile>) -> Vec<&'a OsStr> {
        let mut options: Vec<&OsStr> = Vec::new();
        let mut add = |option: &'static str, value: Option<&'a OsStr>| {
            options.extend(value.into_iter().flat_map(|value| [OsStr::new(option), value]));
        };
        match (&self.settings.login, profile) {
            (_, Some(file)) => add("--config", Some(file.path().as_os_str())),
            (Login::Profile { config, name }, None) => {
                add("--config", config.as_deref().map(Path::as_os_str));
                add("--profile", name.as_deref().map(OsStr::new));
            }
            (Login::ManagementToken(_), None) => {}
        }
        add("--account", self.settings.account.as_deref().map(OsStr::new));
        add("--cluster", self.settings.cluster.as_deref().map(OsStr::new));
        options
    }

    /// Nothing secret in its environment. With a profile of ours it finds no other, and leaves nothing in anybody's home.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.settings.program);
        command.env_clear();
        let kept: &[&str] = match self.login {
            Some(_) => &["PATH", "LANG"],
            None => &["PATH", "LANG", "HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"],
        };
        command.envs(kept.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        if let Some(login) = &self.login {
            command.env("HOME", &login.private);
        }
        let proxies = ["HTTPS_PROXY", "HTTP_PROXY"];
        command.envs(self.proxy.iter().flat_map(|proxy| proxies.map(|name| (name, proxy))));
        command
    }

    /// Which version is installed now: asked again when it is another file than before.
    pub(super) async fn version(&self) -> Result<InfluxctlVersion, FailedCall> {
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
        // Some versions print it on one, some on the other.
        let text = said.text() + &said.stderr;
        let version = InfluxctlVersion::parse(&text).ok_or_else(|| {
            FailedCall::without_effect(ErrorKind::Nonsense("`influxctl version` shows no version".to_owned()))
        })?;
        let least = InfluxctlVersion::least(self.login.is_some());
        if version < least {
            return Err(FailedCall::without_effect(ErrorKind::Outdated {
                found: version.to_string(),
                least: least.to_string(),
            }));
        }
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = stamp.map(|stamp| (stamp, version));
        Ok(version)
    }

    /// Where it is: as the list says, or the first on PATH.
    fn installed(&self) -> Option<PathBuf> {
        let program = &self.settings.program;
        if program.components().count() > 1 {
            return Some(program.clone());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let is_there = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        env::split_paths(&path).map(|folder| folder.join(program)).find(is_there)
    }

    fn not_run(&self, error: NotRun) -> FailedCall {
        match error {
            error if error.is_absent() => FailedCall::without_effect(ErrorKind::NoProgram {
                program: self.settings.program.clone(),
                path: env::var_os("PATH").unwrap_or_default(),
            }),
            NotRun::NotBegun(error) => {
                FailedCall::without_effect(ErrorKind::Failed(format!("cannot be run: {error}")))
            }
            NotRun::TooLong(time) => FailedCall { kind: ErrorKind::Timeout(time), no_effect: false },
            NotRun::TooMuch(bytes) => FailedCall { kind: ErrorKind::TooLarge(bytes), no_effect: false },
            NotRun::Unread(error) => FailedCall { kind: ErrorKind::Cut(error.to_string()), no_effect: false },
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}
