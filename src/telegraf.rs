//! What a Telegraf's version can do.

use std::fmt;

#[cfg(feature = "daemon")]
mod ask;
mod store;

pub use store::{Store, StoreError, defines};

/// A version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

const fn version(major: u32, minor: u32, patch: u32) -> Version {
    Version { major, minor, patch }
}

/// The first that can be reloaded while a dynamic secret store is in use; those before end (telegraf#18839, and seen).
pub const RELOADS: Version = version(1, 38, 4);

impl Version {
    /// Reads what `telegraf --version` prints: `Telegraf 1.39.3`, `Telegraf 1.40.0-1a2b3c4d (git: …)`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if !words.next()?.eq_ignore_ascii_case("telegraf") {
            return None;
        }
        let mut numbers = words.next()?.trim_start_matches('v').splitn(3, '.');
        let mut number = || {
            let text = numbers.next()?;
            let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
            digits.parse().ok()
        };
        Some(Self { major: number()?, minor: number()?, patch: number().unwrap_or(0) })
    }

    /// Whether a reload is safe, whatever secret stores it uses.
    #[must_use]
    pub fn reloads(self) -> bool {
        self >= RELOADS
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_telegraf_prints_them() {
        for (text, version, reloads) in [
            ("Telegraf 1.39.3\n", "1.39.3", true),
            ("Telegraf 1.38.4 (git: HEAD@1a2b3c4d)", "1.38.4", true),
            ("Telegraf 1.38.3", "1.38.3", false),
            ("Telegraf 1.9.10", "1.9.10", false),
            ("Telegraf v1.40.0-1a2b3c4d (git: master@1a2b3c4d)", "1.40.0", true),
            ("Telegraf 1.40", "1.40.0", true),
            ("Telegraf 2.0.0-rc1", "2.0.0", true),
        ] {
            let parsed = Version::parse(text).expect(text);
            assert_eq!((parsed.to_string().as_str(), parsed.reloads()), (version, reloads), "{text}");
        }
    }

    #[test]
    fn what_tells_no_version_is_none() {
        for text in
            ["", "Telegraf", "Telegraf unknown", "Telegraf 1", "Vector 0.57.0", "1.39.3", "Telegraf .1.2"]
        {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
