//! Another program's output, where it comes soon.

use std::{
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// What is said on stdout has at most so many bytes.
const MAX: u64 = 64 << 10;

/// Runs a program that has no input and soon comes to its end. Whatever it has started ends with it.
///
/// # Errors
/// It cannot be started, takes longer than `patience`, or says more than it should.
pub(super) fn run(command: &mut Command, patience: Duration) -> io::Result<(ExitStatus, String)> {
    let deadline = Instant::now() + patience;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut running = Running(command.spawn()?);
    let child = &mut running.0;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut buffer = [0; 4096];
        loop {
            wait_for(stdout.as_fd(), deadline)?;
            match stdout.read(&mut buffer)? {
                0 => break,
                count => said.extend_from_slice(&buffer[..count]),
            }
            if said.len() as u64 > MAX {
                return Err(io::Error::other(format!("it says more than {} KiB", MAX >> 10)));
            }
        }
    }
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    wait_for(pidfd_open(pid, PidfdFlags::empty())?.as_fd(), deadline)?;
    Ok((child.wait()?, String::from_utf8_lossy(&said).into_owned()))
}

/// A process that is ended, with those that it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0.id().cast_signed()) {
            // Nobody left in it is the usual case.
            let _gone = kill_process_group(group, Signal::KILL);
        }
        let _waited = self.0.wait();
    }
}

/// Until there is something to read, or the end of it.
pub(super) fn wait_for(file: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> io::Result<(ExitStatus, String)> {
        run(Command::new("/bin/sh").args(["-c", script]), patience)
    }

    #[test]
    fn what_is_said_soon_is_heard_and_nothing_else_is_waited_for() {
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(300));
        let (status, said) = sh("echo said; echo not heard >&2; exit 3", long).expect("it ends");
        assert_eq!((status.code(), said.as_str()), (Some(3), "said\n"));
        // The second leaves one behind that holds on to its output, the third has closed its own.
        for hangs in ["sleep 1000", "sleep 1000 & exit 0", "exec >&-; sleep 1000"] {
            assert_eq!(sh(hangs, short).expect_err(hangs).kind(), io::ErrorKind::TimedOut);
        }
        assert!(sh("cat /dev/zero", long).is_err());
        assert!(run(&mut Command::new("/nonexistent"), long).is_err());
    }
}
