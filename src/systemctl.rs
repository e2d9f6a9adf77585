//! Asking systemd, by its own command line. For commands that root runs; the daemon never does.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::{process::Command, time::Instant};

use crate::{
    hint::Hint,
    model::{HookAction, Unit},
    program::{self, Limits, Said},
};

const PROGRAM: &str = "systemctl";
/// It says no more than this, in bytes.
const MAX_OUTPUT: usize = 256 << 10;
/// A question has this long.
const ASKING: Duration = Duration::from_secs(30);
/// A job has this long: more than a unit usually gets to stop and to start (90 s each).
const WORKING: Duration = Duration::from_secs(240);
/// A unit that is being started or stopped is waited for so long, and looked at so often.
const CHANGING: (Duration, Duration) = (Duration::from_secs(120), Duration::from_millis(250));

/// What systemd did not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemctlError {
    /// This host has no systemd, or this is no host.
    #[error("{PROGRAM} is not there")]
    Absent,
    /// It was refused, or failed.
    #[error("`{command}` {why}")]
    Failed {
        /// As a person would type it.
        command: String,
        /// What it said.
        why: String,
    },
    /// The unit is being started or stopped all the time.
    #[error("{unit} is {state} for {} s already", CHANGING.0.as_secs())]
    Changing {
        /// Which.
        unit: Unit,
        /// What it is doing.
        state: String,
    },
}

impl Hint for SystemctlError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Failed { command, .. } => Some(format!("run `{command}` by hand")),
            Self::Changing { unit, .. } => Some(format!("`systemctl status '{unit}'` tells more")),
        }
    }
}

/// What systemd tells of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown(BTreeMap<String, String>);

impl Shown {
    const PROPERTIES: &str = "LoadState,ActiveState,SubState,InvocationID,CanReload,ExecStart";

    /// Lines `PROPERTY=VALUE`.
    fn parse(text: &str) -> Self {
        let line = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        // Of several commands the first one is the unit's program.
        let mut shown = BTreeMap::new();
        for (key, value) in text.lines().filter_map(line) {
            shown.entry(key).or_insert(value);
        }
        Self(shown)
    }

    fn get(&self, property: &str) -> &str {
        self.0.get(property).map_or("", String::as_str)
    }

    /// Whether there is such a unit.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.get("LoadState") != "not-found"
    }

    /// Whether it knows how to reload.
    #[must_use]
    pub fn can_reload(&self) -> bool {
        self.get("CanReload") == "yes"
    }

    /// The program that it runs: `{ path=/usr/bin/telegraf ; argv[]=… ; … }`; of `influx-secrets exec -- PROGRAM` that one.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        let command = self.get("ExecStart").strip_prefix("{ path=")?;
        let (path, rest) = command.split_once(" ; argv[]=")?;
        let path = PathBuf::from(path);
        if path.file_name().is_none_or(|name| name != "influx-secrets") {
            return Some(path);
        }
        // Quotes are not shown: a path with a space is cut, and tells no version then.
        let run_by_it = rest.split_once(" exec ").and_then(|(_, exec)| exec.split_once("-- "));
        Some(run_by_it.and_then(|(_, command)| command.split(' ').next()).map_or(path, PathBuf::from))
    }

    fn state(&self) -> State {
        match (self.get("ActiveState"), self.get("SubState")) {
            ("inactive" | "failed", _) => State::Stopped,
            // Between two tries nothing of it runs, and the next one reads anew.
            ("activating", sub) if sub.starts_with("auto-restart") => State::Stopped,
            ("active" | "reloading" | "refreshing", _) => State::Running,
            _ => State::Changing,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of it runs.
    Stopped,
    /// It can be told to reload. While it does, systemd has another reload follow.
    Running,
    /// It is being started or stopped, and may hold a value that it has read before.
    Changing,
}

/// How a unit came to what is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// It was reloaded, or restarted where it cannot reload.
    Reloaded,
    /// It was restarted.
    Restarted,
    /// It does not run: it will read when it is started.
    DoesNotRun,
    /// It was started meanwhile.
    Started,
}

/// What systemd tells of a unit.
///
/// # Errors
/// systemd does not answer.
pub async fn show(unit: &Unit) -> Result<Shown, SystemctlError> {
    let said = systemctl(&["show", "--property", Shown::PROPERTIES, "--", unit.as_str()], ASKING).await?;
    Ok(Shown::parse(&said))
}

