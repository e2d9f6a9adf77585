//! What influxctl says where it fails. How is documented nowhere; what is known of it is how Go's gRPC library prints the
//! status of a call, `rpc error: code = NAME desc = TEXT`, and that it goes to stderr, behind the level of a log line.
//!
//! Its exit code says nothing. That nothing was done is believed in one case: the line is the last, it is the only one
//! about a call, and it begins with a code by which a server refuses. Words anywhere else, in a request's id or in
//! a description, say nothing.

use zeroize::Zeroizing;

use super::program::FailedCall;
use crate::{
    influxdb::{ErrorKind, RefusalCode, server_text::shown},
    model::Secret,
    program::{MAX_STDERR, Said},
};

/// How the status of a call begins.
const CALL: &str = "rpc error: code = ";
/// What grpc-go makes of an answer that is not gRPC: a proxy's, which says nothing of the server behind it.
const PROXY: &str = "unexpected HTTP status code received from server";
/// What it complains of, in its words, unless they repeat the management token.
pub(super) fn failure(said: &Said, token: Option<&Secret>) -> FailedCall {
    let secrets = token.as_slice();
    let last = said.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let spaced = Zeroizing::new(last.replace('\t', " "));
    let message = shown(&spaced, secrets);
    // What was cut off may have been the last line.
    let is_whole = (said.stderr.len() as u64) < MAX_STDERR;
    match refusal(&said.stderr).filter(|_| is_whole) {
        Some(RefusalCode::Unauthenticated) => {
            FailedCall::without_effect(ErrorKind::Status { status: 401, message, retry_after: None })
        }
        Some(code) => FailedCall::without_effect(ErrorKind::Refused { code, message }),
        None => {
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            FailedCall { kind: ErrorKind::Failed(format!("{}{message}", said.status)), no_effect: false }
        }
    }
}

/// The code by which the server refused.
fn refusal(stderr: &str) -> Option<RefusalCode> {
    let mut lines = stderr.lines().filter(|line| !line.trim().is_empty());
    let last = lines.next_back()?;
    // Of several calls an earlier one may have done it.
    if lines.any(|line| line.contains(CALL)) {
        return None;
    }
    let (code, text) = without_level(last.trim()).strip_prefix(CALL)?.split_once(" desc = ")?;
    let code = RefusalCode::ALL.into_iter().find(|refusal| refusal.to_string() == code)?;
    (!text.starts_with(PROXY)).then_some(code)
}

/// A line without the level before it, as zap's console encoder or a shell's convention has it.
fn without_level(line: &str) -> &str {
    let level = line.split_once('\t').or_else(|| line.split_once(": "));
    match level {
        Some((level, rest)) if ["error", "fatal"].iter().any(|word| level.eq_ignore_ascii_case(word)) => {
            rest.trim_start()
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const CANARY: &str = "canary-management-token";

    fn failed(stderr: &str) -> FailedCall {
        let said = Said {
            status: std::process::ExitStatus::from_raw(1 << 8),
            stdout: Zeroizing::default(),
            stderr: Zeroizing::new(stderr.to_owned()),
        };
        failure(&said, Some(&Secret::new(CANARY.into())))
    }

    #[test]
    fn a_refusal_is_the_exact_code_where_it_stands() {
        for (stderr, code) in [
            ("error\trpc error: code = Unauthenticated desc = unauthorized\n", "401"),
            ("ERROR\trpc error: code = PermissionDenied desc = no", "PermissionDenied"),
            ("Error: rpc error: code = InvalidArgument desc = description: 1\n\n", "InvalidArgument"),
            ("rpc error: code = NotFound desc = rpc error: code = Unavailable desc = x", "NotFound"),
            (
                "warn\ta newer version is available\nerror\trpc error: code = Unimplemented desc = x",
                "Unimplemented",
            ),
        ] {
            let failed = failed(stderr);
            assert!(failed.no_effect && failed.kind.to_string().contains(code), "{stderr}: {failed:?}");
        }
    }

    #[test]
    fn words_elsewhere_decide_nothing() {
        for stderr in [
            "",
            "error\tinternal: stream closed (request id 9f401c7e)",
            "error\trpc error: code = Internal desc = unauthenticated (request id 9f401c7e)",
            "error\trpc error: code = Unknown desc = rpc error: code = Unauthenticated desc = x",
            "error\trpc error: code = UNAUTHENTICATED desc = x",
            "error\trpc error: code = unauthenticated desc = x",
            "error\trpc error: code = UnauthenticatedX desc = x",
            "error\trpc error: code = Unauthenticated",
            "error\tcannot print token \"rpc error: code = Unauthenticated desc = \": broken pipe",
            "error\tdatabase \"401\" unauthorized: connection reset",
            "error\t401 Unauthorized",
            "error\tUNAUTHORIZED",
            "error\trpc error: code = Unavailable desc = gone\nerror\trpc error: code = Unauthenticated desc = x",
            "error\trpc error: code = Unauthenticated desc = x\nerror\tconnection reset",
            "error\trpc error: code = Unauthenticated desc = unexpected HTTP status code received from server: 401 (Unauthorized)",
            "error\trpc error: code = AlreadyExists desc = x",
            "error\trpc error: code = ResourceExhausted desc = x",
            "error\trpc error: code = DeadlineExceeded desc = PermissionDenied",
            "error\trpc error: code = Canceled desc = x",
            "error\trpc error: code = 16 desc = x",
            "debug\trpc error: code = Unauthenticated desc = x",
        ] {
            let failed = failed(stderr);
            assert!(!failed.no_effect && matches!(failed.kind, ErrorKind::Failed(_)), "{stderr}: {failed:?}");
        }
        let cut = format!("{}\nrpc error: code = NotFound desc = x", "x".repeat(64 << 10));
        assert!(!failed(&cut).no_effect, "the end is not known");
    }

    #[test]
    fn what_repeats_the_management_token_is_not_shown() {
        for text in [
            CANARY.to_owned(),
            CANARY[..17].to_owned(),
            CANARY[4..].to_uppercase(),
            format!("{}{CANARY}", "x".repeat(190)),
        ] {
            let failed = failed(&format!("error\trpc error: code = Unauthenticated desc = not {text}"));
            assert_eq!(failed.kind.to_string(), "401", "{text}");
        }
    }
}
