//! Secrets that people made and keep elsewhere: the management token, a store's identity, its passphrase.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::io::AsyncReadExt as _;
use zeroize::{Zeroize as _, Zeroizing};

mod form;

pub use form::Form;

use crate::{
    config::TokenSource,
    hint::Hint,
    model::Secret,
    program::{self, Limits, NotRun},
};

/// The longest secret, in bytes.
const MAX: u64 = 64 << 10;
/// A program that prints a secret has this long.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// Why a secret could not be had. Says where from, never what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no folder of credentials: this process is not the unit.
    #[error("credential {0:?} can be read inside the unit only")]
    OutsideUnit(String),
    /// The unit has no such credential.
    #[error("the unit has no credential {0:?}")]
    NoCredential(String),
    /// The file.
    #[error("cannot read {path:?}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program could not be run, or did not do its work.
    #[error("command {program:?} {what}")]
    Command {
        /// Its name, without its arguments: those are not ours to show.
        program: String,
        /// What went wrong.
        what: String,
    },
    /// The variable.
    #[error("environment variable {0:?} is not set")]
    Unset(String),
    /// More than a secret can be.
    #[error("{0} gives more than {MAX} bytes")]
    TooLong(String),
    /// Nothing.
    #[error("{0} is empty: expected a secret")]
    Empty(String),
    /// Something that is no text.
    #[error("{0} has {1}: expected a secret in visible ASCII")]
    NoSecret(String, Form),
    /// More than a token.
    #[error("{0} has {1}: expected a token and nothing else")]
    NoToken(String, Form),
}

impl Hint for SourceError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OutsideUnit(_) => {
                "let the daemon do it, which has it: `systemctl start influx-tokend`, then run this again"
                    .to_owned()
            }
            Self::NoCredential(name) => format!(
                "seal it with `systemd-creds encrypt --name={name} …` and LoadCredentialEncrypted={name}"
            ),
            Self::File { .. } => "check the path, and that this user may read it".to_owned(),
            Self::Command { .. } => "run it by hand as this user".to_owned(),
            Self::Unset(name) => format!("set {name}, or name another source"),
            Self::Empty(_) => "write the secret there, or check the program that writes it".to_owned(),
            Self::NoSecret(_, form) | Self::NoToken(_, form) => form.hint().to_owned(),
            Self::TooLong(_) => return None,
        })
    }
}

/// Reads a secret where it is kept. May take as long as the program that prints it.
///
/// # Errors
/// It cannot be had, or is none.
pub async fn read_secret(source: &TokenSource) -> Result<Secret, SourceError> {
    to_secret(read(source).await?, || name_of(source))
}

/// The same for a secret that is one word: it is sent in a header. Blanks around it are none of it.
///
/// # Errors
/// It cannot be had, or is none.
pub async fn read_token(source: &TokenSource) -> Result<Secret, SourceError> {
    let secret = read_secret(source).await?;
    let token = secret.expose().trim();
    match Form::of(token) {
        None if token.is_empty() => Err(SourceError::Empty(name_of(source))),
        None => Ok(Secret::new(token.to_owned())),
        Some(form) => Err(SourceError::NoToken(name_of(source), form)),
    }
}

/// What a source is called in errors.
fn name_of(source: &TokenSource) -> String {
    match source {
        TokenSource::Credential(name) => format!("credential {name:?}"),
        TokenSource::File(path) => format!("{path:?}"),
        TokenSource::Command(command) => {
            format!("the output of command {:?}", command.first().map_or("", String::as_str))
        }
        TokenSource::Env(name) => format!("environment variable {name:?}"),
    }
}

async fn read(source: &TokenSource) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    match source {
        TokenSource::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                .ok_or_else(|| SourceError::OutsideUnit(name.clone()))?;
            let path = Path::new(&folder).join(name);
            match read_file(&path).await {
                Err(SourceError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    Err(SourceError::NoCredential(name.clone()))
                }
                read => read,
            }
        }
        TokenSource::File(path) => {
            let bytes = read_file(path).await?;
            if tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
                tracing::warn!(
                    "{path:?} holds a secret and can be read by others; chmod 0600 {}",
                    path.display()
                );
            }
            Ok(bytes)
        }
        TokenSource::Command(command) => run(command, COMMAND_TIME).await,
        TokenSource::Env(name) => {
            let value = std::env::var_os(name).ok_or_else(|| SourceError::Unset(name.clone()))?;
            Ok(Zeroizing::new(value.into_encoded_bytes()))
        }
    }
}

async fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let failed = |error| SourceError::File { path: path.to_owned(), error };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    bounded(file).await.map_err(failed)?.ok_or_else(|| SourceError::TooLong(format!("{path:?}")))
}

/// `None` beyond the bound.
async fn bounded(reader: impl tokio::io::AsyncRead + Unpin) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    reader.take(MAX + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() as u64 <= MAX).then_some(bytes))
}

