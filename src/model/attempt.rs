//! Mints of the last day: what the brake counts, and the markers by which a late token is known.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Grants, Marker, Moment};

/// How long a mint is remembered.
pub const MINT_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// So many are remembered at most: in a day of failures one is tried every five minutes.
const MAX_ATTEMPTS: usize = 320;

/// A mint that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintAttempt {
    /// In the label of the token that comes of it.
    pub marker: Marker,
    /// When it was asked for; once it is refused, when that was known.
    pub at: Moment,
    /// What the token was to do.
    pub grants: Grants,
    /// How it counts.
    pub kind: AttemptKind,
}

/// How a mint counts for the brake (rule 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// Schedule, list or person explain it.
    Explained,
    /// Nothing explains it.
    Unexplained,
    /// Nothing was minted, as far as is known: only the marker is remembered.
    Refused,
}

/// Adds a mint, and forgets those that are over a day old.
pub fn remember_mint(mints: &mut Vec<MintAttempt>, attempt: MintAttempt) {
    let now = attempt.at.clone();
    mints.retain(|known| !is_over(&known.at, &now));
    mints.push(attempt);
    let surplus = mints.len().saturating_sub(MAX_ATTEMPTS);
    mints.drain(..surplus);
}

/// A day has passed on both clocks, as far as they are known.
fn is_over(at: &Moment, now: &Moment) -> bool {
    let by_date = now.at.duration_since(at.at).unsigned_abs() >= MINT_MEMORY;
    let by_boot = at.boot.as_ref().zip(now.boot.as_ref()).and_then(|(at, now)| at.passed(now));
    by_date && by_boot.is_none_or(|passed| passed >= MINT_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BootTime, Time};

    const DAY: i64 = 24 * 3600;

    fn attempt(n: u8, date: i64, boot: i64) -> MintAttempt {
        let millis = u64::try_from(boot * 1000).expect("since boot");
        MintAttempt {
            marker: Marker::from_bits([n; 16]),
            at: Moment {
                at: Time::from_second(date).expect("a time"),
                boot: Some(BootTime { boot: "this".into(), millis }),
            },
            grants: Grants::default(),
            kind: AttemptKind::Unexplained,
        }
    }

    #[test]
    fn a_mint_is_forgotten_once_a_day_has_passed_on_both_clocks() {
        for (date, boot, kept) in [(DAY - 1, DAY, 2), (DAY, DAY - 1, 2), (DAY, DAY, 1)] {
            let mut mints = vec![attempt(1, 0, 0)];
            remember_mint(&mut mints, attempt(2, date, boot));
            assert_eq!(mints.len(), kept, "{date} {boot}");
        }
    }

    #[test]
    fn a_day_of_failures_has_a_bound() {
        let mut mints = Vec::new();
        (0..1000).for_each(|second| remember_mint(&mut mints, attempt(1, second, second)));
        assert_eq!(mints.len(), MAX_ATTEMPTS);
        assert_eq!(mints.last(), Some(&attempt(1, 999, 999)));
    }
}
