//! Secrets: never printed, compared in constant time, wiped when dropped.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The string of a token, or a password. It is in memory once, for all copies, and is wiped with the last of them.
///
/// It has no `Display`, its `Debug` shows nothing, and it is serialised only as a part of a [`super::Record`], or of a
/// command to the daemon, through the private module `sealed`.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The secret itself. Search for this word to find every place that handles one in clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether these bytes are the secret, in constant time.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(bytes).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a client presents to InfluxDB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The string of a token.
    Token(#[serde(with = "sealed")] Secret),
    /// InfluxDB 1.x.
    UserAndPassword {
        /// Not a secret.
        user: String,
        /// One.
        #[serde(with = "sealed")]
        password: Secret,
    },
}

impl Credential {
    /// The bytes that are handed to consumers: the token, or the password.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Token(secret) | Self::UserAndPassword { password: secret, .. } => secret,
        }
    }
}

/// The only way a secret is written: as a field of a record that is about to be sealed, or of a command to the daemon.
pub(crate) mod sealed {
    use super::{Deserialize, Deserializer, Secret, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

/// JSON that holds secrets, in memory that is wiped.
///
/// # Panics
/// Where the value cannot be written as JSON, which is so for none of ours.
#[must_use]
pub fn wiped_json(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Measured first: a buffer that grows leaves copies behind that nothing wipes.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).expect("it can be written as JSON");
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, value).expect("it can be written as JSON");
    json
}

struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let credential =
            Credential::UserAndPassword { user: "u".into(), password: Secret::new("canary".into()) };
        assert!(!format!("{credential:?} {credential:#?}").contains("canary"));
    }
}
