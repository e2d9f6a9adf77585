//! That the daemon does not hang (sd_watchdog_enabled(3)).

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Supervisor;

impl Supervisor {
    /// Ticks at half the watchdog's time, as sd_watchdog_enabled(3) advises; never where there is none, or where it is
    /// another process that is watched. Whoever calls [`Self::alive`] at each tick does so from the loop that must
    /// not hang.
    #[must_use]
    pub fn watchdog(self) -> Watchdog {
        let ticks = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| {
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

#[cfg(test)]
mod tests {
    use std::env;

    use super::{super::tests::as_service, *};

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_ticks_at_half_its_time() {
        const LIMIT: &str = "WATCHDOG_USEC";
        let mut watchdog = Supervisor.watchdog();
        match env::var(LIMIT).ok().as_deref() {
            None => {
                as_service("watchdog::tests::the_watchdog_ticks_at_half_its_time", &[(LIMIT, "30000000")]);
                as_service("watchdog::tests::the_watchdog_ticks_at_half_its_time", &[(LIMIT, "0")]);
                as_service(
                    "watchdog::tests::the_watchdog_ticks_at_half_its_time",
                    &[(LIMIT, "1"), ("WATCHDOG_PID", "1")],
                );
            }
            Some("30000000") => {
                watchdog.tick().await;
                let begun = tokio::time::Instant::now();
                watchdog.tick().await;
                return assert_eq!(begun.elapsed(), Duration::from_secs(15));
            }
            Some(_) => {}
        }
        let tick = tokio::time::timeout(Duration::from_secs(3600), watchdog.tick());
        assert!(tick.await.is_err(), "nobody watches");
    }
}
