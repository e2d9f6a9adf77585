//! age plugins, each in a process of our own.
//!
//! The age library starts a plugin and waits for it: without a limit, with all of our environment, and without ever ending
//! it. So it does that in a helper process, this same program, which runs one plugin for one file key
//! (`cli/age_plugin.rs`). That was less than a plugin protocol of ours, and it can do what nobody else can: it becomes the
//! parent of whatever loses its own, and so finds all that the plugin has started. Its stdin is closed once we want no
//! answer any more, or are no more, by SIGKILL too: then it ends all of that, and itself.

use std::{
    collections::HashSet,
    env,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    slice,
    time::{Duration, Instant},
};

use age::{
    DecryptError, EncryptError, NoCallbacks,
    plugin::{RecipientPluginV1, ResolveError},
};
use age_core::format::{FileKey, Stanza};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    time::Timespec,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    model::{Secret, wiped_json},
    store::{StoreError, folder::store_fault},
};

/// The argument that makes either program the helper.
pub(crate) const HELPER: &str = "run-age-plugin";
/// A plugin has this long, as every other program that prints a secret, unless a list says otherwise.
pub const PLUGIN_TIME: Duration = Duration::from_secs(30);
/// Where somebody may have to find a key, touch it and type a PIN, it has at least this long.
const ATTENDED_TIME: Duration = Duration::from_secs(300);
/// Who reads the log hears of a plugin that takes longer.
const SOON: Duration = Duration::from_secs(2);
/// The largest answer, in bytes: some post-quantum stanzas, as JSON.
const MAX_ANSWER: usize = 256 << 10;
/// A plugin's complaint is cut off after so many characters.
const MAX_COMPLAINT: usize = 200;

/// How plugins are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugins {
    time: Duration,
    is_attended: bool,
}

impl Plugins {
    /// `is_attended`: somebody at a terminal waits, and can be asked.
    #[must_use]
    pub fn new(time: Duration, is_attended: bool) -> Self {
        Self { time: if is_attended { time.max(ATTENDED_TIME) } else { time }, is_attended }
    }

    /// How long one may take.
    #[must_use]
    pub fn time(self) -> Duration {
        self.time
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self::new(PLUGIN_TIME, false)
    }
}

/// What the helper is asked.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) plugin: String,
    /// There is a terminal to ask at.
    pub(crate) is_attended: bool,
    pub(crate) identities: Vec<Zeroizing<String>>,
    pub(crate) task: Task,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Task {
    Wrap { recipients: Vec<String>, file_key: Zeroizing<[u8; 16]> },
    Unwrap { stanzas: Vec<SentStanza> },
}

/// What the helper answers.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Wrapped {
        stanzas: Vec<SentStanza>,
        labels: HashSet<String>,
    },
    Unwrapped(Zeroizing<[u8; 16]>),
    /// None of the stanzas is for these identities.
    NotOurs,
    /// The plugin complains, of this file perhaps.
    Refused(String),
    /// It does not work.
    Failed(String),
}

/// A stanza: tag, arguments, body.
#[derive(Serialize, Deserialize)]
pub(crate) struct SentStanza(String, Vec<String>, Vec<u8>);

impl From<&Stanza> for SentStanza {
    fn from(stanza: &Stanza) -> Self {
        Self(stanza.tag.clone(), stanza.args.clone(), stanza.body.clone())
    }
}

impl From<SentStanza> for Stanza {
    fn from(SentStanza(tag, args, body): SentStanza) -> Self {
        Self { tag, args, body }
    }
}

/// Why a plugin did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("age plugin {name:?} {what}")]
pub(super) struct PluginError {
    name: String,
    what: String,
    /// The plugin answers, and what it says may be about one file alone.
    pub(super) is_refusal: bool,
}

impl PluginError {
    /// What went wrong when something was opened, where it was a plugin.
    pub(super) fn of_decryption(error: DecryptError) -> Result<Self, DecryptError> {
        match error {
            DecryptError::Io(error) => error.downcast().map_err(DecryptError::Io),
            error => Err(error),
        }
    }

    /// The same when something was sealed.
    #[cfg(feature = "daemon")]
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    pub(super) fn of_store(&self, path: &Path) -> StoreError {
        store_fault(path, self.to_string(), self.fix())
    }

    pub(super) fn fix(&self) -> String {
        format!(
            "check the device or service behind age-plugin-{}, or set plugin_timeout in [store]",
            self.name
        )
    }
}

/// One plugin, and for whom it seals or what it opens with.
pub(super) struct Plugin {
    name: String,
    recipients: Vec<String>,
    identities: Vec<Secret>,
    how: Plugins,
}

impl Plugin {
    #[cfg(feature = "daemon")]
    pub(super) fn of_recipient(
        recipient: &age::plugin::Recipient,
        how: Plugins,
    ) -> Result<Self, ResolveError> {
        let name = installed(recipient.plugin())?;
        Ok(Self { name, recipients: vec![recipient.to_string()], identities: vec![], how })
    }

