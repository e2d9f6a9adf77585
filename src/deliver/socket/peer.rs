//! Who is at the other end of a Unix socket, as the kernel says it.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    sync::Once,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, geteuid, pidfd_open},
};
use tokio::net::UnixStream;

use crate::sys;

/// What an older kernel means is told once.
static TOLD: Once = Once::new();

/// The longest file of `/proc` that is read.
const MAX_PROC: u64 = 64 << 10;

/// The process that connected, as it was then.
#[derive(Debug)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// Its number, where our process can see it.
    pub pid: Option<u32>,
    /// The systemd unit that it runs in.
    pub unit: Option<String>,
    /// When it began, in the kernel's ticks since boot, where the kernel does not tell the process for certain: with `pid`
    /// it names it for good.
    pub started: Option<u64>,
    /// Tells that it still lives, and names it for good.
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Reads all that is to know about the peer of a connection that was just accepted.
    ///
    /// # Errors
    /// It has ended already, or the kernel does not tell.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let uid = credentials.uid();
        let mut peer = Self {
            uid,
            gid: credentials.gid(),
            groups: sys::peer_groups(stream.as_fd())?,
            pid: None,
            unit: None,
            started: None,
            pidfd: None,
        };
        // None where the peer's process is in another pid namespace than ours, and not below it.
        let Some(pid) = credentials.pid().and_then(Pid::from_raw) else { return Ok(peer) };
        let (pidfd, is_exact) = pidfd(stream, pid)?;
        let proc = Proc(pid);
        let unit = proc.unit();
        if !is_exact {
            peer.started = proc.started();
        }
        let is_its = is_exact || proc.uid() == Some(uid);
        if has_ended(&pidfd) {
            // What was read may be another process's, which has the number now.
            return Err(io::Error::from(Errno::SRCH));
        }
        peer.pid = u32::try_from(pid.as_raw_nonzero().get()).ok();
        peer.pidfd = Some(pidfd);
        peer.unit = unit.filter(|_| is_its);
        Ok(peer)
    }

    /// A peer that is whoever a test says.
    #[cfg(test)]
    pub(in crate::deliver) fn for_tests(uid: u32, groups: &[u32], unit: Option<&str>) -> Self {
        let unit = unit.map(str::to_owned);
        // Nobody's group.
        let gid = 79_999;
        Self { uid, gid, groups: groups.to_vec(), pid: None, unit, started: None, pidfd: None }
    }

    /// The same in a process with this number, which lives until what comes with it is dropped.
    #[cfg(test)]
    pub(in crate::deliver) fn living_for_tests(uid: u32, unit: Option<&str>, pid: u32) -> (Self, Lives) {
        let (here, there) = io::pipe().expect("a pipe");
        let peer = Self { pid: Some(pid), pidfd: Some(here.into()), ..Self::for_tests(uid, &[], unit) };
        (peer, Lives(there))
    }

    /// Whether the process that connected is still there; somebody else may hold its connection by now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.pidfd.as_ref().is_none_or(|pidfd| !has_ended(pidfd))
    }

    /// Waits until it is not; for ever, where that cannot be told.
    pub async fn ended(&self) {
        let pidfd = self.pidfd.as_ref().and_then(|pidfd| pidfd.try_clone().ok());
        match pidfd.and_then(|pidfd| sys::to_be_read(pidfd).ok()) {
            Some(pidfd) => _ = pidfd.readable().await,
            None => std::future::pending().await,
        }
    }

    /// Root, or whoever the daemon runs as: each could read the store.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// A process of a test's, until it is dropped.
#[cfg(test)]
pub(in crate::deliver) struct Lives(io::PipeWriter);

#[cfg(test)]
impl Drop for Lives {
    fn drop(&mut self) {
        // Its being closed would be too late: a child that another test is just starting has a copy until it is another
        // program.
        let _nobody_looks = io::Write::write_all(&mut self.0, b".");
    }
}

/// A pidfd of the peer, and whether it is surely the peer's: before Linux 6.5 its number may have been given to another
/// process between its connecting and now.
fn pidfd(stream: &UnixStream, pid: Pid) -> io::Result<(OwnedFd, bool)> {
    match sys::peer_pidfd(stream.as_fd()) {
        Ok(pidfd) => Ok((pidfd, true)),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOPROTOOPT) => {
            TOLD.call_once(|| {
                tracing::info!("the kernel is older than 6.5: clients are told apart by their numbers")
            });
            Ok((pidfd_open(pid, PidfdFlags::empty())?, false))
        }
        Err(error) => Err(error),
    }
}

/// A pidfd becomes readable when its process ends.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// What `/proc` says of a process; nothing where it is hidden (`hidepid=`, `ProtectProc=`).
struct Proc(Pid);

