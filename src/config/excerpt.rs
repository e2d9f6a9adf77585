//! How a message quotes a value, and which values it must not quote.

use std::fmt;

/// The longest value that is quoted whole, in characters.
const LONGEST: usize = 60;

/// Whether a text looks like an InfluxDB token (`apiv1_…`, `apiv3_…`).
pub(super) fn is_like_a_token(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix("apiv").unwrap_or_default();
    rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('_')
        && rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a text that is not what was expected may have been meant as a secret: a token, or one long word.
pub(super) fn may_be_a_secret(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=' | '/');
    let is_path = text.starts_with(['/', '.', '~', '$']) || text.matches('/').count() * 20 > text.len();
    is_like_a_token(text) || text.len() >= 32 && text.chars().all(is_part) && !is_path
}

/// A value in a message: quoted, cut off where it is long, and left out where it is a token.
pub(super) struct Excerpt<'a>(pub(super) &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        if is_like_a_token(text) {
            f.write_str("a token")
        } else if text.chars().count() > LONGEST {
            let start: String = text.chars().take(LONGEST).collect();
            write!(f, "{start:?}…")
        } else {
            write!(f, "{text:?}")
        }
    }
}
