//! What the answer to a mint claims of times, held against the date of that answer (rule 10).

use std::time::Duration;

use crate::model::Time;

/// A token that was just minted was created no further than this from the date of the answer.
const APART: Duration = Duration::from_secs(300);

/// The times of a new token, as far as they can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Believed {
    /// The claim, or the date where that cannot be true.
    pub(super) created_at: Time,
    /// The claim, where it cannot be true.
    pub(super) claimed_created_at: Option<Time>,
    /// `None` where it claims to have expired before it was created.
    pub(super) expires_at: Option<Time>,
}

/// `now`: the date of the answer, or what is known of the server's time where it has none.
pub(super) fn believe(created_at: Option<Time>, expires_at: Option<Time>, now: Time) -> Believed {
    let fits = |claim: &Time| claim.duration_since(now).unsigned_abs() <= APART;
    let believed = created_at.filter(fits).unwrap_or(now);
    Believed {
        created_at: believed,
        claimed_created_at: created_at.filter(|claim| !fits(claim)),
        expires_at: expires_at.filter(|at| *at > believed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_second(1_800_000_000 + second).expect("a time")
    }

    #[test]
    fn a_creation_far_from_the_date_is_a_claim_and_an_expiry_before_it_none() {
        for (created, expires, wanted) in [
            (Some(-300), Some(9), (-300, None, Some(9))),
            (Some(300), None, (300, None, None)),
            (Some(-301), Some(9), (0, Some(-301), Some(9))),
            (Some(301), Some(9), (0, Some(301), Some(9))),
            (None, Some(9), (0, None, Some(9))),
            (Some(0), Some(0), (0, None, None)),
            (Some(-9999), Some(-9), (0, Some(-9999), None)),
        ] {
            let (created_at, claimed, expires_at) = wanted;
            let wanted = Believed {
                created_at: at(created_at),
                claimed_created_at: claimed.map(at),
                expires_at: expires_at.map(at),
            };
            assert_eq!(believe(created.map(at), expires.map(at), at(0)), wanted, "{created:?} {expires:?}");
        }
    }
}
