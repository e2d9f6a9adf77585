//! Where a caller is in the daemon's sequence of changes.

use std::fmt;

use serde::Deserialize;

/// `EPOCH.N`: an epoch lasts as long as one run of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cursor(String);

impl Cursor {
    /// The longest, in bytes.
    const MAX: usize = 128;

    /// The part before the number.
    #[must_use]
    pub fn epoch(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(epoch, _)| epoch)
    }
}

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    /// It goes into a request as it stands, so only what needs no escape there will do.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        match text.rsplit_once('.') {
            Some((epoch, number)) if text.len() <= Self::MAX && is_plain(epoch) && is_plain(number) => {
                Ok(Self(text))
            }
            _ => Err("expected a cursor like \"EPOCH.N\""),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_request_is_no_cursor() {
        let cursor = Cursor::try_from("a1-b_c.42".to_owned()).expect("a cursor");
        assert_eq!((cursor.epoch(), cursor.to_string().as_str()), ("a1-b_c", "a1-b_c.42"));
        for wrong in ["", ".", "a.", ".1", "a", "a.1 HTTP/1.1\r\n", "a&b.1", "é.1", &"a.".repeat(100)] {
            assert!(Cursor::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }
}
