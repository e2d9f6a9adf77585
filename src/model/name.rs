//! The name a token has on this host.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::hint::Hint;

/// `[A-Za-z0-9_]{1,128}`: Telegraf's rule for the key of a secret (`\w+`, Telegraf 1.40, `config/secret.go`),
/// with a bound that a file name can hold. Shared by all copies: each map by name has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// Nothing there.
    #[error("a token name may not be empty")]
    Empty,
    /// More than [`Name::MAX`] bytes.
    #[error("a token name has at most {max} characters, this one has {len}", max = Name::MAX)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside letters, digits and underscore.
    #[error("token name {name:?} contains {found:?}; only letters, digits and underscores are allowed")]
    Character {
        /// The text, cut to a printable length.
        name: String,
        /// The first offender.
        found: char,
    },
}

impl Hint for InvalidName {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Character { name, .. } => {
                if let Some(referred) = referred(name) {
                    return Some(format!("a reference has the name after the colon: write {referred:?}"));
                }
                let fixed: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' })
                    .collect();
                Some(format!("telegraf resolves no other characters in a reference; call it {fixed:?}"))
            }
            Self::Empty | Self::TooLong { .. } => None,
        }
    }
}

/// The name in what is a reference to it, or a part of one: `@{influx:NAME}`, `influx:NAME`.
fn referred(text: &str) -> Option<&str> {
    let inside = text.trim().trim_start_matches(['@', '{', '<']).trim_end_matches(['}', '>']).trim();
    let name = inside.rsplit_once(':').map_or(inside, |(_, name)| name.trim());
    let is_reference = text.contains(['@', ':', '{']) && name.parse::<Name>().is_ok();
    is_reference.then_some(name)
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > Self::MAX {
            return Err(InvalidName::TooLong { len: text.len() });
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_')) {
            Some(found) => Err(InvalidName::Character { name: text.to_owned(), found }),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_what_telegraf_resolves(text in "\\PC{0,140}") {
            let telegraf = !text.is_empty()
                && text.len() <= Name::MAX
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            prop_assert_eq!(text.parse::<Name>().is_ok(), telegraf);
        }
    }

    #[test]
    fn a_reference_is_refused_with_the_name_in_it() {
        for text in [
            "@{influx:edge}",
            "@<influx:edge>",
            "influx:edge",
            "@{edge}",
            "{edge}",
            "@edge",
            " @{influx: edge } ",
        ] {
            let error = text.parse::<Name>().expect_err(text);
            assert!(error.hint().expect("a hint").ends_with("write \"edge\""), "{text}: {:?}", error.hint());
        }
        for text in ["edge:", "@{influx:edge-writer}", "@", "a b"] {
            let error = text.parse::<Name>().expect_err(text);
            assert!(error.hint().expect("a hint").contains("call it"), "{text}: {:?}", error.hint());
        }
    }

    #[test]
    fn a_dash_is_refused_with_the_name_that_would_do() {
        let error = "edge-writer".parse::<Name>().expect_err("a dash");
        assert!(error.to_string().contains("'-'"), "{error}");
        assert!(error.hint().expect("a hint").contains("edge_writer"));
    }
}
