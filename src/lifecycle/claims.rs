//! What the answer to a mint claims of times, held against the date of that answer (rule 10).

use std::time::Duration;

use crate::{
    influxdb::Order,
    model::{Expiry, Time, after},
};

/// A token that was just minted was created no further than this from the date of the answer.
const APART: Duration = Duration::from_secs(300);
/// Servers may round a time that they are asked for.
const ROUNDED: Duration = Duration::from_secs(1);
/// Where a token expires so long after its creation, that may not be known any better.
const ABOUT: Duration = Duration::from_secs(60);

/// The times of a new token, as far as they can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Believed {
    /// The claim, or the date where that cannot be true.
    pub(super) created_at: Time,
    /// The claim, where it cannot be true.
    pub(super) claimed_created_at: Option<Time>,
    /// `None` where it claims to have expired before it was created.
    pub(super) expires_at: Option<Time>,
    /// When it was ordered to expire, where it does not expire then.
    pub(super) was_to_expire_at: Option<Time>,
}

/// `now`: the date of the answer, or what is known of the server's time where it has none.
pub(super) fn believe(
    created_at: Option<Time>,
    expires_at: Option<Time>,
    now: Time,
    order: &Order,
    expiry: Expiry,
) -> Believed {
    let fits = |claim: &Time| claim.duration_since(now).unsigned_abs() <= APART;
    let believed = created_at.filter(fits).unwrap_or(now);
    let expires_at = expires_at.filter(|at| *at > believed);
    let (asked, apart) = match expiry {
        Expiry::Absolute => (order.expires_at(), ROUNDED),
        Expiry::Relative => (order.lifetime.map(|lifetime| after(believed, lifetime)), ABOUT),
        Expiry::None => (None, ROUNDED),
    };
    let is_as_asked =
        |asked: &Time| expires_at.is_some_and(|at| at.duration_since(*asked).unsigned_abs() < apart);
    Believed {
        created_at: believed,
        claimed_created_at: created_at.filter(|claim| !fits(claim)),
        expires_at,
        was_to_expire_at: asked.filter(|asked| !is_as_asked(asked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Grants, Marker};

    fn at(second: i64) -> Time {
        Time::from_second(1_800_000_000 + second).expect("a time")
    }

    fn order(lifetime: Option<u64>) -> Order {
        Order {
            description: String::new(),
            grants: Grants::default(),
            lifetime: lifetime.map(Duration::from_secs),
            at: at(0),
            marker: Marker::from_bits([1; 16]),
        }
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
                was_to_expire_at: None,
            };
            let order = order(None);
            let believed = believe(created.map(at), expires.map(at), at(0), &order, Expiry::Absolute);
            assert_eq!(believed, wanted, "{created:?} {expires:?}");
        }
    }

    #[test]
    fn an_expiry_is_as_asked_by_the_way_the_product_is_asked() {
        // Ordered at 0 for an hour; the token was created at 40.
        for (expiry, expires_at, was_to_expire_at) in [
            (Expiry::Absolute, Some(3600), None),
            (Expiry::Absolute, Some(3640), Some(3600)),
            (Expiry::Absolute, None, Some(3600)),
            (Expiry::Relative, Some(3640), None),
            (Expiry::Relative, Some(3600), None),
            (Expiry::Relative, Some(3701), Some(3640)),
            (Expiry::Relative, None, Some(3640)),
            (Expiry::None, None, None),
        ] {
            let order = order(Some(3600));
            let believed = believe(Some(at(40)), expires_at.map(at), at(41), &order, expiry);
            assert_eq!(believed.expires_at, expires_at.map(at));
            assert_eq!(believed.was_to_expire_at, was_to_expire_at.map(at), "{expiry:?} {expires_at:?}");
        }
    }
}
