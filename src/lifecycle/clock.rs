//! Time, passed in so that tests can move it.

use std::{future::Future, sync::OnceLock, time::Duration};

use crate::{
    model::{BootTime, Time},
    sys,
};

/// The clocks of this machine.
pub trait Clock: Send + Sync {
    /// The wall clock: what people and servers call now.
    fn now(&self) -> Time;

    /// Since boot, time asleep included; never set by anybody.
    fn since_boot(&self) -> Duration;

    /// The same, and which boot it is; `None` where the kernel does not tell.
    fn boot_time(&self) -> Option<BootTime>;

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
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both are never negative on this clock.
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    fn boot_time(&self) -> Option<BootTime> {
        static BOOT: OnceLock<Option<String>> = OnceLock::new();
        let boot = BOOT.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            Some(id.trim().to_owned()).filter(|id| !id.is_empty())
        });
        let millis = u64::try_from(self.since_boot().as_millis()).ok()?;
        Some(BootTime { boot: boot.clone()?, millis })
    }

    fn is_synchronised(&self) -> bool {
        sys::clock_is_synchronised()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
