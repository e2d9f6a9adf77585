//! The terms that rules share: how long, and how many.

use std::time::Duration;

use crate::model::MINT_MEMORY;

/// Tokens younger than this are not judged by a list (rule 4): lists may lag.
pub(super) const YOUNG: Duration = Duration::from_secs(600);
/// How long a revoked token, and one gone by absence, is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long after its request's deadline a complete list must lack a marker before its intent is dropped.
pub(super) const INTENT_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// This many open intents of one name stop further mints.
pub(super) const MAX_INTENTS: usize = 16;
/// Two refusals this far apart make an absent token gone.
pub(super) const REFUSED_APART: Duration = Duration::from_secs(60);
/// The time in which the mints of a name are counted.
pub const DAY: Duration = MINT_MEMORY;
/// So many mints in a [`DAY`] that nothing explains pause minting.
pub(super) const MAX_UNEXPLAINED: usize = 3;
