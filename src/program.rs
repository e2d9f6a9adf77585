//! Running another program: without a shell, with a time limit, its output bounded, and ended with its children.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};
use zeroize::Zeroizing;

/// What is kept of what a program complains about, in bytes.
pub(crate) const MAX_STDERR: u64 = 64 << 10;
/// A first buffer of output, in bytes.
const BUFFER: usize = 16 << 10;
/// What has ended is read to its end within this.
const REST: Duration = Duration::from_secs(1);

/// How long a program may take, and how much it may say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    /// Of its output.
    pub(crate) bytes: usize,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    /// It may be a secret.
    pub(crate) stdout: Zeroizing<Vec<u8>>,
    /// It may repeat one.
    pub(crate) stderr: Zeroizing<String>,
}

impl Said {
    /// Of a program that prints no secrets.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a program did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    /// Nothing has run.
    #[error("cannot be run: {0}")]
    NotBegun(#[source] io::Error),
    #[error("cannot be read: {0}")]
    Unread(#[source] io::Error),
    #[error("did not end within {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("gives more than {0} bytes")]
    TooMuch(usize),
}

impl NotRun {
    /// There is no such program.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::NotBegun(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Runs a program to its end. Whatever it has started ends with it, or with this.
pub(crate) async fn run(command: &mut Command, limits: Limits) -> Result<Said, NotRun> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(NotRun::NotBegun)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let output = async { tokio::try_join!(bounded(stdout, limits.bytes), complaint(stderr)) };
        let mut output = std::pin::pin!(output);
        tokio::select! {
            read = &mut output => {
                let (stdout, stderr) = read?;
                Ok(Said { status: child.wait().await.map_err(NotRun::Unread)?, stdout, stderr })
            }
            status = child.wait() => {
                let status = status.map_err(NotRun::Unread)?;
                // A child of it may hold on to its output for ever.
                drop(group);
                let rest = tokio::time::timeout(REST, &mut output).await;
                let (stdout, stderr) = rest.unwrap_or(Err(NotRun::TooLong(REST)))?;
                Ok(Said { status, stdout, stderr })
            }
        }
    };
    tokio::time::timeout(limits.time, work).await.unwrap_or(Err(NotRun::TooLong(limits.time)))
}

/// All of it, in memory that is wiped: also what is left behind when it grows.
async fn bounded(output: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Zeroizing<Vec<u8>>, NotRun> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(BUFFER));
    let Some(mut output) = output else { return Ok(bytes) };
    loop {
        if bytes.len() == bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * bytes.capacity()));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        // Never more than there is room for.
        if output.read_buf(&mut *bytes).await.map_err(NotRun::Unread)? == 0 {
            return Ok(bytes);
        }
        if bytes.len() > limit {
            return Err(NotRun::TooMuch(limit));
        }
    }
}

/// As much as is kept; the rest is read all the same, so that nobody waits for us.
async fn complaint(output: Option<impl AsyncRead + Unpin>) -> Result<Zeroizing<String>, NotRun> {
    let Some(mut output) = output else { return Ok(Zeroizing::default()) };
    let mut bytes = Zeroizing::new(Vec::with_capacity(BUFFER));
    let mut kept = (&mut output).take(MAX_STDERR);
    kept.read_to_end(&mut bytes).await.map_err(NotRun::Unread)?;
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await.map_err(NotRun::Unread)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A process group that ends with us.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody left in it is the usual case.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    const LIMITS: Limits = Limits { time: Duration::from_secs(60), bytes: 100_000 };

    #[tokio::test]
    async fn both_outputs_and_the_end_are_told_and_too_much_is_an_error() {
        let said = run(&mut sh("echo out; echo err >&2; exit 3"), LIMITS).await.expect("run");
        assert_eq!(
            (said.text().as_str(), said.stderr.as_str(), said.status.code()),
            ("out\n", "err\n", Some(3))
        );
        let said = run(&mut sh("head -c 100000 /dev/zero"), LIMITS).await.expect("run");
        assert_eq!(said.stdout.len(), 100_000);
        let error = run(&mut sh("cat /dev/zero"), LIMITS).await.expect_err("it never ends");
        assert!(matches!(error, NotRun::TooMuch(100_000)), "{error}");
        let said = run(&mut sh("head -c 1000000 /dev/zero >&2"), LIMITS).await.expect("run");
        assert!(said.status.success() && said.stderr.len() as u64 == MAX_STDERR);
    }

    #[tokio::test]
    async fn what_is_not_there_or_does_not_end_is_told() {
        assert!(run(&mut Command::new("/nonexistent"), LIMITS).await.expect_err("absent").is_absent());
        let limits = Limits { time: Duration::from_millis(200), ..LIMITS };
        let error = run(&mut sh("exec sleep 1000"), limits).await.expect_err("it hangs");
        assert!(matches!(error, NotRun::TooLong(_)), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_holds_on_to_the_output_is_not_waited_for() {
        let said = run(&mut sh("sleep 1000 & echo $!"), LIMITS).await.expect("run");
        assert_ended(said.text().trim());
    }

    /// Waits until a process has.
    pub(crate) fn assert_ended(pid: &str) {
        let begun = std::time::Instant::now();
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Gone, or a zombie that nobody has waited for.
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it goes on: {stat}");
            std::thread::yield_now();
        }
    }
}
