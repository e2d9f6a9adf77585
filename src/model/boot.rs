//! Moments on the clock that counts since boot and that nobody sets.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::Time;

/// A moment of one boot. Sealed beside a moment on the wall clock, so that a clock which jumps revokes nothing (rule 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// Which boot: the kernel's `/proc/sys/kernel/random/boot_id`.
    pub boot: Arc<str>,
    /// Milliseconds since then, without time asleep (`CLOCK_MONOTONIC`).
    pub millis: u64,
}

impl BootTime {
    /// So much later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self { millis: self.millis.saturating_add(by), ..self }
    }

    /// How much later `now` is; `None` where it is of another boot: that cannot be told then.
    #[must_use]
    pub fn passed(&self, now: &Self) -> Option<Duration> {
        (self.boot == now.boot).then(|| Duration::from_millis(now.millis.saturating_sub(self.millis)))
    }
}

/// A moment on both clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The server's, where it tells its date.
    pub at: Time,
    /// Since boot, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_known_within_one_boot_alone() {
        let at = |boot: &str, millis| BootTime { boot: boot.into(), millis };
        assert_eq!(at("a", 5).passed(&at("a", 9)), Some(Duration::from_millis(4)));
        assert_eq!(at("a", 5).passed(&at("b", 9)), None);
    }
}
