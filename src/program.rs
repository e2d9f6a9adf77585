//! Running another program: without a shell, with a time limit, its output bounded, and ended with us.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

/// What is kept of each output, in bytes.
const MAX: u64 = 256 << 10;

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Why a program did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    #[error("cannot be run: {0}")]
    Io(#[from] io::Error),
    #[error("did not end within {} s", .0.as_secs())]
    TooLong(Duration),
}

impl NotRun {
    /// There is no such program.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Runs a program to its end.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> Result<Said, NotRun> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), child.wait());
        Ok(Said { status: status?, stdout: stdout?, stderr: stderr? })
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(NotRun::TooLong(limit)))
}

/// As much as is kept; the rest is read all the same, so that nobody waits for us.
async fn read(output: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut output) = output else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    (&mut output).take(MAX).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn both_outputs_and_the_end_are_told_and_too_much_is_cut() {
        let said = run(&mut sh("echo out; echo err >&2; exit 3"), LONG).await.expect("run");
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str(), said.status.code()),
            ("out\n", "err\n", Some(3))
        );
        let said = run(&mut sh("head -c 1000000 /dev/zero"), LONG).await.expect("run");
        assert!(said.status.success() && said.stdout.len() as u64 == MAX);
    }

    #[tokio::test]
    async fn what_is_not_there_or_does_not_end_is_told() {
        assert!(run(&mut Command::new("/nonexistent"), LONG).await.expect_err("absent").is_absent());
        let error = run(&mut sh("exec sleep 1000"), Duration::from_millis(200)).await.expect_err("it hangs");
        assert!(matches!(error, NotRun::TooLong(_)), "{error}");
    }
}
