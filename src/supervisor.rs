//! What systemd is told, where it listens (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

#[cfg(feature = "daemon")]
mod keep;
#[cfg(feature = "daemon")]
mod watchdog;

#[cfg(feature = "daemon")]
pub use watchdog::Watchdog;

/// STATUS is one line of this many characters at most.
const MAX_STATUS: usize = 200;

/// systemd, or nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Supervisor;

impl Supervisor {
    /// The daemon does its work.
    pub fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// One line about how things stand: control characters are taken out, for a line break would begin another
    /// message.
    pub fn status(self, text: &str) {
        let line: String = text.chars().filter(|c| !c.is_control()).take(MAX_STATUS).collect();
        tell(&[NotifyState::Status(&line)]);
    }

    /// The list is being read again; [`Self::ready`] ends it.
    pub fn reloading(self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// The daemon ends.
    pub fn stopping(self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Starting or stopping goes on for at least so long from now, beyond the unit's timeout.
    pub fn extend_timeout(self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// The watchdog may wait again.
    pub fn alive(self) {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a supervisor this does nothing; one that does not listen is its own affair.
    let told = sd_notify::notify(state);
    #[cfg(feature = "daemon")]
    if let Err(error) = &told {
        tracing::debug!("cannot notify the supervisor: {error}");
    }
    drop(told);
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::net::UnixDatagram, process::Command};

    use super::*;

    /// Runs a test of this module, or one below it, once more, as a service would run.
    pub(super) fn as_service(test: &str, variables: &[(&str, &str)]) {
        let output = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", &format!("supervisor::{test}")])
            .env_remove("WATCHDOG_PID")
            .envs(variables.iter().copied())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[test]
    fn systemd_hears_what_it_should() {
        if env::var_os("NOTIFY_SOCKET").is_some() {
            Supervisor.ready();
            Supervisor.status("one\nREADY=0\r\u{1b}[31m two");
            Supervisor.status(&"ä".repeat(MAX_STATUS + 1));
            Supervisor.extend_timeout(Duration::from_secs(3));
            Supervisor.alive();
            Supervisor.reloading();
            return Supervisor.stopping();
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        as_service("tests::systemd_hears_what_it_should", &[("NOTIFY_SOCKET", path.to_str().expect("text"))]);
        socket.set_nonblocking(true).expect("all has been sent");
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..length].to_vec()).expect("text"));
        }
        assert_eq!(heard[0], "READY=1\n");
        assert_eq!(heard[1], "STATUS=oneREADY=0[31m two\n");
        assert_eq!(heard[2], format!("STATUS={}\n", "ä".repeat(MAX_STATUS)));
        assert_eq!(heard[3], "EXTEND_TIMEOUT_USEC=3000000\n");
        assert_eq!(heard[4], "WATCHDOG=1\n");
        let since = heard[5].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("since when");
        assert!(since.trim_end().parse::<u64>().is_ok(), "{since}");
        assert_eq!(heard[6..], ["STOPPING=1\n"]);
    }
}
