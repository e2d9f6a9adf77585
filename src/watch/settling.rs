//! When a file that changes is complete. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// A file unchanged for this long is complete.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// What was seen of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Written to by somebody who has it open still: more may come.
    Written,
    /// Closed after writing, or put in its place as a whole.
    Complete,
}

/// From the first touch to the moment when the file can be read. `S` tells one state of the file from another.
#[derive(Debug, Default)]
pub(super) enum Settling<S> {
    /// Nothing has happened.
    #[default]
    Idle,
    /// Waits to be closed, however long that takes.
    Open,
    /// Waits to have been left alone for [`QUIET`].
    Quiet { since: Instant, as_of: S },
}

impl<S: PartialEq> Settling<S> {
    pub(super) fn note(&mut self, touch: Touch, as_of: S, now: Instant) {
        *self = match touch {
            Touch::Written => Self::Open,
            Touch::Complete => Self::Quiet { since: now, as_of },
        };
    }

    /// When to call [`Self::settle`] next.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Idle | Self::Open => None,
            Self::Quiet { since, .. } => Some(*since + QUIET),
        }
    }

    /// Whether the file has settled: true once per change. What changed without being noted starts the wait again.
    pub(super) fn settle(&mut self, is: S, now: Instant) -> bool {
        match self {
            Self::Quiet { since, .. } if now < *since + QUIET => false,
            Self::Quiet { as_of, .. } if *as_of != is => {
                *self = Self::Quiet { since: now, as_of: is };
                false
            }
            Self::Quiet { .. } => {
                *self = Self::Idle;
                true
            }
            Self::Idle | Self::Open => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(touches: &[(Touch, u32)], start: Instant) -> Settling<u8> {
        let mut settling = Settling::default();
        for (touch, at) in touches {
            settling.note(*touch, 0, start + MS * *at);
        }
        settling
    }

    #[test]
    fn a_closed_file_settles_once_after_the_quiet_time() {
        let start = Instant::now();
        let mut settling = after(&[(Touch::Written, 0), (Touch::Complete, 10)], start);
        assert_eq!(settling.due(), Some(start + MS * 310));
        assert!(!settling.settle(0, start + MS * 309));
        assert!(settling.settle(0, start + MS * 310));
        assert!(!settling.settle(0, start + MS * 311));
        assert_eq!(settling.due(), None);
    }

    #[test]
    fn an_open_file_never_settles() {
        let start = Instant::now();
        let mut settling = after(&[(Touch::Complete, 0), (Touch::Written, 200)], start);
        assert_eq!(settling.due(), None);
        assert!(!settling.settle(0, start + MS * 3_600_000));
        settling.note(Touch::Complete, 0, start + MS * 3_600_000);
        assert!(settling.settle(0, start + MS * 3_600_300));
    }

    #[test]
    fn each_touch_starts_the_quiet_time_again() {
        let start = Instant::now();
        let mut settling = after(&[(Touch::Complete, 0), (Touch::Complete, 299)], start);
        assert!(!settling.settle(0, start + MS * 598));
        assert!(settling.settle(0, start + MS * 599));
    }

    #[test]
    fn so_does_a_change_that_nobody_told() {
        let start = Instant::now();
        let mut settling = after(&[(Touch::Complete, 0)], start);
        assert!(!settling.settle(1, start + MS * 300));
        assert!(!settling.settle(1, start + MS * 599));
        assert!(settling.settle(1, start + MS * 600));
    }

    #[test]
    fn nothing_settles_where_nothing_happened() {
        assert!(!Settling::default().settle(0, Instant::now()));
    }
}