impl Proc {
    fn read(&self, file: &str) -> Option<String> {
        let path = format!("/proc/{}/{file}", self.0.as_raw_nonzero());
        // Large enough for what there usually is: each read has its price, and every connection pays it.
        let mut text = Vec::with_capacity(4096);
        File::open(path).ok()?.take(MAX_PROC).read_to_end(&mut text).ok()?;
        String::from_utf8(text).ok()
    }

    fn uid(&self) -> Option<u32> {
        effective_uid(&self.read("status")?)
    }

    fn unit(&self) -> Option<String> {
        unit_of(&self.read("cgroup")?)
    }

    fn started(&self) -> Option<u64> {
        start_time(&self.read("stat")?)
    }
}

/// `Uid:` has the real, effective, saved and file system one (proc_pid_status(5)).
fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Field 22 of proc_pid_stat(5); the second may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The unit of a process by its cgroup: the first component of the path that is no slice. What a user's own manager
/// starts is below that user's `user@UID.service`, whatever it is called.
fn unit_of(cgroup: &str) -> Option<String> {
    let path_of = |wanted: &str| {
        cgroup.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            (controllers == wanted).then_some(path)
        })
    };
    // systemd's own hierarchy where there are several (cgroup v1) and it is used, else the only one.
    let path = path_of("name=systemd").filter(|path| *path != "/").or_else(|| path_of(""))?;
    // Outside our cgroup namespace, or a unit that is gone.
    if path.split('/').any(|part| part == "..") || path.ends_with(" (deleted)") {
        return None;
    }
    let unit = path.split('/').find(|part| !part.is_empty() && !part.ends_with(".slice"))?;
    // systemd puts an underscore before what would be mistaken for a file of the kernel's (`_cpu.service`).
    Some(unit.strip_prefix('_').unwrap_or(unit).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_unit_is_the_first_part_that_is_no_slice() {
        for (cgroup, unit) in [
            ("0::/system.slice/telegraf.service\n", Some("telegraf.service")),
            ("0::/system.slice/telegraf.service/inner\n", Some("telegraf.service")),
            ("0::/system.slice/system-tmpl.slice/tmpl@x.service\n", Some("tmpl@x.service")),
            ("0::/system.slice/_cpu.service\n", Some("cpu.service")),
            ("0::/init.scope\n", Some("init.scope")),
            ("0::/user.slice/user-1000.slice/session-2.scope\n", Some("session-2.scope")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/telegraf.service\n",
                Some("user@1000.service"),
            ),
            (
                "4:memory:/x.service\n1:name=systemd:/system.slice/a.service\n0::/b.service\n",
                Some("a.service"),
            ),
            ("4:memory:/x.service\n0::/system.slice/b.service\n", Some("b.service")),
            ("9:name=systemd:/\n0::/system.slice/b.service\n", Some("b.service")),
            ("0::/\n", None),
            ("0::/../../system.slice/telegraf.service\n", None),
            ("0::/system.slice/telegraf.service (deleted)\n", None),
            ("4:memory:/telegraf.service\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(cgroup).as_deref(), unit, "{cgroup:?}");
        }
    }

    #[test]
    fn a_programs_name_cannot_pass_for_other_fields() {
        let rest: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) 1 2 3) S {}", rest[1..].join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(effective_uid("Name:\tUid:\nUid:\t1\t2\t3\t4\n"), Some(2));
    }

    proptest! {
        #[test]
        fn nothing_in_proc_is_a_panic(text in "\\PC{0,200}") {
            let _parsed = (unit_of(&text), start_time(&text), effective_uid(&text));
        }
    }

    #[tokio::test]
    async fn a_peer_is_read_whole_and_seen_to_end() {
        const SOCKET: &str = "INFLUX_TOKEND_TEST_SOCKET";
        if let Some(path) = std::env::var_os(SOCKET) {
            // The other process: connected until its stdin ends.
            let _connection = std::os::unix::net::UnixStream::connect(path).expect("connected");
            io::stdin().read_to_end(&mut vec![]).expect("the end");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = tokio::net::UnixListener::bind(&path).expect("bound");
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "deliver::socket::peer::tests::a_peer_is_read_whole_and_seen_to_end"])
            .env(SOCKET, &path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        let (stream, _) = listener.accept().await.expect("accepted");
        let peer = Peer::of(&stream).expect("a peer");
        assert_eq!(peer.pid, Some(child.id()));
        assert_eq!(peer.uid, geteuid().as_raw());
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a number");
        assert!(Proc(pid).started().is_some_and(|ticks| ticks > 0));
        assert_eq!(Proc(pid).uid(), Some(peer.uid));
        assert!(peer.is_alive() && peer.is_master());
        drop(child.stdin.take());
        peer.ended().await;
        assert!(child.wait().expect("ended").success());
        assert!(!peer.is_alive());
        assert!(Peer::of(&stream).is_err(), "whoever has its number now is not it");
    }
}
