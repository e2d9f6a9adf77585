//! What a server says is a claim: what becomes of tokens where answers are odd, on servers that work all the same.

use std::{cell::RefCell, collections::HashSet, process::Stdio, time::Duration};

use influx_sandbox::{Oddities, Token};
use jiff::{SignedDuration, Timestamp};

use crate::{
    host::{Daemon, Host, Ran, ran, wait_until},
    kind::Kind,
};

mod data_plane;
mod echo;
mod fate;
mod random;
mod retry;
mod rows;
mod storm;
mod strangers;
mod times;
mod transport;

/// So many names a host has where one alone would show less.
const NAMES: usize = 20;

/// So many steps a day has here, after each of which the server is looked at.
const STEPS: i64 = 6;

/// No command takes longer: it has more and more to do.
const LONGEST: Duration = Duration::from_secs(20);

/// A host on an odd server, with a daemon or without, and all that its programs have said.
struct Setting {
    host: Host,
    daemon: Option<Daemon>,
    said: RefCell<String>,
    /// The part of it that is for people alone: no tables.
    told: RefCell<String>,
}

impl Setting {
    /// One whose tokens a daemon looks after.
    fn with_daemon(host: Host) -> Self {
        let daemon = host.daemon();
        daemon.wait_for("ready");
        let daemon = Some(daemon);
        Self { host, daemon, said: RefCell::default(), told: RefCell::default() }
    }

    /// One whose tokens are looked after by `apply` alone.
    fn by_command(host: Host) -> Self {
        Self { host, daemon: None, said: RefCell::default(), told: RefCell::default() }
    }

    fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Runs a command and keeps what it has said. Without an exit code: it did not come to an end.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_within(LONGEST, arguments)
    }

    /// The same, for this long.
    fn run_within(&self, longest: Duration, arguments: &[&str]) -> Ran {
        let mut command = self.host.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let ran = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Not reaped before the end of this thread has been waited for.
                if is_done.recv_timeout(longest) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            });
            let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            let errors = scope.spawn(|| read(stderr));
            let stdout = read(stdout);
            let stderr = errors.join().unwrap();
            drop(done);
            (stdout, stderr)
        });
        let status = child.wait().unwrap();
        let (stdout, stderr) = ran;
        let ran = ran_of(status, stdout, stderr);
        let mut said = self.said.borrow_mut();
        said.push_str(&ran.stdout);
        said.push_str(&ran.stderr);
        drop(said);
        self.told.borrow_mut().push_str(&ran.stderr);
        ran
    }

    /// Another list, in force once this has returned.
    fn save(&self, rest: &str) {
        let accepted = || self.log().matches("list accepted").count();
        let before = accepted();
        self.host.list(rest);
        if self.daemon.is_some() {
            wait_until("the list", || accepted() > before, || self.log());
        }
    }

    fn apply(&self) -> Ran {
        self.run(&["apply"])
    }

    /// `apply` that must do all there is to do.
    fn must_apply(&self) -> Ran {
        let ran = self.apply();
        assert_eq!(ran.code, Some(0), "{ran:?}\n{}", self.log());
        ran
    }

    /// A first look, which is as much as there is to do. A storm has no end.
    fn settle(&self) {
        if self.daemon.is_some() {
            let host = &self.host;
            let is_ready = || host.sandbox.requests().iter().any(|request| request.method == "GET");
            wait_until("a first list", is_ready, || self.log());
        }
        self.apply();
    }

    /// A day passes on the server, and after each part of it the server is looked at.
    fn pass_a_day(&self, check: impl Fn()) {
        for _ in 0..STEPS {
            self.host.shift_clock(SignedDuration::from_hours(24 / STEPS));
            self.apply();
            check();
        }
    }

    /// What was said so far by commands and in the log, and what `check` says now.
    fn said(&self) -> String {
        self.run(&["check"]);
        format!("{}\n{}", self.said.borrow(), self.log())
    }

    /// How often a token of this name was created, whatever has become of its description.
    fn created(&self, name: &str) -> usize {
        let (path, label) = (self.host.api("/tokens"), format!("/{name}/"));
        let requests = self.host.sandbox.requests();
        let is_creation = |request: &&influx_sandbox::Recorded| {
            request.method == "POST" && request.path == path && request.body.contains(&label)
        };
        requests.iter().filter(is_creation).filter(|request| request.status == Some(200)).count()
    }

    /// That no name has had more tokens than this.
    fn assert_at_most(&self, most: usize, context: &str) {
        for name in names(NAMES) {
            let created = self.created(&name);
            assert!(created <= most, "{context}: {created} tokens of {name}\n{}", self.said.borrow());
        }
    }

    /// That each name has the first token that was made for it, and uses it.
    fn assert_first(&self, count: usize, context: &str) {
        for name in names(count) {
            let context = || format!("{context}: {name}\n{}\n{}", self.said.borrow(), self.log());
            assert_eq!(self.created(&name), 1, "{}", context());
            let live = self.host.live(&name);
            assert_eq!(live.len(), 1, "{}", context());
            assert_eq!(self.host.delivered(&name).as_ref(), Some(&live[0].secret), "{}", context());
        }
    }

    /// The tokens that there are of all names.
    fn tokens(&self, count: usize) -> Vec<Token> {
        names(count).flat_map(|name| self.host.live(&name)).collect()
    }

    /// That a person has been told of these two times, at least so far apart as this and no further than that.
    fn assert_told_apart(&self, least: SignedDuration, most: SignedDuration, context: &str) {
        let check = self.run(&["check"]).stdout;
        let said = format!("{}\n{check}\n{}", self.told.borrow(), self.log());
        let told = times_by_line(&said);
        let fit = |one: &Timestamp, other: &Timestamp| {
            let apart = one.duration_since(*other).abs();
            apart >= least && apart <= most
        };
        let is_told =
            told.iter().any(|times| times.iter().any(|one| times.iter().any(|other| fit(one, other))));
        assert!(is_told, "{context}: nobody names the two times\n{said}");
    }
}

