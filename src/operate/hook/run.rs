//! What a hook's service does: brings what is delivered to the unit, and acknowledges it.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::HookError;
use crate::{
    deliver::Hooks,
    model::Unit,
    operate::status::HookStatus,
    systemctl::{self, Brought},
};

/// Several tokens that have new values at once are one reload: it begins when nothing has changed for so long, but is not
/// put off for longer than that.
const QUIET: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Until nothing is new: what becomes new during a reload, that reload may have missed. `tell` hears what was done.
///
/// # Errors
/// The unit was not told, or it cannot be noted that it was: it is not acknowledged, and is tried again.
pub async fn run(hooks: &Hooks, unit: &Unit, mut tell: impl FnMut(String)) -> Result<(), HookError> {
    let file = hooks.generations_file();
    loop {
        // Each time: it may have been changed, or removed.
        let Some(hook) = hooks.of(unit)? else {
            tell(format!("{unit} has no hook any more: nothing to do"));
            return Ok(());
        };
        let delivered = || hooks.delivered().map_err(HookError::io("read", &file));
        if hook.behind(&delivered()?, &hooks.acknowledged(unit)).is_empty() {
            return Ok(());
        }
        settle(&file).await;
        // From here on only what was read before the unit is told can be acknowledged.
        let delivered = delivered()?;
        let behind = hook.behind(&delivered, &hooks.acknowledged(unit));
        let brought = systemctl::bring(unit, hook.action).await.map_err(HookError::of(unit))?;
        hooks
            .acknowledge(unit, &hook.concerned(&delivered))
            .map_err(HookError::io("note what is acknowledged in", hooks.acknowledged_file(unit)))?;
        if !hook.behind(&delivered, &hooks.acknowledged(unit)).is_empty() {
            // It would be reloaded again and again.
            let error = io::Error::other("it does not say what was written to it");
            return Err(HookError::io("read again", hooks.acknowledged_file(unit))(error));
        }
        let how = match brought {
            Brought::Reloaded => "was reloaded",
            Brought::Restarted => "was restarted",
            Brought::DoesNotRun => "does not run, and will read it when it does",
            Brought::Started => "was started meanwhile",
        };
        tell(format!("{unit} {how}: {}", HookStatus::in_words(&behind)));
    }
}

async fn settle(file: &Path) {
    let stamp = || fs::metadata(file).map(|file| (file.ino(), file.mtime(), file.mtime_nsec())).ok();
    let begun = Instant::now();
    let mut before = stamp();
    loop {
        sleep(QUIET.0).await;
        let now = stamp();
        if now == before || begun.elapsed() >= QUIET.1 {
            return;
        }
        before = now;
    }
}
