//! What an agent asks for.

use std::{
    collections::BTreeSet,
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{cli::secrets::brief::wait_for, hint::Hint};

/// The largest request, in bytes: 10,000 names of the longest kind are 1.3 MB.
const MAX: usize = 4 << 20;
/// A request that a person can try.
const EXAMPLE: &str = r#"echo '{"version": "1.0", "secrets": ["NAME"]}' | influx-secrets backend"#;

/// Why a request cannot be answered. It never repeats what a request says: an agent's own configuration may be in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// Standard input.
    #[error("cannot read the request on stdin")]
    Unread(#[source] io::Error),
    /// Nobody closes it.
    #[error("the request on stdin does not come to its end within {0:?}")]
    NoEnd(Duration),
    /// Too large.
    #[error("the request has more than {max} MiB", max = MAX >> 20)]
    TooLong,
    /// Nothing at all.
    #[error("there is no request on stdin")]
    Empty,
    /// Something else.
    #[error("the request is not what an agent asks (line {line}, column {column}): {what}")]
    NoRequest {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A version that we do not know.
    #[error("the request is of a version that this program does not know")]
    Version,
}

impl Hint for BadRequest {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unread(_) | Self::TooLong => return None,
            Self::Version => "versions 1.0, 1.1 and any later 1.x are known".to_owned(),
            Self::NoEnd(_) | Self::Empty | Self::NoRequest { .. } => {
                format!("an agent starts it; by hand: {EXAMPLE}")
            }
        })
    }
}

/// The handles of the request on this file, each once.
pub(super) fn read(file: BorrowedFd<'_>, patience: Duration) -> Result<BTreeSet<String>, BadRequest> {
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        wait_for(file, deadline).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => BadRequest::NoEnd(patience),
            _ => BadRequest::Unread(error),
        })?;
        match rustix::io::read(file, &mut buffer[..]) {
            Ok(0) => return parse(&bytes),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(BadRequest::Unread(errno.into())),
        }
        if bytes.len() > MAX {
            return Err(BadRequest::TooLong);
        }
    }
}

/// Fields beside these are of later versions, or an agent's own: `type`, `config`, `secret_backend_timeout`.
#[derive(Deserialize)]
struct Request {
    version: String,
    secrets: BTreeSet<String>,
}

fn parse(bytes: &[u8]) -> Result<BTreeSet<String>, BadRequest> {
    if bytes.trim_ascii().is_empty() {
        return Err(BadRequest::Empty);
    }
    let request: Request = serde_json::from_slice(bytes).map_err(|error| BadRequest::NoRequest {
        line: error.line(),
        column: error.column(),
        what: match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => {
                "expected an object with \"version\", a string, and \"secrets\", a list of strings"
            }
            _ => "it is not JSON",
        },
    })?;
    if is_known(&request.version) { Ok(request.secrets) } else { Err(BadRequest::Version) }
}

/// 1.x: what a later one adds is not needed to answer it.
fn is_known(version: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    version == "1" || version.strip_prefix("1.").is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handles(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).into_iter().collect()
    }

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn every_first_version_is_understood_and_others_are_not() {
        for version in ["1.0", "1.1", "1.2", "1.17", "1"] {
            let text = format!(r#"{{"version":"{version}","secrets":["b","a","b"]}}"#);
            assert_eq!(handles(&text), ["a", "b"], "{version}");
        }
        for version in ["2.0", "0.9", "10.1", "1.", "1.x", "", "1.0.0", "v1"] {
            let text = format!(r#"{{"version":"{version}","secrets":["a"]}}"#);
            assert!(matches!(parse(text.as_bytes()), Err(BadRequest::Version)), "{version}");
        }
    }

    #[test]
    fn what_else_a_request_has_is_not_looked_at() {
        let text = r#"{"type":"file.json","secrets":["a"],"config":{"secrets":[1],"deep":[[[{"x":null}]]]},
                       "secret_backend_timeout":30,"version":"1.1"}"#;
        assert_eq!(handles(text), ["a"]);
        assert_eq!(handles("{\"version\":\"1.0\",\"secrets\":[]}\n"), Vec::<String>::new());
        assert_eq!(handles(r#"{"version":"1.0","secrets":["\u00e9\"\\/"]}"#), ["é\"\\/"]);
    }

    #[test]
    fn what_is_no_request_is_told_without_what_it_says() {
        for (text, said) in [
            ("", "there is no request on stdin"),
            (" \n", "there is no request on stdin"),
            ("CANARY", "(line 1, column 1): it is not JSON"),
            ("{\"version\":\"1.0\",\n\"secrets\":[\"CANARY\"", "(line 2, column 19): it ends too early"),
            ("{\"version\":\"1.0\",\"secrets\":\"CANARY\"}", "column 35): expected an object"),
            ("{\"version\":\"1.0\",\"secrets\":[{\"CANARY\":1}]}", "expected an object"),
            ("{\"version\":1.0,\"secrets\":[\"CANARY\"]}", "expected an object"),
            ("{\"version\":\"1.0\"}", "expected an object"),
            ("{\"secrets\":[\"CANARY\"]}", "expected an object"),
            ("{\"version\":\"1.0\",\"secrets\":[],\"secrets\":[\"CANARY\"]}", "expected an object"),
            ("{\"version\":\"1.0\",\"secrets\":[\"a\"]} CANARY", "it is not JSON"),
            ("[]", "expected an object"),
            ("{\"version\":\"CANARY\",\"secrets\":[\"a\"]}", "of a version that this program does not know"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(said) && !refusal.contains("CANARY"), "{text}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = parse(&bytes);
        }

        #[test]
        fn any_handles_are_read_as_they_were_written(
            wanted in proptest::collection::btree_set("\\PC{0,20}", 0..20),
        ) {
            let text = serde_json::json!({ "version": "1.0", "secrets": wanted }).to_string();
            prop_assert_eq!(parse(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?, wanted);
        }
    }
}
