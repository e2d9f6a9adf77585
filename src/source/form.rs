//! What stands around a token where the token alone was expected.

use std::fmt;

/// A form that people and programs keep a token in, and that a server does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `"TOKEN"`.
    Quotes,
    /// `NAME=TOKEN`: a file of environment variables, or a line of a configuration.
    Assignment,
    /// `NAME: TOKEN`: YAML, or a header.
    Field,
    /// `Bearer TOKEN`.
    Scheme,
    /// `{"token": "TOKEN"}`.
    Json,
    /// `-----BEGIN …`: a key or a certificate.
    Pem,
    /// `$NAME`.
    Variable,
    /// `@{store:key}`.
    Reference,
    /// Two bytes for each character, as Windows writes it.
    Utf16,
    /// More than one line, each with something.
    Lines,
    /// Words.
    Words,
    /// Something that no token has in it.
    Characters,
}

/// The schemes of the header `Authorization` that InfluxDB knows, and the one that it is confused with.
const SCHEMES: [&str; 3] = ["bearer", "token", "basic"];

impl Form {
    /// The form of what is not a token; `None`: it may be one. Blanks around it do not count.
    pub(super) fn of(text: &str) -> Option<Self> {
        let first = text.split_ascii_whitespace().next().unwrap_or_default();
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        Some(match text {
            _ if text.starts_with("-----BEGIN ") => Self::Pem,
            _ if text.starts_with("@{") || text.starts_with("@<") => Self::Reference,
            _ if text.starts_with(['{', '[']) => Self::Json,
            _ if text.lines().filter(|line| !line.trim().is_empty()).count() > 1 => Self::Lines,
            _ if quote.is_some_and(|quote| text.len() > 1 && text.ends_with(quote)) => Self::Quotes,
            _ if text.starts_with('$') => Self::Variable,
            _ if is_assignment(text) => Self::Assignment,
            _ if first.len() < text.len() && first.ends_with(':') => Self::Field,
            _ if first.len() < text.len()
                && SCHEMES.iter().any(|scheme| first.eq_ignore_ascii_case(scheme)) =>
            {
                Self::Scheme
            }
            _ if first.len() < text.len() => Self::Words,
            _ if !text.bytes().all(|b| b.is_ascii_graphic()) => Self::Characters,
            _ => return None,
        })
    }

    /// Of bytes that are not ASCII.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            Self::Utf16
        } else {
            Self::Characters
        }
    }
}

/// `NAME=…`, `export NAME=…` and `NAME = …`. What ends in '=' alone is a token of version 2.
fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text).trim_start();
    let Some((name, value)) = text.split_once('=') else { return false };
    let name = name.trim_end();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    is_name && !value.trim_matches('=').is_empty()
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quotes => "a text in quotes",
            Self::Assignment => "NAME=TOKEN",
            Self::Field => "NAME: TOKEN",
            Self::Scheme => "a header, as in \"Bearer TOKEN\"",
            Self::Json => "JSON",
            Self::Pem => "a key or a certificate in PEM",
            Self::Variable => "the name of a variable",
            Self::Reference => "a reference to a token",
            Self::Utf16 => "UTF-16",
            Self::Lines => "several lines",
            Self::Words => "several words",
            Self::Characters => "characters that are not visible ASCII",
        })
    }
}

impl Form {
    /// What to do about it.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Quotes => "remove the quotes",
            Self::Assignment => "remove the name and '='",
            Self::Field => "remove the name and ':'",
            Self::Scheme => "remove the word before the token",
            Self::Json => {
                "keep the token alone there; or let a program pick it: command = [\"/usr/bin/jq\", \"-r\", \".FIELD\", \
                 \"PATH\"]"
            }
            Self::Pem => {
                "name the source of the management token: a certificate is client_certificate, its key client_key"
            }
            Self::Variable => "write the value itself; nothing expands variables here",
            Self::Reference => "write the token itself; references are not resolved here",
            Self::Utf16 => "save it as UTF-8",
            Self::Lines => "keep the line with the token alone",
            Self::Words => "remove everything around the token, such as a name or a comment",
            Self::Characters => "write the token again, in visible ASCII",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_every_product_have_no_form() {
        for token in [
            "apiv1_0123456789abcdefABCDEF-_",
            "apiv3_0123456789",
            // Version 2 writes base64, with '=' at its end.
            "dGhpcyBpcyBhIHRva2VuIGZvciB0aGUgdGVzdHMgb25seQ==",
            "dGhpcyBpcyBhIHRva2VuIGZvciB0aGUgdGVzdHMgb25seQ=",
            "-_x/+==",
            // And an identity provider a JWT.
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
            "user:password",
            "a",
        ] {
            assert_eq!(Form::of(token), None, "{token}");
        }
    }

    /// What is in a file, its form, and what the hint makes of it: each leads on, until nothing is left to say.
    #[test]
    fn each_hint_leads_on() {
        for (text, form, fixed) in [
            ("\"apiv1_x\"", Form::Quotes, "apiv1_x"),
            ("'apiv1_x'", Form::Quotes, "apiv1_x"),
            ("`apiv1_x`", Form::Quotes, "apiv1_x"),
            ("INFLUX_TOKEN=apiv1_x", Form::Assignment, "apiv1_x"),
            ("export INFLUX_TOKEN=apiv1_x", Form::Assignment, "apiv1_x"),
            ("INFLUX_TOKEN=\"apiv1_x\"", Form::Assignment, "\"apiv1_x\""),
            ("mgmt_token = \"apiv1_x\"", Form::Assignment, "\"apiv1_x\""),
            ("token=dGhpcw==", Form::Assignment, "dGhpcw=="),
            ("token: apiv1_x", Form::Field, "apiv1_x"),
            ("Authorization: Bearer apiv1_x", Form::Field, "Bearer apiv1_x"),
            ("Bearer apiv1_x", Form::Scheme, "apiv1_x"),
            ("Token apiv1_x", Form::Scheme, "apiv1_x"),
            ("bearer \"apiv1_x\"", Form::Scheme, "\"apiv1_x\""),
            ("{\"token\": \"apiv1_x\"}", Form::Json, "apiv1_x"),
            ("{\n  \"accessToken\": \"apiv1_x\"\n}", Form::Json, "apiv1_x"),
            ("[\"apiv1_x\"]", Form::Json, "apiv1_x"),
            ("-----BEGIN PRIVATE KEY-----\nMIIx\n-----END PRIVATE KEY-----", Form::Pem, "apiv1_x"),
            ("$INFLUX_TOKEN", Form::Variable, "apiv1_x"),
            ("${INFLUX_TOKEN}", Form::Variable, "apiv1_x"),
            ("@{influx:x}", Form::Reference, "apiv1_x"),
            ("# the token\nTOKEN=apiv1_x", Form::Lines, "TOKEN=apiv1_x"),
            ("apiv1_x\n\napiv1_y", Form::Lines, "apiv1_x"),
            ("apiv1_x # the token", Form::Words, "apiv1_x"),
            ("apiv1_x\u{1}", Form::Characters, "apiv1_x"),
        ] {
            assert_eq!(Form::of(text), Some(form), "{text}");
            let next = Form::of(fixed);
            assert_ne!(next, Some(form), "{text}: {}", form.hint());
            assert!(!format!("{form} {}", form.hint()).contains("apiv1"), "{text}");
        }
        assert_eq!(Form::of_bytes(b"\xff\xfea\0"), Form::Utf16);
        assert_eq!(Form::of_bytes("é".as_bytes()), Form::Characters);
    }
}