/// Whether systemd fetches a credential from us when it starts this unit, as far as its files tell.
///
/// # Errors
/// systemd does not answer.
pub async fn loads_our_credentials(unit: &Unit) -> Result<bool, SystemctlError> {
    // `show` cannot tell: these are [unprintable] to it.
    Ok(has_our_credentials(&systemctl(&["cat", "--", unit.as_str()], ASKING).await?))
}

/// Lines `LoadCredential=ID:PATH` in the files of a unit, in the order in which they count; one without a value takes
/// back those before it.
fn has_our_credentials(files: &str) -> bool {
    let of_line = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let is_one = matches!(key.trim(), "LoadCredential" | "LoadCredentialEncrypted");
        is_one.then(|| value.trim().to_owned())
    };
    files.lines().filter_map(of_line).fold(false, |has, value| {
        let path = value.split_once(':').map_or("", |(_, path)| path);
        !value.is_empty() && (has || path.ends_with("/credentials.sock"))
    })
}

/// Has a unit read again what it has read before, and waits until it has been told to. One that is being started is
/// waited for: for systemd it is nothing that could be reloaded, but it may have read already.
///
/// # Errors
/// It was not told, or failed.
pub async fn bring(unit: &Unit, action: HookAction) -> Result<Brought, SystemctlError> {
    let (begun, first) = (Instant::now(), show(unit).await?);
    let mut shown = first.clone();
    loop {
        let is_another = shown.get("InvocationID") != first.get("InvocationID");
        match shown.state() {
            State::Stopped => return Ok(Brought::DoesNotRun),
            _ if is_another => return Ok(Brought::Started),
            State::Running => break,
            State::Changing if begun.elapsed() >= CHANGING.0 => {
                let state = shown.get("ActiveState").to_owned();
                return Err(SystemctlError::Changing { unit: unit.clone(), state });
            }
            State::Changing => tokio::time::sleep(CHANGING.1).await,
        }
        shown = show(unit).await?;
    }
    let (verb, brought) = match action {
        HookAction::Reload => ("try-reload-or-restart", Brought::Reloaded),
        HookAction::Restart => ("try-restart", Brought::Restarted),
    };
    systemctl(&[verb, "--", unit.as_str()], WORKING).await?;
    Ok(brought)
}

/// Enables and starts a unit of ours.
///
/// # Errors
/// It is not started.
pub async fn enable(unit: &str) -> Result<(), SystemctlError> {
    systemctl(&["enable", "--now", "--", unit], WORKING).await.map(drop)
}

/// The contrary.
///
/// # Errors
/// It is not stopped.
pub async fn disable(unit: &str) -> Result<(), SystemctlError> {
    systemctl(&["disable", "--now", "--", unit], WORKING).await.map(drop)
}

/// Starts a unit of ours and waits until it has ended, if it is one that does.
///
/// # Errors
/// It failed.
pub async fn start(unit: &str) -> Result<(), SystemctlError> {
    systemctl(&["start", "--", unit], WORKING).await.map(drop)
}

async fn systemctl(arguments: &[&str], limit: Duration) -> Result<String, SystemctlError> {
    let mut command = Command::new(PROGRAM);
    command.args(["--no-ask-password", "--no-pager"]).args(arguments);
    let why = match program::run(&mut command, Limits { time: limit, bytes: MAX_OUTPUT }).await {
        Ok(said) if said.status.success() => return Ok(said.text()),
        Ok(said) => why(&said),
        Err(error) if error.is_absent() => return Err(SystemctlError::Absent),
        Err(error) => error.to_string(),
    };
    Err(SystemctlError::Failed { command: as_typed(arguments), why })
}

/// Its first line says what; those that follow, where to read more.
fn why(said: &Said) -> String {
    match said.stderr.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => format!("failed: {line}"),
        None => format!("failed: {}", said.status),
    }
}

