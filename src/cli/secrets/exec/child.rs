//! A child that gets the signals we get, and the end that it comes to.

use std::{
    env,
    ffi::{CStr, OsStr, OsString},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::{
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp},
    sys::{
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid},
};
use zeroize::Zeroizing;

/// What is passed on.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];
/// The kernel's own, a terminal's that is (sigaction(2), asm-generic/siginfo.h). It goes to the whole foreground group,
/// the child too: passed on it would come twice, and the second SIGINT makes many programs give up what they are doing.
const SI_KERNEL: i32 = 0x80;

/// Signals that wait to be passed on, from when this is made.
pub(super) struct Signals {
    waiting: SignalFd,
    /// What was held before, by whoever started us: the child's affair.
    held_before: SigSet,
}

impl Signals {
    /// They end this process no more: who has something to remove gets to it.
    pub(super) fn hold() -> io::Result<Self> {
        let set: SigSet = PASSED_ON.into_iter().collect();
        let held_before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let waiting = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { waiting, held_before })
    }

    /// The next, and whether it is the kernel's.
    fn next(&self) -> io::Result<Option<(rustix::process::Signal, bool)>> {
        let Some(signal) = self.waiting.read_signal()? else { return Ok(None) };
        let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
        let named = rustix::process::Signal::from_named_raw(number);
        Ok(named.map(|named| (named, signal.ssi_code == SI_KERNEL)))
    }
}

/// What is to be started.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<OsString>,
    /// In place of variables of the same name in ours, which it has otherwise.
    pub(super) environment: Vec<(&'a str, Zeroizing<String>)>,
}

impl Launch<'_> {
    /// Not by std: a child of its would have the signals held that we hold, and copies of its environment stay in memory.
    fn start(self, signals: &Signals) -> io::Result<Child> {
        let program = ended(&[self.program.as_os_str()]);
        let arguments: Vec<_> = self.arguments.iter().map(|argument| ended(&[argument])).collect();
        let is_ours = |name: &OsStr| self.environment.iter().any(|(ours, _)| name == *ours);
        let mut environment: Vec<_> = env::vars_os()
            .filter(|(name, _)| !is_ours(name))
            .map(|(name, value)| ended(&[&name, OsStr::new("="), &value]))
            .collect();
        environment.extend(
            self.environment
                .iter()
                .map(|(name, value)| ended(&[OsStr::new(name), OsStr::new("="), OsStr::new(&**value)])),
        );
        let arguments: Vec<&CStr> =
            std::iter::once(&program).chain(&arguments).map(text).collect::<Result<_, _>>()?;
        let environment: Vec<&CStr> = environment.iter().map(text).collect::<Result<_, _>>()?;

        let mut attributes = PosixSpawnAttr::init()?;
        attributes
            .set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
        attributes.set_sigmask(&signals.held_before)?;
        // Rust ignores it in this process.
        attributes.set_sigdefault(&[Signal::SIGPIPE].into_iter().collect())?;
        let files = PosixSpawnFileActions::init()?;
        let pid = posix_spawnp(text(&program)?, &files, &attributes, &arguments, &environment)?;
        let pid = Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::Other)?;
        Ok(Child { pid, has_ended: false })
    }
}

/// These in a row and a NUL, in memory that is wiped.
fn ended(parts: &[&OsStr]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    bytes.push(0);
    bytes
}

fn text(bytes: &Zeroizing<Vec<u8>>) -> io::Result<&CStr> {
    // Says nothing of where: it may be in a secret.
    CStr::from_bytes_with_nul(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a NUL in its arguments or environment"))
}

/// Never left behind: what it was given is about to be removed.
struct Child {
    pid: Pid,
    has_ended: bool,
}

impl Child {
    fn wait(&mut self) -> io::Result<WaitStatus> {
        loop {
            let waited = waitpid(Some(self.pid), WaitOptions::empty());
            // Where somebody has waited for it already, its number may be another's by now.
            self.has_ended = !matches!(waited, Err(Errno::INTR) | Ok(None));
            match waited {
                Err(Errno::INTR) | Ok(None) => {}
                Err(errno) => return Err(errno.into()),
                Ok(Some((_, status))) => return Ok(status),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ended = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
            let _waited = self.wait();
        }
    }
}

/// Why there is no end to be told.
#[derive(Debug)]
pub(super) enum NotRun {
    NotStarted(io::Error),
    Lost(io::Error),
}

/// Runs it to its end. `before_hangup`: what is to be done before a SIGHUP is passed on.
pub(super) fn run(
    launch: Launch<'_>,
    signals: &Signals,
    mut before_hangup: impl FnMut(),
) -> Result<WaitStatus, NotRun> {
    let mut child = launch.start(signals).map_err(NotRun::NotStarted)?;
    let end = pidfd_open(child.pid, PidfdFlags::empty()).map_err(|errno| NotRun::Lost(errno.into()))?;
    // What came before it was there, a terminal has not sent to it.
    let mut has_it = false;
    loop {
        while let Some((signal, is_of_kernel)) = signals.next().map_err(NotRun::Lost)? {
            if has_it && is_of_kernel {
                continue;
            }
            if signal == rustix::process::Signal::HUP {
                before_hangup();
            }
            // It may have ended.
            let _sent = pidfd_send_signal(&end, signal);
        }
        has_it = true;
        if wait(signals, &end).map_err(NotRun::Lost)? {
            return child.wait().map_err(NotRun::Lost);
        }
    }
}

/// Until there is a signal, or the end: `true`.
fn wait(signals: &Signals, end: &OwnedFd) -> io::Result<bool> {
    let (of_signals, of_end) = (signals.waiting.as_fd(), end.as_fd());
    let mut files = [PollFd::new(&of_signals, PollFlags::IN), PollFd::new(&of_end, PollFlags::IN)];
    match poll(&mut files, None) {
        Ok(_) => Ok(files[0].revents().is_empty() && !files[1].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends this process as the signal would have, so that whoever waits sees what the child came to.
pub fn end_as(signal: i32) {
    let Ok(signal) = Signal::try_from(signal) else { return };
    let set: SigSet = [signal].into_iter().collect();
    // Where it cannot be done, the caller's exit code tells it.
    let _unblocked = set.thread_unblock();
    // Rust's own handler of the first SIGSEGV or SIGBUS makes way for the second.
    for _ in 0..2 {
        let _raised = nix::sys::signal::raise(signal);
    }
}
