//! When to try again, and when to look again. Durations only: the caller has the clock.

use std::time::Duration;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(30);
/// The longest wait while there is no current token.
const CAP_WITHOUT_CURRENT: Duration = Duration::from_secs(300);
/// The longest wait at all.
const CAP: Duration = Duration::from_secs(3600);

/// What is at stake while something is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stake {
    /// Whether everybody concerned has a current token.
    pub(super) has_current: bool,
    /// What remains of the one that expires first, if any does.
    pub(super) remaining: Option<Duration>,
}

impl Stake {
    /// The longest wait, whoever asks for it (rule 10): an eighth of what remains of the current token, within 30 s and an
    /// hour; five minutes where there is none.
    #[must_use]
    pub(super) fn cap(&self) -> Duration {
        match self.remaining {
            _ if !self.has_current => CAP_WITHOUT_CURRENT,
            Some(remaining) => (remaining / 8).clamp(FIRST, CAP),
            None => CAP,
        }
    }
}

/// The wait after `failures` failures in a row (rule 10): 30 s, doubling, ±25 %, up to [`Stake::cap`]. At once as long as it
/// gets where somebody has to do something first (`is_lasting`). `chance` is 0 to 1.
#[must_use]
pub(super) fn backoff(failures: u32, stake: Stake, is_lasting: bool, chance: f64) -> Duration {
    let cap = stake.cap();
    if is_lasting {
        return cap;
    }
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    vary(doubled.min(CAP), 0.25, chance).min(cap)
}

/// The time to the next look at a server, ±20 %. A list over 1 MiB stretches it in proportion, to six hours at
/// most (rule 15).
#[must_use]
pub(super) fn reconcile(interval: Duration, list_bytes: usize, chance: f64) -> Duration {
    const MIB: usize = 1 << 20;
    let stretch = u32::try_from(list_bytes.div_ceil(MIB)).unwrap_or(u32::MAX).max(1);
    let longest = interval.max(Duration::from_secs(6 * 3600));
    vary(interval.saturating_mul(stretch).min(longest), 0.2, chance)
}

fn vary(duration: Duration, share: f64, chance: f64) -> Duration {
    duration.mul_f64(1.0 - share + 2.0 * share * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT_EASE: Stake = Stake { has_current: true, remaining: None };

    proptest! {
        #[test]
        fn a_backoff_keeps_its_bounds(
            failures in 0_u32..200, remaining in proptest::option::of(0_u64..10_000_000), has: bool, lasts: bool,
            chance in 0.0..1.0,
        ) {
            let stake = Stake { has_current: has, remaining: remaining.map(Duration::from_secs) };
            let wait = backoff(failures, stake, lasts, chance);
            prop_assert!(wait >= Duration::from_millis(22_500));
            prop_assert!(wait <= CAP);
            if !has {
                prop_assert!(wait <= CAP_WITHOUT_CURRENT);
            }
        }

        #[test]
        fn a_larger_list_is_asked_for_less_often(bytes in 0_usize..(64 << 20), chance in 0.0..1.0) {
            let quarter = Duration::from_secs(900);
            let wait = reconcile(quarter, bytes, chance);
            prop_assert!(wait >= quarter.mul_f64(0.79));
            prop_assert!(wait <= Duration::from_secs(6 * 3600).mul_f64(1.21));
        }
    }

    #[test]
    fn it_doubles() {
        let waits: Vec<u64> = (1..=5).map(|n| backoff(n, AT_EASE, false, 0.5).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480]);
        assert_eq!(backoff(1, AT_EASE, true, 0.5), CAP, "trying again soon is no use");
    }
}
