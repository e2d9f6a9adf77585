//! The file beside the program by its path: what it plays, and where it writes down how it was called.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{Defect, Failure, version::Version};

/// Its name.
const FILE: &str = "stand-in.json";

/// One call of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What followed the program's name.
    pub argv: Vec<String>,
    /// The names of the environment's variables.
    pub env_names: Vec<String>,
    /// Stdin was closed, or nothing was to be read from it.
    pub stdin_closed: bool,
    /// `token create`; empty if the line was not understood.
    pub verb: String,
    /// The process.
    pub pid: u32,
}

/// A defect of some calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) verb: String,
    pub(super) defect: Defect,
    /// So many calls of the verb came before the first of them.
    pub(super) skip: usize,
    pub(super) times: Option<usize>,
}

impl Rule {
    pub(super) fn concerns(&self, verb: &str) -> bool {
        self.verb == "*" || self.verb == verb
    }
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) version: String,
    pub(super) argv_log: PathBuf,
    /// Processes that hold a pipe, a line each.
    pub(super) children: PathBuf,
    /// HOST:PORT in place of Dedicated's console, which no profile names.
    pub(super) console: Option<String>,
    pub(super) defects: Vec<Rule>,
}

impl Written {
    /// Never seen in part: a call may be starting.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let staged = folder.join("stand-in.json.new");
        fs::write(&staged, serde_json::to_vec(self)?)?;
        fs::rename(staged, folder.join(FILE))
    }
}

/// The file as a call sees it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) version: Version,
    pub(super) written: Written,
}

impl Settings {
    /// By the path the program was called by, as callers clear the environment.
    pub(super) fn beside(called: &OsStr) -> Result<Self, Failure> {
        let file = beside(Path::new(called)).ok_or_else(|| Failure::new(format!("{FILE} is not on PATH")))?;
        let text = fs::read(&file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        let written: Written = serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        let version = Version::parse(&written.version)
            .ok_or_else(|| Failure::new(format!("\"{}\" is not a version", written.version)))?;
        Ok(Self { version, written })
    }

    /// Writes this call down; the verbs of those before it.
    pub(super) fn record(&self, argv: &[String], verb: &str) -> Result<Vec<String>, Failure> {
        let call = Call {
            argv: argv.to_vec(),
            env_names: env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect(),
            stdin_closed: stdin_is_closed(),
            verb: verb.to_owned(),
            pid: std::process::id(),
        };
        append(&self.written.argv_log, &call)
            .map_err(|error| Failure::new(format!("{}: {error}", self.written.argv_log.display())))
    }

    /// What is wrong with a call that comes after these.
    pub(super) fn defects(&self, verb: &str, earlier: &[String]) -> Vec<Defect> {
        let strikes = |rule: &&Rule| {
            let number = earlier.iter().filter(|verb| rule.concerns(verb)).count();
            let end = rule.times.map_or(usize::MAX, |times| rule.skip.saturating_add(times));
            rule.concerns(verb) && (rule.skip..end).contains(&number)
        };
        self.written.defects.iter().filter(strikes).map(|rule| rule.defect.clone()).collect()
    }
}

fn beside(called: &Path) -> Option<PathBuf> {
    let folder = called.parent()?;
    if !folder.as_os_str().is_empty() {
        return Some(folder.join(FILE));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(FILE)).find(|file| file.is_file())
}

/// Under a lock, so that calls at the same time have numbers of their own.
fn append(log: &Path, call: &Call) -> io::Result<Vec<String>> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(log)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let earlier = calls(&text)?.into_iter().map(|call| call.verb).collect();
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(earlier)
}

/// A call per line.
pub(super) fn calls(text: &str) -> io::Result<Vec<Call>> {
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// Every call so far.
pub(super) fn read_calls(log: &Path) -> io::Result<Vec<Call>> {
    let mut file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        opened => opened?,
    };
    file.lock_shared()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    calls(&text)
}

/// Without waiting, and without taking anything from it: a prompt may want it.
fn stdin_is_closed() -> bool {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let ready = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0);
    ready && stdin.lock().fill_buf().map_or(true, <[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_calls_of_their_verb() {
        let rule =
            |verb: &str, skip, times| Rule { verb: verb.to_owned(), defect: Defect::Hang, skip, times };
        let settings = |rule| Settings {
            version: Version::FIRST,
            written: Written {
                version: "2.0.0".to_owned(),
                argv_log: PathBuf::new(),
                children: PathBuf::new(),
                console: None,
                defects: vec![rule],
            },
        };
        let struck = |rule: Rule, verb: &str, earlier: &[&str]| {
            let earlier: Vec<String> = earlier.iter().map(|verb| (*verb).to_owned()).collect();
            !settings(rule).defects(verb, &earlier).is_empty()
        };
        assert!(struck(rule("token list", 0, None), "token list", &["token get"]));
        assert!(!struck(rule("token list", 0, None), "token get", &[]));
        assert!(!struck(rule("token list", 1, Some(1)), "token list", &["token get"]));
        assert!(struck(rule("token list", 1, Some(1)), "token list", &["token list", "token get"]));
        assert!(!struck(rule("token list", 1, Some(1)), "token list", &["token list", "token list"]));
        assert!(struck(rule("*", 2, Some(1)), "token get", &["token list", ""]));
    }
}
