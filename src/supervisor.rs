//! What systemd is told, where it listens (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// STATUS is one line of this many characters at most.
const MAX_STATUS: usize = 200;

/// systemd, or nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supervisor;

impl Supervisor {
    /// The daemon does its work.
    pub fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// One line about how things stand.
    pub fn status(self, text: &str) {
        let line: String = text.chars().filter(|c| !c.is_control()).take(MAX_STATUS).collect();
        tell(&[NotifyState::Status(&line)]);
    }

    /// The list is being read again; [`Self::ready`] ends it.
    pub fn reloading(self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon ends.
    pub fn stopping(self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The watchdog may wait again.
    pub fn alive(self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// Ticks at half the watchdog's time; never where there is none.
    #[must_use]
    pub fn watchdog(self) -> Watchdog {
        let ticks = sd_notify::watchdog_enabled().map(|limit| {
            let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Watchdog(ticks)
    }
}

/// See [`Supervisor::watchdog`].
#[derive(Debug)]
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        match &mut self.0 {
            Some(ticks) => _ = ticks.tick().await,
            None => std::future::pending().await,
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a supervisor this does nothing; one that does not listen is its own affair.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify the supervisor: {error}");
    }
}