    pub(super) fn of_identity(identity: &age::plugin::Identity, how: Plugins) -> Result<Self, ResolveError> {
        let name = installed(identity.plugin())?;
        Ok(Self { name, recipients: vec![], identities: vec![Secret::new(identity.to_string())], how })
    }

    fn ask(&self, task: Task) -> Result<Answer, PluginError> {
        let failed = |what: String, is_refusal| PluginError { name: self.name.clone(), what, is_refusal };
        let identities =
            self.identities.iter().map(|identity| Zeroizing::new(identity.expose().to_owned())).collect();
        let plugin = self.name.clone();
        let request = Request { plugin, is_attended: self.how.is_attended, identities, task };
        let asked = Helper::start(self.how.is_attended).and_then(|mut helper| {
            helper.send(&wiped_json(&request))?;
            helper.answer(&self.name, self.how.time)
        });
        match asked {
            Ok(Answer::Refused(what)) => Err(failed(format!("failed: {}", shown(&what)), true)),
            Ok(Answer::Failed(what)) => Err(failed(format!("failed: {}", shown(&what)), false)),
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(failed(format!("timed out after {} s", self.how.time.as_secs()), false))
            }
            Err(error) => Err(failed(format!("cannot be run: {error}"), false)),
        }
    }
}

/// A plugin's own words, in one line.
fn shown(what: &str) -> String {
    what.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_COMPLAINT).collect()
}

/// The name again, if there is such a plugin on PATH.
fn installed(name: &str) -> Result<String, ResolveError> {
    RecipientPluginV1::new(name, &[], &[], NoCallbacks).map(|_| name.to_owned())
}

impl age::Recipient for Plugin {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        use age::secrecy::ExposeSecret as _;

        let file_key = Zeroizing::new(*file_key.expose_secret());
        match self.ask(Task::Wrap { recipients: self.recipients.clone(), file_key }) {
            Ok(Answer::Wrapped { stanzas, labels }) => {
                Ok((stanzas.into_iter().map(Stanza::from).collect(), labels))
            }
            Ok(_) => Err(EncryptError::Io(io::ErrorKind::InvalidData.into())),
            Err(error) => Err(EncryptError::Io(io::Error::other(error))),
        }
    }
}

impl age::Identity for Plugin {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self.ask(Task::Unwrap { stanzas: stanzas.iter().map(SentStanza::from).collect() }) {
            Ok(Answer::Unwrapped(key)) => Some(Ok(FileKey::init_with_mut(|file_key| *file_key = *key))),
            Ok(Answer::NotOurs) => None,
            Ok(_) => Some(Err(DecryptError::Io(io::ErrorKind::InvalidData.into()))),
            Err(error) => Some(Err(DecryptError::Io(io::Error::other(error)))),
        }
    }
}

/// The process that runs a plugin. It ends with this.
struct Helper(Child);

impl Helper {
    fn start(is_attended: bool) -> io::Result<Self> {
        // Also where the program was replaced since: what it is asked, it is asked in our version's way.
        let mut command = Command::new("/proc/self/exe");
        command.arg(HELPER).stdin(Stdio::piped()).stdout(Stdio::piped());
        if is_attended {
            // It stays in the foreground, for a plugin may ask at the terminal itself. What age prints then are secrets.
            command.env_remove("AGEDEBUG");
        } else {
            let kept =
                ["PATH", "HOME", "LANG", "TMPDIR"].iter().filter_map(|name| Some((name, env::var_os(name)?)));
            // A Ctrl-C is ours to hear: what is being sealed is sealed.
            command.env_clear().envs(kept).process_group(0);
        }
        command.spawn().map(Self)
    }

    /// Its stdin stays open.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let stdin = self.0.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let length = u32::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        stdin.write_all(&length.to_le_bytes())?;
        stdin.write_all(request)
    }

    fn answer(&mut self, plugin: &str, time: Duration) -> io::Result<Answer> {
        let stdout = self.0.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let (begun, mut is_reported) = (Instant::now(), false);
        let mut answer = Zeroizing::new(vec![0; MAX_ANSWER]);
        let mut filled = 0;
        loop {
            let until = if is_reported { time } else { time.min(SOON) };
            let left = Timespec::try_from(until.saturating_sub(begun.elapsed()))
                .map_err(|_| io::ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&left)) {
                Ok(0) if begun.elapsed() >= time => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) if begun.elapsed() >= until => {
                    report_wait(plugin, time);
                    is_reported = true;
                }
                Ok(0) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => match stdout.read(&mut answer[filled..])? {
                    0 => break,
                    read => filled += read,
                },
            }
        }
        // Cut off where it was ended, or has more to say than an answer can be.
        serde_json::from_slice(&answer[..filled])
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no answer"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // This closes its stdin first, and with that it ends.
        let _waited = self.0.wait();
    }
}

/// A person at a terminal hears it of the helper.
fn report_wait(plugin: &str, time: Duration) {
    #[cfg(feature = "daemon")]
    tracing::warn!(plugin, limit = ?time, "waiting for an age plugin");
    #[cfg(not(feature = "daemon"))]
    let _nobody_reads_a_log = (plugin, time);
}
