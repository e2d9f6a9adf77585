//! How many requests a server gets, besides mints and probes: whatever state plan and server are in, no more than
//! [`PER_HOUR`] in any hour and what a person's wishes and work that gets done explain (rule 15).

use std::time::Duration;

/// So many requests in an hour need no reason.
#[cfg(test)]
pub(super) const PER_HOUR: usize = 60;

/// So many at once, after a rest.
const CAPACITY: f64 = 16.0;
/// In this time one more is allowed.
const REFILL: Duration = Duration::from_secs(120);
/// What a pass sends: for tokens and for databases.
const PASS: f64 = 2.0;
/// A pass waits no longer than this: without a current token it is tried again within five minutes (rule 10).
const LONGEST: Duration = Duration::from_secs(300);
/// What is sealed, promoted or revoked explains so many more: a look, and what follows.
const EXPLAINED: f64 = 4.0;

/// What is left of it. Times are on the boot-time clock.
#[derive(Debug)]
pub(super) struct Allowance {
    level: f64,
    at: Duration,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { level: CAPACITY, at: Duration::ZERO }
    }
}

impl Allowance {
    /// A request is sent.
    pub(super) fn spend(&mut self, now: Duration) {
        self.refill(now);
        // What is owed is not more than what the longest wait makes up for, or it would never be.
        self.level = (self.level - 1.0).max(-CAPACITY);
    }

    /// Something was done that explains requests.
    pub(super) fn explain(&mut self, now: Duration) {
        self.refill(now);
        self.level = (self.level + EXPLAINED).min(CAPACITY);
    }

    /// A person wants something, who does not wait for what was spent before.
    pub(super) fn ask(&mut self, now: Duration) {
        self.refill(now);
        self.level = self.level.max(EXPLAINED);
    }

    /// How long the next pass waits.
    pub(super) fn wait(&mut self, now: Duration) -> Duration {
        self.refill(now);
        REFILL.mul_f64((PASS - self.level).max(0.0)).min(LONGEST)
    }

    fn refill(&mut self, now: Duration) {
        let refilled = now.saturating_sub(self.at).as_secs_f64() / REFILL.as_secs_f64();
        self.level = (self.level + refilled).min(CAPACITY);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    proptest! {
        /// Passes as soon as they may be, each with one to four requests.
        #[test]
        fn no_hour_has_more_than_the_bound(costs in prop::collection::vec(1_usize..=4, 1..200), start in 0_u64..9999) {
            let mut allowance = Allowance::default();
            let mut now = Duration::from_secs(start);
            let mut sent: Vec<Duration> = Vec::new();
            for cost in costs {
                now += allowance.wait(now);
                for _ in 0..cost {
                    allowance.spend(now);
                    sent.push(now);
                }
                let in_this_hour = sent.iter().filter(|at| **at + HOUR > now).count();
                prop_assert!(in_this_hour <= PER_HOUR + 4, "{in_this_hour}");
            }
        }
    }

    #[test]
    fn work_that_gets_done_waits_for_nothing() {
        let mut allowance = Allowance::default();
        let now = Duration::from_secs(9);
        for _ in 0..1000 {
            assert_eq!(allowance.wait(now), Duration::ZERO);
            (0..3).for_each(|_| allowance.spend(now));
            allowance.explain(now);
        }
    }

    #[test]
    fn a_person_waits_for_nothing_either() {
        let mut allowance = Allowance::default();
        let now = Duration::from_secs(9);
        (0..100).for_each(|_| allowance.spend(now));
        assert!(!allowance.wait(now).is_zero());
        allowance.ask(now);
        assert_eq!(allowance.wait(now), Duration::ZERO);
    }

    #[test]
    fn without_a_reason_passes_come_minutes_apart_and_never_more_than_five() {
        let mut allowance = Allowance::default();
        let now = Duration::from_secs(9);
        let waits: Vec<u64> = (0..30)
            .map(|_| {
                (0..2).for_each(|_| allowance.spend(now));
                allowance.wait(now).as_secs()
            })
            .collect();
        assert_eq!(waits[..7], [0; 7]);
        assert_eq!(waits[7..10], [240, 300, 300]);
    }
}
