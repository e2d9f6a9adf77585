//! What the list asks for.

use std::{sync::Arc, time::Duration};

use super::{Allow, Database, Grants, Name, ServerKey, ServerName};

/// One token that this host must have, every default filled in. What most tokens of a list have alike is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How this host calls it.
    pub name: Name,
    /// Where it is minted.
    pub server: ServerName,
    /// The same, as records know it.
    pub key: ServerKey,
    /// What it may do; never empty.
    pub grants: Grants,
    /// `{host}` expanded, without the label.
    pub description: String,
    /// How long one lives.
    pub lifetime: Option<Duration>,
    /// Who may read it.
    pub allow: Arc<Allow>,
    /// When the overlap of a rotation may end.
    pub pickup: Pickup,
    /// How a new one is probed, or that it is not.
    pub probe: Option<Arc<Probe>>,
}

impl Spec {
    /// The least time that must remain of a token when the next one is begun: for a slow probe, the overlap, and somebody
    /// to notice (rule 10).
    #[must_use]
    pub fn room(&self, lifetime: Duration, overlap: Duration) -> Duration {
        room(lifetime, self.probe.as_deref(), overlap)
    }
}

/// See [`Spec::room`].
#[must_use]
pub fn room(lifetime: Duration, probe: Option<&Probe>, overlap: Duration) -> Duration {
    const HOUR: Duration = Duration::from_secs(3600);
    probe.map_or(Duration::ZERO, |probe| probe.deadline) + overlap + HOUR.min(lifetime / 24)
}

/// At what age a token with this lifetime is replaced at the latest: at two thirds, at half of less than ten days.
#[must_use]
pub fn due_age(lifetime: Duration) -> Duration {
    const TEN_DAYS: Duration = Duration::from_secs(10 * 86_400);
    if lifetime < TEN_DAYS { lifetime / 2 } else { lifetime / 3 * 2 }
}

/// What is known of this token's readers (rule 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pickup {
    /// Some may keep what they read.
    #[default]
    Unknown,
    /// All read on every use, over the socket.
    Proven,
}

/// When a new token counts as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How often in a row on each plane.
    pub successes: u32,
    /// The time between two of them.
    pub interval: Duration,
    /// After this the name is reported.
    pub deadline: Duration,
    /// Stands in for `*`; without it the first database the server lists.
    pub database: Option<Database>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            successes: 3,
            interval: Duration::from_secs(5),
            deadline: Duration::from_secs(600),
            database: None,
        }
    }
}

/// What `[lifecycle]` says of all tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// The least time that the old and the new token both work.
    pub overlap: Duration,
    /// The most; `None`: until the old one's own expiry.
    pub overlap_cap: Option<Duration>,
    /// Between a name's removal and the revocation of its token.
    pub grace: Duration,
    /// `local_clock = "trusted"` (rule 10).
    pub trust_local_clock: bool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            overlap: Duration::from_secs(3600),
            overlap_cap: None,
            grace: Duration::from_secs(24 * 3600),
            trust_local_clock: false,
        }
    }
}
