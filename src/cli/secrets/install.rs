//! `influx-secrets install-exec`: a program that an agent is willing to run, and that runs `backend`.
//!
//! Datadog's agent follows links and looks at what it finds: nobody but its user may have any right on it (or its group may
//! run it, where the agent is told to allow that), and before 7.5x it must be that user's own. So neither a package's
//! program nor a link to it will do, and it is a script of that user's that starts the program.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::geteuid;

use super::{Failure, arguments::From, backend::Terms, brief, source::socket};
use crate::{
    cli::ui,
    hint::Hint,
    replace::{Ownership, Replace},
};

/// How long a program may take to tell who somebody is, and the script to tell its version. Datadog's agent gives that one
/// second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who runs programs for its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agent {
    Datadog,
    Vector,
}

impl Agent {
    pub(super) fn called(text: &str) -> Option<Self> {
        match text {
            "datadog" => Some(Self::Datadog),
            "vector" => Some(Self::Vector),
            _ => None,
        }
    }

    /// Whom its package runs it as.
    fn user(self) -> &'static str {
        match self {
            Self::Datadog => "dd-agent",
            Self::Vector => "vector",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Datadog => "/etc/datadog-agent/influx-secrets",
            Self::Vector => "/etc/vector/influx-secrets",
        }
    }

    /// Vector looks at neither owner nor mode: so it is whoever writes it, root as a rule, who may change it.
    fn ownership(self, user: &User) -> Ownership {
        match self {
            Self::Datadog => Ownership { mode: 0o500, owner: Some((user.uid, user.gid)) },
            Self::Vector => Ownership { mode: 0o755, owner: None },
        }
    }

    /// What to write in its configuration.
    fn configuration(self, path: &Path) -> String {
        // Both formats have JSON's strings.
        let path = serde_json::Value::from(path.to_string_lossy());
        match self {
            Self::Datadog => {
                format!("# datadog.yaml; then write ENC[NAME]\nsecret_backend_command: {path}\n")
            }
            Self::Vector => {
                format!(
                    "# vector.toml; then write SECRET[influx.NAME]\n[secret.influx]\ntype = \"exec\"\ncommand = [{path}]\n"
                )
            }
        }
    }
}

/// What is to be installed.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) agent: Agent,
    pub(super) user: Option<String>,
    pub(super) path: Option<PathBuf>,
    pub(super) terms: Terms,
}

/// Why it could not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotInstalled {
    /// Nobody is called so.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// Only root gives files away.
    #[error("cannot write {path:?} as a file of user {user}")]
    NotRoot {
        /// Where.
        path: PathBuf,
        /// Whose it is to be.
        user: String,
    },
    /// The script.
    #[error("cannot write {path:?}")]
    Unwritten {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is written, and does not run.
    #[error("{path:?} is written, but user {user} cannot run it")]
    Untried {
        /// Where.
        path: PathBuf,
        /// Who.
        user: String,
        /// What came of it.
        #[source]
        source: io::Error,
    },
}

impl Hint for NotInstalled {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoUser(_) => "install the agent first, or name whom it runs as with `--user`".to_owned(),
            Self::NotRoot { .. } => "run this as root, or as that user".to_owned(),
            Self::Unwritten { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "install the agent first, or name a path in a folder that there is".to_owned()
            }
            Self::Unwritten { .. } => return None,
            Self::Untried { .. } => {
                "see that this user may run influx-secrets where it is, and reach every folder above both"
                    .to_owned()
            }
        })
    }
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
}

pub(super) fn run(from: From, order: &Order) -> Result<(), Failure> {
    let path = order.path.clone().unwrap_or_else(|| order.agent.path().into());
    let path = std::path::absolute(&path).unwrap_or(path);
    let unwritten = |source| NotInstalled::Unwritten { path: path.clone(), source };
    let user = user(order)?;
    let ownership = order.agent.ownership(&user);
    let euid = geteuid();
    if ownership.owner.is_some_and(|(uid, _)| !euid.is_root() && euid.as_raw() != uid) {
        return Err(NotInstalled::NotRoot { path, user: user.name }.into());
    }
    let program = std::env::current_exe().map_err(unwritten)?;
    let text = script(&program, &arguments(from, order.terms));
    write(&path, &text, ownership).map_err(unwritten)?;
    try_as(&user, &path).map_err(|source| NotInstalled::Untried {
        path: path.clone(),
        user: user.name.clone(),
        source,
    })?;
    Ok(ui::print(&order.agent.configuration(&path))?)
}

fn user(order: &Order) -> Result<User, NotInstalled> {
    let name = order.user.as_deref().unwrap_or_else(|| order.agent.user());
    let number = |what| id(what, name).ok_or_else(|| NotInstalled::NoUser(name.to_owned()));
    Ok(User { name: name.to_owned(), uid: number("-u")?, gid: number("-g")? })
}