/// Runs a program that prints a secret. What it writes to stderr is not shown: it may be one.
async fn run(command: &[String], time: Duration) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let (program, arguments) =
        command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let failed = |what: String| SourceError::Command { program: program.to_owned(), what };
    let kept = ["PATH", "HOME", "LANG"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env_clear().envs(kept);
    let limits = Limits { time, bytes: usize::try_from(MAX).unwrap_or(usize::MAX) };
    match program::run(&mut command, limits).await {
        Ok(said) if said.status.success() => Ok(said.stdout),
        Ok(said) => Err(failed(format!("failed: {}", said.status))),
        Err(NotRun::TooMuch(_)) => Err(SourceError::TooLong(format!("command {program:?}"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Visible ASCII; the newline that editors and programs add is taken off, and the mark that some put before UTF-8.
fn to_secret(mut bytes: Zeroizing<Vec<u8>>, from: impl Fn() -> String) -> Result<Secret, SourceError> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.copy_within(3.., 0);
        let length = bytes.len() - 3;
        // Not cut off before it is wiped.
        bytes[length..].zeroize();
        bytes.truncate(length);
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    // Identity files have several lines, and comments.
    let visible = |b: &u8| b.is_ascii_graphic() || matches!(b, b'\n' | b'\r' | b' ' | b'\t');
    if bytes.is_empty() {
        return Err(SourceError::Empty(from()));
    }
    if !bytes.iter().all(visible) {
        return Err(SourceError::NoSecret(from(), Form::of_bytes(&bytes)));
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(SourceError::NoSecret(from(), Form::Characters)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> TokenSource {
        TokenSource::Command(vec!["/bin/sh".into(), "-c".into(), script.into()])
    }

    #[tokio::test]
    async fn the_newline_is_no_part_of_it() {
        assert_eq!(read_secret(&sh("echo secret")).await.expect("a secret").expose(), "secret");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "secret\n").expect("written");
        assert_eq!(read_secret(&TokenSource::File(file)).await.expect("a secret").expose(), "secret");
    }

    #[tokio::test]
    async fn what_is_no_secret_is_refused_and_not_shown() {
        for script in ["true", "printf 'canary\\001'", "echo canary; exit 3", "yes canary"] {
            let error = read_secret(&sh(script)).await.expect_err(script);
            assert!(!format!("{error} {error:?}").contains("canary"), "{script}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_management_token_is_one_word() {
        assert_eq!(read_token(&sh("echo word")).await.expect("a token").expose(), "word");
        for script in ["echo two words", "printf 'two\\nlines'"] {
            assert!(matches!(read_token(&sh(script)).await, Err(SourceError::NoToken(..))), "{script}");
        }
    }

    #[tokio::test]
    async fn what_stands_around_a_management_token_is_told_and_blanks_are_no_part_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let source = TokenSource::File(file.clone());
        for blank in ["canary\r\n", "  canary\n", "canary \t\r\n\r\n", "\n\ncanary", "\u{feff}canary\r\n"] {
            std::fs::write(&file, blank).expect("written");
            assert_eq!(read_token(&source).await.expect(blank).expose(), "canary", "{blank:?}");
        }
        for (content, expected) in [
            (&b"\"canary\"\n"[..], "has a text in quotes: expected a token and nothing else"),
            (b"TOKEN=canary\n", "has NAME=TOKEN: expected"),
            (b"{\"token\": \"canary\"}\n", "has JSON: expected"),
            (b"Bearer canary", "has a header, as in \"Bearer TOKEN\": expected"),
            (b"canary\ncanary\n", "has several lines: expected"),
            (b"\xff\xfec\0a\0n\0", "has UTF-16: expected a secret in visible ASCII"),
            ("canary\u{e9}".as_bytes(), "has characters that are not visible ASCII: expected"),
            (b"", "is empty: expected a secret"),
            (b"\xef\xbb\xbf\r\n", "is empty: expected a secret"),
            (b"  \n", "is empty: expected a secret"),
        ] {
            std::fs::write(&file, content).expect("written");
            let error = read_token(&source).await.expect_err(expected);
            let said = format!("{error} {error:?} {}", error.hint().expect("a hint"));
            assert!(said.contains(&format!("{file:?} {expected}")), "{said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), script];
        // Long enough for a shell to begin, whatever else the machine does.
        let error = run(&command, Duration::from_secs(2)).await.expect_err("it hangs");
        assert!(error.to_string().contains("did not end within 2 s"), "{error}");
        let pid = std::fs::read_to_string(&pid).expect("it has begun");
        crate::program::tests::assert_ended(pid.trim());
    }

    #[tokio::test]
    async fn a_credential_outside_the_unit_says_so() {
        let error = read_secret(&TokenSource::Credential("x".into())).await.expect_err("no unit");
        assert!(error.hint().expect("a hint").contains("daemon"));
    }
}
