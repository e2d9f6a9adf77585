//! Time, passed in so that tests can move it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    model::{BootTime, Moment, Time},
    sys,
};

/// The clocks of this machine.
pub trait Clock: Send + Sync {
    /// The wall clock: what people and servers call now.
    fn now(&self) -> Time;

    /// Since boot, time asleep included; never set by anybody.
    fn since_boot(&self) -> Duration;

    /// Since boot without time asleep, and which boot it is; `None` where the kernel does not tell. Consumers sleep when
    /// this host does: what they are given time for does not pass meanwhile.
    fn boot_time(&self) -> Option<BootTime>;

    /// Both.
    fn moment(&self) -> Moment {
        Moment { at: self.now(), boot: self.boot_time() }
    }

    /// Whether the kernel says that the wall clock is synchronised.
    fn is_synchronised(&self) -> bool;

    /// Waits, on the boot-time clock as far as the system allows.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::now()
    }

    fn since_boot(&self) -> Duration {
        told_by(ClockId::Boottime)
    }

    fn boot_time(&self) -> Option<BootTime> {
        static BOOT: OnceLock<Option<Arc<str>>> = OnceLock::new();
        let boot = BOOT.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            Some(id.trim().into()).filter(|id: &Arc<str>| !id.is_empty())
        });
        let millis = u64::try_from(told_by(ClockId::Monotonic).as_millis()).ok()?;
        Some(BootTime { boot: boot.clone()?, millis })
    }

    fn is_synchronised(&self) -> bool {
        sys::clock_is_synchronised()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// By one of the clocks that are never negative.
fn told_by(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