/// For a person to repeat: what a shell would take for an escape is quoted.
fn as_typed(arguments: &[&str]) -> String {
    let mut typed = PROGRAM.to_owned();
    for word in arguments.iter().filter(|word| **word != "--") {
        typed += &if word.contains('\\') { format!(" '{word}'") } else { format!(" {word}") };
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(active: &str, sub: &str) -> Shown {
        Shown::parse(&format!("ActiveState={active}\nSubState={sub}\n"))
    }

    #[test]
    fn a_units_program_is_found_in_what_systemd_shows() {
        let text = "LoadState=loaded\nCanReload=yes\nExecStart={ path=/usr/bin/telegraf ; argv[]=/usr/bin/telegraf \
                    -config /etc/telegraf/telegraf.conf ; ignore_errors=no ; start_time=[n/a] }\n\
                    ExecStart={ path=/bin/second ; argv[]=/bin/second ; ignore_errors=no }\n";
        let shown = Shown::parse(text);
        assert!(shown.is_known() && shown.can_reload());
        assert_eq!(shown.program(), Some("/usr/bin/telegraf".into()));
        let with_space =
            Shown::parse("ExecStart={ path=/opt/my agents/telegraf ; argv[]=/opt/my agents/telegraf ; }");
        assert_eq!(with_space.program(), Some("/opt/my agents/telegraf".into()));
        for (arguments, program) in [
            ("exec -- /usr/bin/telegraf -config /etc/telegraf/telegraf.conf", "/usr/bin/telegraf"),
            ("--socket /s exec --telegraf -- /opt/telegraf --config x -- y", "/opt/telegraf"),
            ("watch edge -- /usr/bin/telegraf", "/usr/bin/influx-secrets"),
            ("exec", "/usr/bin/influx-secrets"),
        ] {
            let by = "/usr/bin/influx-secrets";
            let shown = Shown::parse(&format!(
                "ExecStart={{ path={by} ; argv[]={by} {arguments} ; ignore_errors=no }}\n"
            ));
            assert_eq!(shown.program(), Some(program.into()), "{arguments}");
        }
        assert_eq!(Shown::parse("LoadState=not-found\nExecStart=\n").program(), None);
        assert!(!Shown::parse("LoadState=not-found\n").is_known());
    }

    #[test]
    fn credentials_of_ours_are_found_in_a_units_files() {
        let file = |line: &str| {
            format!(
                "# /usr/lib/systemd/system/telegraf.service\n[Service]\n{line}\nExecStart=/usr/bin/telegraf\n"
            )
        };
        for (lines, has) in [
            ("LoadCredential=telegraf.t:/run/influx-tokend/credentials.sock", true),
            (" LoadCredential = t:%t/influx-tokend/credentials.sock ", true),
            ("LoadCredentialEncrypted=t:/run/influx-tokend/credentials.sock", true),
            ("LoadCredential=t:/run/influx-tokend/credentials.sock\nLoadCredential=u:/etc/u", true),
            ("LoadCredential=t:/run/influx-tokend/credentials.sock\nLoadCredential=", false),
            ("LoadCredential=\nLoadCredential=t:/run/influx-tokend/credentials.sock", true),
            ("# LoadCredential=t:/run/influx-tokend/credentials.sock", false),
            ("LoadCredential=t:/etc/t", false),
            ("LoadCredential=t", false),
            ("ExecStartPre=cat t:/run/influx-tokend/credentials.sock", false),
            ("", false),
        ] {
            assert_eq!(has_our_credentials(&file(lines)), has, "{lines}");
        }
    }

    #[test]
    fn what_was_tried_can_be_repeated() {
        let unit = "influx-tokend-hook@a\\x40b.path";
        assert_eq!(as_typed(&["enable", "--now", "--", unit]), format!("systemctl enable --now '{unit}'"));
        assert_eq!(as_typed(&["show", "--", "a.service"]), "systemctl show a.service");
    }

    #[test]
    fn a_unit_that_is_being_started_may_have_read_already() {
        for (active, sub, state) in [
            ("inactive", "dead", State::Stopped),
            ("failed", "failed", State::Stopped),
            ("activating", "auto-restart", State::Stopped),
            ("activating", "auto-restart-queued", State::Stopped),
            ("activating", "start-pre", State::Changing),
            ("activating", "start", State::Changing),
            ("deactivating", "stop-sigterm", State::Changing),
            ("active", "running", State::Running),
            ("reloading", "reload", State::Running),
            ("reloading", "reload-notify", State::Running),
            ("", "", State::Changing),
        ] {
            assert_eq!(shown(active, sub).state(), state, "{active} {sub}");
        }
    }
}