/// By another program: what looks up users is more than `/etc/passwd`, and would keep this one from being linked statically.
fn id(what: &str, user: &str) -> Option<u32> {
    let (status, said) = brief::run(Command::new("id").args([what, "--", user]), PATIENCE).ok()?;
    status.success().then(|| said.trim().parse().ok()).flatten()
}

/// What `backend` is run with. Paths are whole, for an agent has a working folder of its own; and the socket is named in
/// any case, for without systemd around it the agent's user would be taken for one with a daemon of its own.
fn arguments(from: From, terms: Terms) -> Vec<OsString> {
    let mut arguments = vec!["backend".into()];
    let mut path = |option: &str, path: Option<PathBuf>| {
        if let Some(path) = path {
            arguments.push(option.into());
            arguments.push(std::path::absolute(&path).unwrap_or(path).into());
        }
    };
    match from {
        From::Daemon(named) => path("--socket", Some(socket(named))),
        From::Store { path: store, identity, unwrap } => {
            path("--store", store);
            path("--identity", identity);
            path("--unwrap", unwrap);
        }
    }
    let usual = Terms::default();
    if terms.patience != usual.patience {
        arguments.push(format!("--timeout={}ms", terms.patience.as_millis()).into());
    }
    if terms.max_output != usual.max_output {
        arguments.push(format!("--max-output={}", terms.max_output).into());
    }
    arguments
}

/// The agent's own arguments come last: one that asks for the version is told it.
fn script(program: &Path, arguments: &[OsString]) -> Vec<u8> {
    let mut text = b"#!/bin/sh\n# Written by influx-secrets install-exec.\nexec ".to_vec();
    for word in std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str)) {
        text.extend(quoted(word).as_bytes());
        text.push(b' ');
    }
    text.extend(b"\"$@\"\n");
    text
}

/// As one word of a shell, whatever is in it.
fn quoted(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./=".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

fn write(path: &Path, text: &[u8], ownership: Ownership) -> io::Result<()> {
    let mut file = Replace::owned(path, ownership)?;
    file.write(text)?;
    file.commit().map(drop)
}

/// Runs it as the agent would.
fn try_as(user: &User, path: &Path) -> io::Result<()> {
    let mut command = Command::new(path);
    command.arg("--version").current_dir("/");
    if geteuid().is_root() {
        command.uid(user.uid).gid(user.gid);
    }
    let (status, said) = brief::run(&mut command, PATIENCE)?;
    if status.success() && said.starts_with("influx-secrets ") {
        return Ok(());
    }
    // The kernel says no more of a script than that it cannot be run.
    fs::metadata(path)?;
    Err(io::Error::other(format!("it ended with {status}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_plain_stands_as_it_is() {
        let words = ["backend".into(), "--socket".into(), "/a b/it's".into(), "--timeout=9s".into()];
        let text = script(Path::new("/usr/bin/influx-secrets"), &words);
        let text = String::from_utf8(text).expect("UTF-8");
        let expected = "exec /usr/bin/influx-secrets backend --socket '/a b/it'\\''s' --timeout=9s \"$@\"";
        assert_eq!(text.lines().last(), Some(expected));
    }

    #[test]
    fn where_secrets_come_from_is_always_said() {
        let words = |from| {
            let words = arguments(from, Terms::default());
            words.into_iter().map(|word| word.into_string().expect("UTF-8")).collect::<Vec<_>>()
        };
        let named = words(From::Daemon(Some("/s".into())));
        assert_eq!(named, ["backend", "--socket", "/s"]);
        let usual = words(From::Daemon(None));
        assert!(usual[1] == "--socket" && usual[2].starts_with('/'), "{usual:?}");
        let relative =
            words(From::Store { path: Some("s".into()), identity: None, unwrap: Some("/u".into()) });
        assert_eq!((relative[1].as_str(), relative[3..].join(" ")), ("--store", "--unwrap /u".to_owned()));
        assert!(relative[2].starts_with('/') && relative[2].ends_with("/s"), "{relative:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_sees_each_word_as_it_was(words in proptest::collection::vec("[ -~é\n\t]{0,12}", 1..4)) {
            let quoted: Vec<OsString> = words.iter().map(|word| quoted(OsStr::new(word))).collect();
            let line = quoted.join(OsStr::new(" "));
            let mut script = OsString::from("printf '%s\\0' ");
            script.push(line);
            let output = Command::new("/bin/sh").arg("-c").arg(script).output().expect("a shell");
            let seen: Vec<&str> = std::str::from_utf8(&output.stdout).expect("UTF-8").split_terminator('\0').collect();
            prop_assert_eq!(seen, words);
        }
    }
}
