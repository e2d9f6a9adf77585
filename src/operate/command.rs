//! What is said over the admin socket: a command as one JSON object, answered by lines of JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    hint::Hint,
    model::{Name, Secret, ServerName, TokenId, sealed},
};

/// Where commands are posted to.
pub const PATH: &str = "/v1/command";
/// The largest command, in bytes.
pub const MAX_COMMAND: usize = 1 << 20;
/// The largest line of an answer, in bytes.
pub const MAX_LINE: usize = 64 << 20;

/// What a person asks a running daemon for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Each token's state, and each server's.
    Status,
    /// What would be done.
    Plan,
    /// Whether list, store and servers are as they should be.
    Check {
        /// Only the list.
        list_only: bool,
    },
    /// What is due, now.
    Apply,
    /// New values, or the former ones again.
    Rotate {
        /// For these names.
        names: Vec<Name>,
        /// The former ones.
        #[serde(default)]
        undo: bool,
    },
    /// To revoke the current token of a name now, cutting off its users.
    Revoke {
        /// Which name.
        name: Name,
    },
    /// What waits for a confirmation; with the digest of what was shown, to do it.
    Confirm {
        /// As `Confirm` without it shows.
        digest: Option<String>,
    },
    /// Live tokens with this store's label that no record knows.
    Strays {
        /// Those to revoke.
        revoke: Vec<TokenId>,
    },
    /// A new instance: another machine uses a copy of this store.
    Separate,
    /// To forget tokens on servers that the list does not name any more.
    Forget {
        /// Of these names.
        names: Vec<Name>,
    },
    /// What would become of all tokens if this host were retired; with the digest of what was shown, to do it.
    Retire {
        /// As `Retire` without it shows.
        digest: Option<String>,
        /// Tokens that only a person may add: a clone of this store may use them.
        #[serde(default)]
        also: Vec<TokenId>,
    },
    /// To take over a token that was made by hand.
    Import(Import),
}

/// A token that was made by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Import {
    /// How this host calls it from now on.
    pub name: Name,
    /// The server it lives on, where the list does not say.
    pub server: Option<ServerName>,
    /// The server's id for it.
    pub id: TokenId,
    /// Its string.
    #[serde(with = "sealed")]
    pub secret: Secret,
    /// Not shared: it is revoked once replaced.
    pub exclusive: bool,
    /// Although its grants are not those that the list asks for.
    pub despite_grants: bool,
}

impl Command {
    /// Whether it changes nothing.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(self, Self::Status | Self::Plan | Self::Check { .. })
    }

    /// As a person types it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Plan => "plan",
            Self::Check { .. } => "check",
            Self::Apply => "apply",
            Self::Rotate { .. } => "rotate",
            Self::Revoke { .. } => "revoke",
            Self::Confirm { .. } => "confirm",
            Self::Strays { .. } => "strays",
            Self::Separate => "strays --separate",
            Self::Forget { .. } => "forget",
            Self::Retire { .. } => "retire",
            Self::Import(_) => "import",
        }
    }
}

impl fmt::Display for Command {
    /// For the log: whose tokens, never what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Rotate { names, undo } => {
                f.write_str(if *undo { " --undo" } else { "" })?;
                names.iter().try_for_each(|name| write!(f, " {name}"))
            }
            Self::Forget { names } => names.iter().try_for_each(|name| write!(f, " {name}")),
            Self::Revoke { name } => write!(f, " {name} --now"),
            Self::Strays { revoke } => revoke.iter().try_for_each(|id| write!(f, " --revoke {id}")),
            Self::Confirm { digest } => digest.iter().try_for_each(|digest| write!(f, " {digest}")),
            Self::Retire { digest, also } => {
                also.iter().try_for_each(|id| write!(f, " --also {id}"))?;
                digest.iter().try_for_each(|digest| write!(f, " {digest}"))
            }
            Self::Import(import) => write!(f, " {}", import.name),
            Self::Status | Self::Plan | Self::Check { .. } | Self::Apply | Self::Separate => Ok(()),
        }
    }
}

/// A line of an answer. The last one is no `Note`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<T> {
    /// How far it is.
    Note(String),
    /// What came of it.
    Done(T),
    /// Why nothing came of it.
    Failed(Refusal),
}

/// A command that was not carried out.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// A person has to decide something first.
    #[serde(default)]
    pub waits: bool,
}

impl Refusal {
    /// With what an error knows.
    pub fn of(error: &dyn Hint) -> Self {
        Self { what: error.to_string(), hint: error.hint(), waits: false }
    }

    /// The same for several: the hint is that of the first.
    pub fn of_all<E: Hint>(errors: &[E]) -> Self {
        let what: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let hint = errors.first().and_then(Hint::hint);
        Self { what: what.join("; "), hint, waits: false }
    }

    /// What was asked for makes no sense.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: Some(hint.into()), waits: false }
    }
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}
