//! The helper of `store/age/plugin.rs`: runs one age plugin for one file key, then ends it with all that it has started.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use age::{
    Callbacks, DecryptError, EncryptError, Identity as _, Recipient as _,
    plugin::{Identity, IdentityPluginV1, Recipient, RecipientPluginV1},
    secrecy::{ExposeSecret as _, SecretString},
};
use age_core::format::{FileKey, Stanza};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait},
};
use zeroize::Zeroizing;

use super::ui;
use crate::{
    harden::harden_process,
    model::wiped_json,
    store::age::plugin::{Answer, HELPER, Request, SentStanza, Task},
};

/// What does not end within this is left to the system: the kernel does not let go of it.
const ENDING: Duration = Duration::from_secs(1);
/// How often is looked for what is left.
const LOOK: Duration = Duration::from_millis(5);

/// Whether this process is to be the helper.
#[must_use]
pub fn is_helper() -> bool {
    env::args_os().nth(1).is_some_and(|word| word == HELPER)
}

/// Reads a request from stdin, and answers it on stdout.
#[must_use]
pub fn main() -> ExitCode {
    match help() {
        Ok(()) => ExitCode::SUCCESS,
        // The parent process reports the missing answer.
        Err(_) => ExitCode::FAILURE,
    }
}

fn help() -> io::Result<()> {
    harden_process()?;
    set_child_subreaper(Some(getpid()))?;
    // Not through std's buffer: it would keep a copy that nothing wipes.
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; 4];
    stdin.read_exact(&mut length)?;
    let mut request = Zeroizing::new(vec![0; u32::from_le_bytes(length) as usize]);
    stdin.read_exact(&mut request)?;
    thread::spawn(move || end_with(stdin));
    let request: Request = serde_json::from_slice(&request)?;
    let answer = carry_out(request);
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(&wiped_json(&answer))?;
    end_descendants();
    Ok(())
}

fn carry_out(request: Request) -> Answer {
    let Request { plugin, is_attended, identities, task } = request;
    let callbacks = Person { plugin: is_attended.then(|| plugin.clone()) };
    let identities: Vec<Identity> = identities.iter().filter_map(|text| text.parse().ok()).collect();
    match task {
        Task::Wrap { recipients, file_key } => {
            let recipients: Vec<Recipient> = recipients.iter().filter_map(|text| text.parse().ok()).collect();
            let file_key = FileKey::init_with_mut(|key| *key = *file_key);
            RecipientPluginV1::new(&plugin, &recipients, &identities, callbacks)
                .map_err(|error| Answer::Failed(error.to_string()))
                .and_then(|plugin| plugin.wrap_file_key(&file_key).map_err(|error| not_wrapped(&error)))
                .map(|(stanzas, labels)| Answer::Wrapped {
                    stanzas: stanzas.iter().map(SentStanza::from).collect(),
                    labels,
                })
        }
        Task::Unwrap { stanzas } => {
            let stanzas: Vec<Stanza> = stanzas.into_iter().map(Stanza::from).collect();
            IdentityPluginV1::new(&plugin, &identities, callbacks)
                .map_err(|error| Answer::Failed(error.to_string()))
                .and_then(|plugin| {
                    plugin.unwrap_stanzas(&stanzas).transpose().map_err(|error| not_unwrapped(&error))
                })
                .map(|key| {
                    key.map_or(Answer::NotOurs, |key| Answer::Unwrapped((*key.expose_secret()).into()))
                })
        }
    }
    .unwrap_or_else(|failed| failed)
}

fn not_wrapped(error: &EncryptError) -> Answer {
    match error {
        EncryptError::Plugin(_) => Answer::Refused(error.to_string()),
        EncryptError::Io(error) => Answer::Failed(why(error)),
        error => Answer::Failed(error.to_string()),
    }
}

fn not_unwrapped(error: &DecryptError) -> Answer {
    match error {
        DecryptError::Plugin(_) => Answer::Refused(error.to_string()),
        DecryptError::Io(error) => Answer::Failed(why(error)),
        error => Answer::Failed(error.to_string()),
    }
}

/// Where a plugin dies, age advises to have it print its secrets.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => "it exited without an answer".to_owned(),
        _ => error.to_string(),
    }
}

/// Whom a plugin speaks to, if there is anybody.
#[derive(Clone)]
struct Person {
    plugin: Option<String>,
}

impl Callbacks for Person {
    fn display_message(&self, message: &str) {
        if let Some(plugin) = &self.plugin {
            let line: String = message.chars().filter(|c| !c.is_control()).collect();
            ui::note(&format!("age-plugin-{plugin}"), &line);
        }
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.plugin.as_ref()?;
        let line: String = description.chars().filter(|c| !c.is_control()).collect();
        rpassword::prompt_password(format!("{line}: ")).ok().map(SecretString::from)
    }
}

/// Waits until nobody wants an answer any more, or nobody is there: then all ends.
fn end_with(mut stdin: File) {
    // Nothing more is ever sent.
    let _closed = stdin.read(&mut [0]);
    let begun = Instant::now();
    // The plugin may be about to start. Once it is gone the other thread comes to its end, and with it this process.
    while begun.elapsed() < ENDING {
        end_descendants();
        thread::sleep(LOOK);
    }
    let _killed = kill_process(getpid(), Signal::KILL);
}

/// Ends all that was started here, and what that has started: whatever loses its parent becomes ours.
fn end_descendants() {
    let begun = Instant::now();
    while begun.elapsed() < ENDING {
        for child in children() {
            // It may have ended.
            let _killed = kill_process(child, Signal::KILL);
        }
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(_) => return,
                Ok(None) => break,
            }
        }
        thread::sleep(LOOK);
    }
}

/// Of every thread of this process (proc(5)).
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |text: String| -> Vec<Pid> {
        text.split(' ').filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)).collect()
    };
    children.flat_map(pids).collect()
}
