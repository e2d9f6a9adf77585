//! `influx-secrets keyring`: the kernel's ring of keys that Telegraf's `os` store reads, filled from the daemon.
//!
//! A ring is a user's own: not even root can write to another's. So this runs as Telegraf's user. It hands on what it
//! reads, and says so: that a newer value was read here proves nothing of who still has the older one.
//!
//! The ring outlives this program, and Telegraf reads on when it ends. It does not outlive a reboot.

use std::{
    mem::{Discriminant, discriminant},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{SigSet, Signal};

use super::{
    Failure,
    follow::{Pause, Told, missing},
};
use crate::{
    cli::ui,
    client::{Client, Error},
    model::Name,
    supervisor::Supervisor,
};

mod error;
mod relay;
mod ring;

pub use error::{RingError, Used};
pub(super) use ring::RingName;

use relay::Relay;
use ring::Ring;

/// The longest pause before the daemon is asked again: it may be away for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So many tokens that the kernel does not take are told of, each with its reason.
const MOST_TOLD: usize = 8;

/// What is to be done, with which ring.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) ring: RingName,
    pub(super) task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Fill,
    /// All of it is looked at anew this often.
    Follow {
        recheck: Duration,
    },
    Clear,
}

impl Task {
    /// What leaves the list, or is not for this user any more, is seen after this time at the latest.
    pub(super) const RECHECK: Duration = Duration::from_secs(30);
    /// Oftener would keep the daemon busy.
    pub(super) const SHORTEST: Duration = Duration::from_millis(100);
}

pub(super) fn run(client: Client, order: Order) -> Result<(), Failure> {
    let Order { ring, task } = order;
    match task {
        Task::Fill => fill(client.relaying(), ring),
        Task::Follow { recheck } => {
            let ended = until_told(move || follow(client.relaying(), ring, recheck))?;
            Supervisor.stopping();
            ended.map_or(Ok(()), Err)
        }
        Task::Clear => clear(&ring),
    }
}

/// All that is ready goes in, as far as the kernel takes it.
fn fill(client: Client, ring: RingName) -> Result<(), Failure> {
    let mut relay = Relay::open(client, ring)?;
    relay.look()?;
    if let Some(missing) = missing(&relay.generations, &[]) {
        ui::note("influx-secrets", &format!("warning: {}", missing.what));
    }
    if relay.failed.is_empty() {
        return Ok(());
    }
    tell_all(relay.failed.values());
    Err(Failure::Partly {
        failed: relay.failed.len(),
        of: relay.generations.len(),
        ring: relay.name.to_string(),
    })
}

fn clear(name: &RingName) -> Result<(), Failure> {
    let count = Ring::find(name)?.map_or(Ok(0), |ring| ring.clear())?;
    ui::note("influx-secrets", &format!("{} taken out of the {name}", ui::count(count, "token")));
    Ok(())
}

/// Never ends but by a ring that cannot be opened at the start: whoever made this unit wants to know.
fn follow(client: Client, ring: RingName, recheck: Duration) -> Failure {
    let mut relay = match Relay::open(client, ring) {
        Ok(relay) => relay,
        Err(error) => return error.into(),
    };
    let mut telling = Telling::default();
    let mut pause = Pause::up_to(LONGEST_PAUSE);
    let mut looked: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let left = looked.map_or(Duration::ZERO, |at| recheck.saturating_sub(at.elapsed()));
        let outcome = if left.is_zero() {
            // The next question waits for an answer.
            relay.look().map(|()| {
                looked = Some(asked);
                true
            })
        } else {
            relay.poll(left)
        };
        telling.tell(&relay, &outcome);
        if outcome.is_err() {
            // What has come of a question that failed is not known.
            looked = None;
        }
        pause.after_answer(matches!(outcome, Ok(true)), asked.elapsed(), Duration::MAX);
    }
}

/// What people and systemd are told, each once.
struct Telling {
    waiting: Told,
    /// Tokens that the kernel does not take, and why: how far a quota is used changes all the time.
    failed: Vec<(Name, Discriminant<RingError>)>,
    status: Option<String>,
    is_ready: bool,
}

impl Default for Telling {
    fn default() -> Self {
        Self { waiting: Told::new("following"), failed: vec![], status: None, is_ready: false }
    }
}

impl Telling {
    fn tell(&mut self, relay: &Relay, outcome: &Result<bool, Failure>) {
        match outcome {
            Ok(_) => match missing(&relay.generations, &[]) {
                Some(missing) => self.waiting.tell(&missing.what),
                None => self.waiting.clear(),
            },
            // A daemon that goes away does so in several steps; a person wants one line.
            Err(failure @ Failure::Daemon(Error::Unreachable { .. })) => {
                self.waiting.tell_as("away", &failure.to_string());
            }
            Err(failure) => self.waiting.tell(&failure.to_string()),
        }
        let failed: Vec<_> =
            relay.failed.iter().map(|(name, error)| (name.clone(), discriminant(error))).collect();
        if failed != self.failed {
            tell_all(relay.failed.values());
            self.failed = failed;
        }
        self.tell_systemd(relay, outcome);
    }

    /// Ready is the ring once the daemon has answered: what it has then is all that there is for this user. Who starts
    /// after that and needs more waits for it (`influx-secrets wait`).
    fn tell_systemd(&mut self, relay: &Relay, outcome: &Result<bool, Failure>) {
        let status = match outcome {
            Ok(_) => relay.summary(),
            Err(failure) => failure.to_string(),
        };
        if self.status.as_ref() != Some(&status) {
            Supervisor.status(&status);
            self.status = Some(status);
        }
        let is_answered = matches!(outcome, Ok(_) | Err(Failure::Daemon(Error::Denied { .. })));
        if is_answered && !std::mem::replace(&mut self.is_ready, true) {
            Supervisor.ready();
        }
    }
}

/// Each with its reason; but of those that a quota keeps out the first alone, for the reason is the same.
fn tell_all<'e>(failed: impl Iterator<Item = &'e RingError>) {
    let (of_quota, others): (Vec<_>, Vec<_>) =
        failed.partition(|error| matches!(error, RingError::Quota { .. }));
    for (errors, most, why) in [(of_quota, 1, ", for the same reason"), (others, MOST_TOLD, "")] {
        errors.iter().take(most).for_each(|error| ui::warning("influx-secrets", *error));
        if errors.len() > most {
            let more = ui::count(errors.len() - most, "more token");
            ui::note("influx-secrets", &format!("warning: and {more}{why}"));
        }
    }
}

/// Runs until it fails, or until SIGTERM or SIGINT: `None`. The work is not asked to stop: at no step does it leave anything
/// that the next run would not put right.
fn until_told(work: impl FnOnce() -> Failure + Send + 'static) -> Result<Option<Failure>, Failure> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let failed = |errno: nix::Error| Failure::Signals(errno.into());
    // Held by the threads too, as they begin with what this one holds.
    signals.thread_block().map_err(failed)?;
    let (ended, end) = mpsc::channel();
    let told = ended.clone();
    thread::spawn(move || ended.send(Ok(Some(work()))));
    thread::spawn(move || told.send(signals.wait().map(|_| None)));
    end.recv().unwrap_or(Ok(None)).map_err(failed)
}
