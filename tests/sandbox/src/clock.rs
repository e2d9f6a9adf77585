//! The server's time: tokio's clock, which tests may pause, from a wall-clock moment on.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { base: Timestamp::now(), start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        self.base.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn shift(&mut self, by: SignedDuration) {
        self.base = self.base.saturating_add(by).unwrap_or(Timestamp::MAX);
    }
}
