//! Which version a unit's Telegraf is.

use std::{path::Path, time::Duration};

use rustix::process::geteuid;
use tokio::process::Command;

use super::Version;
use crate::program::{self, Limits};

/// `telegraf --version` has this long.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 64 << 10 };
/// Nobody (systemd's own number for it).
const NOBODY: u32 = 65_534;

impl Version {
    /// Asks a program that is called like Telegraf. Not as root: it is the unit's program, not ours.
    pub async fn of(program: &Path) -> Option<Self> {
        let mut command = Command::new(program);
        command.arg("--version").env_clear().current_dir("/");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let said = program::run(&mut command, LIMITS).await.ok()?;
        Self::parse(&said.text()).filter(|_| said.status.success())
    }
}