fn read(mut from: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

fn ran_of(status: std::process::ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Ran {
    ran(std::process::Output { status, stdout, stderr })
}

/// The times in each line that has several, but for that which begins a line of the log.
fn times_by_line(text: &str) -> Vec<Vec<Timestamp>> {
    let is_of_time = |c: char| c.is_ascii_digit() || "TZ:.+-".contains(c);
    let times = |line: &str| -> Vec<Timestamp> {
        let rest = match line.split_once(' ') {
            Some((first, rest)) if first.parse::<Timestamp>().is_ok() => rest,
            _ => line,
        };
        rest.split(|c| !is_of_time(c))
            .filter_map(|word| word.trim_end_matches(['.', ':']).parse().ok())
            .collect()
    };
    text.lines().map(times).filter(|times| times.len() > 1).collect()
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("t{n}"))
}

/// A host with so many names on a server that is odd in this way, with these words in [lifecycle].
fn odd_host(kind: &'static Kind, oddities: Oddities, lifecycle: &str, count: usize) -> Host {
    let host = Host::on(kind);
    host.sandbox.set_oddities(oddities);
    host.list(&format!("{lifecycle}{}", tokens(count)));
    host
}

fn tokens(count: usize) -> String {
    names(count).map(|name| format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\n")).collect()
}

/// Each on a thread of its own: most of their time they wait.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, scenario: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        let scenario = &scenario;
        for case in cases {
            scope.spawn(move || scenario(case));
        }
    });
}

/// Sixteen bytes of a secret that stand in a text.
fn piece_of(text: &str, secrets: &[String]) -> Option<String> {
    let pieces: HashSet<&[u8]> = secrets.iter().flat_map(|secret| secret.as_bytes().windows(16)).collect();
    let found = text.as_bytes().windows(16).find(|piece| pieces.contains(piece));
    found.map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// What nobody may read anywhere: the management token, and all that the server has made.
fn secrets_of(host: &Host) -> Vec<String> {
    let made = host.sandbox.tokens().into_iter().map(|token| token.secret);
    made.chain([host.sandbox.management_token()]).collect()
}
