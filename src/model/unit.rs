//! A service of systemd, by its name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::hint::Hint;

/// The longest name of a unit (systemd.unit(5)).
const MAX: usize = 255;
/// What other units are called (systemd.unit(5)).
const OTHERS: [&str; 11] = [
    ".automount",
    ".device",
    ".mount",
    ".path",
    ".scope",
    ".slice",
    ".snapshot",
    ".socket",
    ".swap",
    ".target",
    ".timer",
];
const OURS: &str = "influx-tokend.service";
/// The units that look after a hook, one instance for each.
const HOOK: &str = "influx-tokend-hook@";

/// The name of a service: whole, and no template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Unit(String);

impl Unit {
    /// What a service's name ends in.
    pub const SUFFIX: &str = ".service";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The unit that starts [`Self::hook_service`] whenever a token may have a new value.
    #[must_use]
    pub fn hook_path(&self) -> String {
        format!("{HOOK}{}.path", escape(&self.0))
    }

    /// The unit that brings a new value to this one.
    #[must_use]
    pub fn hook_service(&self) -> String {
        format!("{HOOK}{}.service", escape(&self.0))
    }
}

/// As `systemd-escape` does it, so that `%I` gives the text again.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped += "\\x2e",
            b':' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => escaped.push(char::from(byte)),
            other => escaped += &format!("\\x{other:02x}"),
        }
    }
    escaped
}

/// Why a text is not a [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUnit {
    /// Nothing, or something that no unit is called.
    #[error("{0:?} is no name of a unit: expected letters, digits and any of : - _ . \\ @")]
    Invalid(String),
    /// More than a unit's name may have, or that of the units which look after its hook.
    #[error("the name {0:?}… is too long for a unit with a hook")]
    TooLong(String),
    /// Another kind of unit.
    #[error("{0:?} is no service, and nothing else reads tokens")]
    NoService(String),
    /// A template.
    #[error("{0:?} is a template, which does not run itself")]
    Template(String),
    /// Our own.
    #[error("{0:?} is influx-tokend's own")]
    Ours(String),
}

impl Hint for InvalidUnit {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Invalid(_) => "`systemctl list-units --type=service` shows those that run".to_owned(),
            Self::TooLong(_) => "rename the unit, or give it an alias".to_owned(),
            Self::NoService(_) => "name the service that reads the token".to_owned(),
            Self::Template(name) => {
                format!("name each instance that runs, {:?} say", name.replace("@.", "@one."))
            }
            Self::Ours(_) => "name the service that reads the token".to_owned(),
        })
    }
}

impl FromStr for Unit {
    type Err = InvalidUnit;

    /// Without a suffix it is a service, as for systemctl.
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if text.len() > MAX {
            return Err(InvalidUnit::TooLong(text.chars().take(60).collect()));
        }
        if OTHERS.iter().any(|suffix| text.ends_with(suffix)) {
            return Err(InvalidUnit::NoService(text.to_owned()));
        }
        let stem = text.strip_suffix(Self::SUFFIX).unwrap_or(text);
        let is_usual = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        // One that begins with a dot is a file that has not got its name yet.
        if stem.is_empty() || stem.starts_with(['.', '@']) || !stem.chars().all(is_usual) {
            return Err(InvalidUnit::Invalid(text.to_owned()));
        }
        let unit = Self(format!("{stem}{}", Self::SUFFIX));
        if stem.ends_with('@') && stem.matches('@').count() == 1 {
            return Err(InvalidUnit::Template(unit.0));
        }
        if unit.0 == OURS || unit.0.starts_with(HOOK) {
            return Err(InvalidUnit::Ours(unit.0));
        }
        if unit.hook_service().len() > MAX {
            return Err(InvalidUnit::TooLong(text.chars().take(60).collect()));
        }
        Ok(unit)
    }
}

impl TryFrom<String> for Unit {
    type Error = InvalidUnit;

    fn try_from(text: String) -> Result<Self, InvalidUnit> {
        text.parse()
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        unit.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What systemd makes of `%I` (systemd.unit(5)).
    fn unescape(text: &str) -> String {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            let hexadecimal = after.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
            match (first, hexadecimal) {
                (b'\\', Some(digits)) => {
                    bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                    rest = &after[3..];
                    continue;
                }
                (b'-', _) => bytes.push(b'/'),
                (other, _) => bytes.push(*other),
            }
            rest = after;
        }
        String::from_utf8(bytes).expect("text")
    }

    proptest! {
        #[test]
        fn systemd_gives_the_same_unit_again(text in "[a-zA-Z0-9:_\\\\.@-]{1,60}") {
            let Ok(unit) = text.parse::<Unit>() else { return Ok(()) };
            let path = unit.hook_path();
            let instance = path.strip_prefix(HOOK).and_then(|path| path.strip_suffix(".path")).expect("an instance");
            prop_assert_eq!(unescape(instance), unit.as_str());
            prop_assert!(!instance.contains(['@', '-', '/']), "{}", instance);
        }
    }

    #[test]
    fn escaped_as_systemd_escape_does_it() {
        for (text, escaped) in [
            ("telegraf.service", "telegraf.service"),
            ("telegraf@edge.service", "telegraf\\x40edge.service"),
            ("my-telegraf.service", "my\\x2dtelegraf.service"),
            ("a\\x2db.service", "a\\x5cx2db.service"),
            ("a:b_c.d.service", "a:b_c.d.service"),
        ] {
            assert_eq!(escape(text), escaped);
        }
    }

    #[test]
    fn a_name_without_suffix_is_a_service() {
        for (text, unit) in [
            ("telegraf", "telegraf.service"),
            ("telegraf@edge", "telegraf@edge.service"),
            ("a.b", "a.b.service"),
        ] {
            assert_eq!(text.parse::<Unit>().expect(text).as_str(), unit);
        }
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let long = "a".repeat(256);
        let dashes = "-".repeat(80);
        for text in [
            "",
            ".service",
            "@.service",
            "@a.service",
            ".a.service",
            "a b",
            "a/b.service",
            "../a.service",
            "a*.service",
            "a\n.service",
            "telegraf.timer",
            "telegraf@.service",
            "telegraf@",
            "influx-tokend.service",
            "influx-tokend",
            "influx-tokend-hook@a.service",
            &long,
            &dashes,
        ] {
            let error = text.parse::<Unit>().expect_err(text);
            assert!(error.hint().is_some(), "{error}");
        }
    }
}
