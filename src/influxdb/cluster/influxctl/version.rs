//! What a version of influxctl can do, by its release notes.

use std::fmt;

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InfluxctlVersion(u32, u32, u32);

/// `--format` on `token create`: without it the answer cannot be read.
const OLDEST: InfluxctlVersion = InfluxctlVersion(2, 1, 0);
/// `mgmt_token` in a profile: before, only a person can log in.
const MANAGEMENT_TOKENS: InfluxctlVersion = InfluxctlVersion(2, 6, 0);
/// `--expires-at` on `token create`; `token revoke`, which was `token delete`; `--include-revoked` on `token list`.
const EXPIRY: InfluxctlVersion = InfluxctlVersion(2, 10, 0);

impl InfluxctlVersion {
    /// Out of what `influxctl version` prints: how exactly is not documented, so the first three numbers with dots
    /// between them count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        text.split(|c: char| !is_part(c)).find_map(|word| {
            let mut numbers = word.trim_matches('.').split('.').map(str::parse);
            let version = Self(numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            numbers.next().is_none().then_some(version)
        })
    }

    /// The oldest that will do: `with_token` where there is a management token to be used.
    pub(crate) fn least(with_token: bool) -> Self {
        if with_token { MANAGEMENT_TOKENS } else { OLDEST }
    }

    pub(crate) fn has_expiry(self) -> bool {
        self >= EXPIRY
    }
}

impl fmt::Display for InfluxctlVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_they_may_be_printed() {
        for (text, expected) in [
            ("influxctl 2.12.0\n", Some(InfluxctlVersion(2, 12, 0))),
            ("v2.9.7", Some(InfluxctlVersion(2, 9, 7))),
            (
                "influxctl version v2.10.1 (git: 1a2b3c4) build_date: 2025-06-02",
                Some(InfluxctlVersion(2, 10, 1)),
            ),
            ("2.10.0-rc1.", Some(InfluxctlVersion(2, 10, 0))),
            ("go1.24 linux", None),
            ("1.2.3.4", None),
            ("99999999999.0.0", None),
            ("", None),
        ] {
            assert_eq!(InfluxctlVersion::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_each_can_do() {
        assert!(
            InfluxctlVersion(2, 0, 3) < InfluxctlVersion::least(false)
                && InfluxctlVersion(2, 1, 0) >= InfluxctlVersion::least(false)
        );
        assert!(
            InfluxctlVersion(2, 5, 9) < InfluxctlVersion::least(true)
                && InfluxctlVersion(2, 6, 0) >= InfluxctlVersion::least(true)
        );
        assert!(!InfluxctlVersion(2, 9, 8).has_expiry() && EXPIRY.has_expiry());
    }
}
