//! What systemd is told, where it listens (sd_notify(3)).

use std::{
    env,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{fd::BorrowedFd, unix::net::UnixDatagram},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

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

    /// Keep this connection under this name, and pass it to the next process where this one is killed.
    pub fn keep(self, name: &str, connection: BorrowedFd<'_>) {
        if let Err(error) = tell_with(&format!("FDSTORE=1\nFDNAME={name}\n"), connection) {
            tracing::warn!("the supervisor cannot keep a connection: {error}");
        }
    }

    /// What is kept under this name is not needed any more.
    pub fn release(self, name: &str) {
        tell(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&format!("FDNAME={name}"))]);
    }

    /// The watchdog may wait again.
    pub fn alive(self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// Ticks at half the watchdog's time, as sd_watchdog_enabled(3) advises; never where there is none, or where it is
    /// another process that is watched. Whoever calls [`Self::alive`] at each tick does so from the loop that must
    /// not hang.
    #[must_use]
    pub fn watchdog(self) -> Watchdog {
        let ticks = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| {
            let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Watchdog(ticks)
    }
}

/// See [`Supervisor::watchdog`].
#[derive(Debug)]
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        match &mut self.0 {
            Some(ticks) => _ = ticks.tick().await,
            None => std::future::pending().await,
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a supervisor this does nothing; one that does not listen is its own affair.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify the supervisor: {error}");
    }
}

/// The same with a file descriptor, which the crate does with another crate.
fn tell_with(text: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read as _,
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
        process::Command,
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// Runs a test of this module once more, as a service would run.
    fn as_service(test: &str, variables: &[(&str, &str)]) {
        let output = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", &format!("supervisor::tests::{test}")])
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
        as_service("systemd_hears_what_it_should", &[("NOTIFY_SOCKET", path.to_str().expect("text"))]);
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

    /// A message, and the file descriptor that came with it.
    fn receive(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
        let (mut buffer, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut buffer)];
        let length = recvmsg(socket, &mut into, &mut control, RecvFlags::DONTWAIT).expect("a message").bytes;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let fd = fds.last();
        (String::from_utf8(buffer[..length].to_vec()).expect("text"), fd)
    }

    #[test]
    fn a_connection_that_systemd_keeps_outlives_this_process() {
        if env::var_os("NOTIFY_SOCKET").is_some() {
            let (here, mut there) = UnixStream::pair().expect("a pair");
            Supervisor.keep("credential-1f", here.as_fd());
            io::Write::write_all(&mut there, b"still there").expect("written");
            return Supervisor.release("credential-1f");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        as_service(
            "a_connection_that_systemd_keeps_outlives_this_process",
            &[("NOTIFY_SOCKET", path.to_str().expect("text"))],
        );
        let (text, fd) = receive(&socket);
        assert_eq!(text, "FDSTORE=1\nFDNAME=credential-1f\n");
        let mut said = String::new();
        File::from(fd.expect("a connection")).read_to_string(&mut said).expect("read");
        assert_eq!(said, "still there");
        let (text, fd) = receive(&socket);
        assert_eq!((text.as_str(), fd.is_none()), ("FDSTOREREMOVE=1\nFDNAME=credential-1f\n", true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_ticks_at_half_its_time() {
        const LIMIT: &str = "WATCHDOG_USEC";
        let mut watchdog = Supervisor.watchdog();
        match env::var(LIMIT).ok().as_deref() {
            None => {
                as_service("the_watchdog_ticks_at_half_its_time", &[(LIMIT, "30000000")]);
                as_service("the_watchdog_ticks_at_half_its_time", &[(LIMIT, "0")]);
                as_service("the_watchdog_ticks_at_half_its_time", &[(LIMIT, "1"), ("WATCHDOG_PID", "1")]);
            }
            Some("30000000") => {
                watchdog.tick().await;
                let begun = tokio::time::Instant::now();
                watchdog.tick().await;
                return assert_eq!(begun.elapsed(), Duration::from_secs(15));
            }
            Some(_) => {}
        }
        let tick = tokio::time::timeout(Duration::from_secs(3600), watchdog.tick());
        assert!(tick.await.is_err(), "nobody watches");
    }
}
