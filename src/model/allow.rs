//! Who may read a token.

use serde::{Deserialize, Serialize};

/// `allow = { users, groups, units }`; any match suffices. uid 0 and the daemon's own uid may always read.
/// Users and groups are names or numeric ids, kept as written: they are resolved when they are needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// User names or uids.
    #[serde(default)]
    pub users: Vec<String>,
    /// Group names or gids.
    #[serde(default)]
    pub groups: Vec<String>,
    /// systemd units; globs.
    #[serde(default)]
    pub units: Vec<String>,
}

impl Default for Allow {
    /// Telegraf, as its packages install it.
    fn default() -> Self {
        Self { users: vec!["telegraf".into()], groups: vec![], units: vec!["telegraf.service".into()] }
    }
}
