//! The label that ends the description of each token we mint, by which it is known again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{LabelPlace, Name};

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 128 random bits.
            #[must_use]
            pub fn from_bits(bits: [u8; 16]) -> Self {
                Self(bits)
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            /// Lower-case hexadecimal.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let digits = Some(text).filter(|text| text.len() == 32 && text.bytes().all(is_digit));
                let bits = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
                bits.map(|bits| Self(bits.to_be_bytes())).ok_or("expected 32 hexadecimal digits")
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// One mint: drawn and sealed before it, and put into the token's description.
    Marker
}

random_id! {
    /// One store on one machine; part of every label, so that hosts never touch each other's tokens.
    Instance
}

const WRONG: &str = "not a label";

/// `[influx-tokend <instance>/<name>/<marker>]` at the end of a description, or `influx-tokend/<instance>/<name>/<marker>` as
/// the name of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Whose.
    pub instance: Instance,
    /// Which.
    pub name: Name,
    /// Which mint.
    pub marker: Marker,
}

impl Label {
    /// The label at the end of a description, if there is one, to the letter.
    #[must_use]
    pub fn find(description: &str) -> Option<Self> {
        let start = description.rfind("[influx-tokend ")?;
        description[start..].parse().ok()
    }

    /// The description with this label after it.
    #[must_use]
    pub fn follow(&self, description: &str) -> String {
        if description.is_empty() { self.to_string() } else { format!("{description} {self}") }
    }
}

impl LabelPlace {
    /// What stands in the place of the label, which is added to the description where the place has one.
    #[must_use]
    pub fn text(self, label: &Label, description: &str) -> String {
        match self {
            Self::Description | Self::TokenName => label.follow(description),
            Self::UserName => {
                let Label { instance, name, marker } = label;
                format!("influx-tokend/{instance}/{name}/{marker}")
            }
        }
    }

    /// The label in what stands there, if there is one, to the letter.
    #[must_use]
    pub fn find(self, text: &str) -> Option<Label> {
        match self {
            Self::Description | Self::TokenName => Label::find(text),
            Self::UserName => Label::of_parts(text.strip_prefix("influx-tokend/")?).ok(),
        }
    }
}

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = text.strip_prefix("[influx-tokend ").and_then(|rest| rest.strip_suffix(']'));
        Self::of_parts(inner.ok_or(WRONG)?)
    }
}

impl Label {
    fn of_parts(inner: &str) -> Result<Self, &'static str> {
        let mut parts = inner.split('/');
        let (Some(instance), Some(name), Some(marker), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(WRONG);
        };
        Ok(Self {
            instance: instance.parse()?,
            name: name.parse().map_err(|_| WRONG)?,
            marker: marker.parse()?,
        })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[influx-tokend {}/{}/{}]", self.instance, self.name, self.marker)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_label_is_found_behind_any_description(
            description in "\\PC{0,60}", instance: [u8; 16], marker: [u8; 16], name in "[A-Za-z0-9_]{1,128}",
        ) {
            let label = Label {
                instance: Instance::from_bits(instance),
                name: name.parse().expect("a name"),
                marker: Marker::from_bits(marker),
            };
            for place in [LabelPlace::Description, LabelPlace::TokenName, LabelPlace::UserName] {
                let text = place.text(&label, &description);
                prop_assert_eq!(place.find(&text), Some(label.clone()));
                let is_word = !text.contains([' ', ':', '[']);
                prop_assert!(is_word || place != LabelPlace::UserName, "{text}");
            }
        }
    }

    #[test]
    fn look_alikes_are_not_labels() {
        let hex = "00112233445566778899aabbccddeeff";
        for text in [
            String::new(),
            "[influx-tokend]".into(),
            format!("[influx-tokend {hex}/a/{hex}] "),
            format!("[influx-tokend {hex}/a/{hex}"),
            format!("[influx-tokend {hex}/a-b/{hex}]"),
            format!("[influx-tokend {}/a/{hex}]", hex.to_uppercase()),
            format!("[influx-tokend {hex}/a/{hex}/x]"),
            format!("influx-tokend {hex}/a/{hex}"),
            format!("[Influx-tokend {hex}/a/{hex}]"),
        ] {
            assert_eq!(Label::find(&text), None, "{text}");
            assert_eq!(LabelPlace::UserName.find(&text), None, "{text}");
        }
    }
}
