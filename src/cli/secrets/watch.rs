//! `influx-secrets watch`: a command for each new secret of a token.
//!
//! The daemon takes a process that has read an older secret for one that still uses it. So this one reads at the start,
//! and again only once COMMAND has brought the new secret to whoever uses it.
//!
//! Signals keep their default disposition. A COMMAND that runs when this process ends goes on to its own end, and its
//! outcome is lost: the next watch takes what it finds for what is in use. It inherits that there are no core dumps.

use std::{
    ffi::OsString,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Failure,
    follow::{Follower, Pause, Told, missing},
};
use crate::{
    cli::ui,
    client::{Client, Error},
    model::Name,
};

/// The longest pause before the daemon is asked again: it may be away for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The first pause before a command that failed is run again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs until it is ended; an error is one that asking again cannot mend.
pub(super) fn run(client: &Client, name: &str, command: &[OsString]) -> Result<(), Failure> {
    let name = name.parse()?;
    let mut watch =
        Watch { client, name, command, follower: Follower::new(client), progress: Progress::default() };
    let mut told = Told::new("watching");
    let mut pause = Pause::up_to(LONGEST_PAUSE);
    loop {
        let asked = Instant::now();
        let outcome = watch.turn();
        match &outcome {
            Ok(_) => told.clear(),
            // A daemon that goes away does so in several steps; a person wants one line.
            Err(error @ Reason::Daemon(Error::Unreachable { .. })) => {
                told.tell_as("away", &error.to_string())
            }
            Err(reason) => told.tell(&reason.to_string()),
        }
        pause.after_answer(matches!(outcome, Ok(true)), asked.elapsed(), Duration::MAX);
    }
}

struct Watch<'a> {
    client: &'a Client,
    name: Name,
    command: &'a [OsString],
    follower: Follower<'a>,
    progress: Progress,
}

/// Why there is nothing to watch for now.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Daemon(#[from] Error),
    #[error("{0}")]
    Missing(String),
}

impl Watch<'_> {
    /// Asks, and does what follows from the answer. `true`: there is more to ask at once.
    fn turn(&mut self) -> Result<bool, Reason> {
        let is_news = match self.follower.ask(Duration::MAX) {
            Ok(is_news) => is_news,
            Err(error) => {
                if matches!(error, Error::Denied { .. }) {
                    self.progress.step(None);
                }
                return Err(error.into());
            }
        };
        let generation = self.follower.generations.get(&self.name).copied();
        match self.progress.step(generation.filter(|number| *number > 0)) {
            Step::Run(generation) => {
                run_until_done(&self.name, generation, self.command);
                self.progress.ran(generation);
                // What has changed meanwhile is asked for before the read, which would tell too much.
                self.follower.forget();
                return Ok(true);
            }
            Step::Read => {
                self.client.secret(&self.name).inspect_err(|_| self.follower.forget())?;
                self.progress.read();
            }
            Step::Nothing => {}
        }
        match missing(&self.follower.generations, std::slice::from_ref(&self.name)) {
            None => Ok(is_news),
            Some(missing) => {
                if missing.is_unknown {
                    self.follower.forget();
                }
                Err(Reason::Missing(missing.what))
            }
        }
    }
}

/// How far the secret has come.
#[derive(Debug, Default)]
struct Progress {
    /// The generation in use; 0: none, as there was none at the start. `None`: not known yet.
    in_use: Option<u64>,
    owes_a_read: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Bring this generation to whoever uses it.
    Run(u64),
    /// Read, so that the daemon knows it is in use.
    Read,
    Nothing,
}

impl Progress {
    /// What to do now that this generation is ready, or none.
    fn step(&mut self, ready: Option<u64>) -> Step {
        match (self.in_use, ready) {
            (None, Some(generation)) => {
                self.ran(generation);
                Step::Read
            }
            (None, None) => {
                self.in_use = Some(0);
                Step::Nothing
            }
            (Some(in_use), Some(generation)) if in_use != generation => Step::Run(generation),
            (Some(_), Some(_)) if self.owes_a_read => Step::Read,
            (Some(_), _) => Step::Nothing,
        }
    }

    fn ran(&mut self, generation: u64) {
        *self = Self { in_use: Some(generation), owes_a_read: true };
    }

    fn read(&mut self) {
        self.owes_a_read = false;
    }
}

fn run_until_done(name: &Name, generation: u64, command: &[OsString]) {
    let Some((program, arguments)) = command.split_first() else { return };
    let note = |line: String| ui::note("influx-secrets", &line);
    note(format!("token {name} has a new secret (generation {generation}): running {program:?}"));
    let mut pause = Pause::from_to(AGAIN.0, AGAIN.1);
    loop {
        // No limit of time: how long a reload takes is for whoever wrote it to say.
        let why = match Command::new(program).args(arguments).stdin(Stdio::null()).status() {
            Ok(status) if status.success() => return,
            Ok(status) => ended(status),
            Err(error) => format!("cannot be started: {error}"),
        };
        let pause = pause.grow();
        note(format!("warning: {program:?} {why}; again in {pause:?}"));
        thread::sleep(pause);
    }
}

fn ended(status: ExitStatus) -> String {
    status
        .code()
        .map_or_else(|| "was ended by a signal".to_owned(), |code| format!("ended with exit code {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_at_the_start_and_after_each_run() {
        let mut progress = Progress::default();
        assert_eq!(progress.step(Some(3)), Step::Read);
        assert_eq!(progress.step(Some(3)), Step::Read, "a read that failed is owed");
        progress.read();
        assert_eq!(progress.step(Some(3)), Step::Nothing);
        assert_eq!(progress.step(None), Step::Nothing, "not ready for a while");
        assert_eq!(progress.step(Some(5)), Step::Run(5));
        progress.ran(5);
        assert_eq!(progress.step(Some(6)), Step::Run(6), "changed while it ran: no read in between");
        progress.ran(6);
        assert_eq!(progress.step(Some(6)), Step::Read);
    }

    #[test]
    fn the_first_secret_of_a_token_is_a_new_one() {
        let mut progress = Progress::default();
        assert_eq!(progress.step(None), Step::Nothing);
        assert_eq!(progress.step(Some(1)), Step::Run(1));
    }
}
