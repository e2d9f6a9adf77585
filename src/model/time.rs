//! Moments of the wall clock, and the distances between them.

use std::time::Duration;

/// A moment in UTC. Sealed ones are the server's, where it tells its date.
pub use jiff::Timestamp as Time;

/// `at + duration`, or the last moment that can be written.
#[must_use]
pub fn after(at: Time, duration: Duration) -> Time {
    at.saturating_add(signed(duration)).unwrap_or(Time::MAX)
}

/// `at - duration`, or the first moment that can be written.
#[must_use]
pub fn before(at: Time, duration: Duration) -> Time {
    at.saturating_sub(signed(duration)).unwrap_or(Time::MIN)
}

/// How long ago `at` was; zero if it is yet to come.
#[must_use]
pub fn since(at: Time, now: Time) -> Duration {
    now.duration_since(at).try_into().unwrap_or_default()
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX)
}
