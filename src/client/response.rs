//! What an answer's bytes say. Pure.

use std::fmt;

use serde::Deserialize;

/// The largest head, in bytes.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// The most headers.
const MAX_HEADERS: usize = 32;
/// The most characters of an error that are shown.
const MAX_SAID: usize = 600;

/// Status and headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Of the body, in bytes.
    pub(super) length: usize,
    /// Where the body begins.
    pub(super) body: usize,
    /// Nothing comes after it.
    pub(super) closes: bool,
}

/// What influx-tokend never answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nonsense {
    NotHttp,
    LongHead,
    CutHead,
    Encoded(&'static str),
    NoLength,
    BadLength,
    LongBody { length: usize, limit: usize },
    CutBody { got: usize, length: usize },
}

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("answered with something else than HTTP/1.1"),
            Self::LongHead => write!(f, "answered with a head of more than {} KiB", MAX_HEAD >> 10),
            Self::CutHead => f.write_str("closed the connection within the head of its answer"),
            Self::Encoded(header) => {
                write!(f, "answered with {header}, expected a plain body and its content-length")
            }
            Self::NoLength => f.write_str("answered without content-length"),
            Self::BadLength => f.write_str("answered with a content-length that is none"),
            Self::LongBody { length, limit } => {
                write!(f, "answered with {length} bytes, expected at most {limit}")
            }
            Self::CutBody { got, length } => {
                write!(f, "closed the connection after {got} of {length} bytes")
            }
        }
    }
}

/// The head, as soon as all of it is there.
///
/// A content-length is asked for: without one a secret that was cut off would look like a whole one.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Nonsense> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(bytes) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Nonsense::LongHead),
        Err(_) => return Err(Nonsense::NotHttp),
    };
    let (Some(status @ 200..), Some(1)) = (response.code, response.version) else {
        return Err(Nonsense::NotHttp);
    };
    let (mut length, mut closes) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Nonsense::Encoded("transfer-encoding"));
        }
        if header.name.eq_ignore_ascii_case("content-encoding") {
            return Err(Nonsense::Encoded("content-encoding"));
        }
        if header.name.eq_ignore_ascii_case("connection") {
            closes |= header.value.trim_ascii().eq_ignore_ascii_case(b"close");
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let this = digits(header.value).ok_or(Nonsense::BadLength)?;
            if length.is_some_and(|other| other != this) {
                return Err(Nonsense::BadLength);
            }
            length = Some(this);
        }
    }
    let length = length.ok_or(Nonsense::NoLength)?;
    Ok(Some(Head { status, length, body, closes }))
}

/// Digits alone: what std parses may begin with a plus.
fn digits(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The sentences of an error's body, `{"errors": […]}`, in one line that a terminal takes for text; `None` where it
/// says nothing.
pub(super) fn sentences(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let Errors { errors } = serde_json::from_slice(body).ok()?;
    let mut text: String = errors.join("; ").chars().filter(|c| !c.is_control()).collect();
    if let Some((end, _)) = text.char_indices().nth(MAX_SAID) {
        text.truncate(end);
        text.push('…');
    }
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_daemon_never_answers_is_told_apart() {
        let cases: [(&str, Result<Option<Head>, Nonsense>); 13] = [
            ("", Ok(None)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", Ok(None)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                Ok(Some(Head { status: 200, length: 3, body: 38, closes: false })),
            ),
            (
                "HTTP/1.1 403 No\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n",
                Ok(Some(Head { status: 403, length: 0, body: 57, closes: true })),
            ),
            ("SSH-2.0-OpenSSH\r\n", Err(Nonsense::NotHttp)),
            ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", Err(Nonsense::NotHttp)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Err(Nonsense::NotHttp)),
            ("HTTP/1.1 200 OK\r\n\r\nabc", Err(Nonsense::NoLength)),
            ("HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\n", Err(Nonsense::BadLength)),
            ("HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n", Err(Nonsense::BadLength)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", Err(Nonsense::BadLength)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Err(Nonsense::Encoded("transfer-encoding")),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n",
                Err(Nonsense::Encoded("content-encoding")),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(head(bytes.as_bytes()), expected, "{bytes:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(head(many.as_bytes()), Err(Nonsense::LongHead));
    }

    #[test]
    fn sentences_are_one_bounded_line() {
        assert_eq!(sentences(br#"{"errors":["a","b\nc\u001b[31m"]}"#).as_deref(), Some("a; bc[31m"));
        for nothing in [&b""[..], b"{}", b"[]", b"{\"errors\":[]}", b"{\"errors\":[\"\\n\"]}", b"\xff"] {
            assert_eq!(sentences(nothing), None);
        }
        let long = format!(r#"{{"errors":["{}"]}}"#, "é".repeat(10_000));
        assert_eq!(sentences(long.as_bytes()).map(|text| text.chars().count()), Some(MAX_SAID + 1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _whatever = head(&bytes);
            let _whatever = sentences(&bytes);
        }

        #[test]
        fn a_head_with_any_headers_never_panics(rest in "[ -~\r\n]{0,120}") {
            let _whatever = head(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes());
        }

        #[test]
        fn a_head_is_read_only_when_whole(
            status in 200_u16..600, body in "[ -~]{0,60}", headers in "(x[a-z]{0,8}: [a-z]{0,8}\r\n){0,5}",
        ) {
            let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
            for cut in 0..text.len() {
                prop_assert_eq!(head(&text.as_bytes()[..cut]), Ok(None));
            }
            let whole = head(format!("{text}{body}").as_bytes());
            let expected = Head { status, length: body.len(), body: text.len(), closes: false };
            prop_assert_eq!(whole, Ok(Some(expected)));
        }
    }
}
