//! What the modelled server claims that is not so.

use std::time::Duration;

use super::World;
use crate::{
    lifecycle::simulation::faults::{Fault, Op},
    model::{Listed, Listing, RowFault, ServerDate, Time, after, before},
};

/// What is shown of a token instead of what is true.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// `Some(None)`: nothing is.
    pub(super) created_at: Option<Option<Time>>,
    pub(super) expires_at: Option<Option<Time>>,
    /// The description was cut, and the label with it.
    pub(super) is_cut: bool,
}

impl Claims {
    /// The row as the server shows it.
    pub(super) fn show(&self, row: &Listed) -> Listed {
        let mut row = row.clone();
        row.created_at = self.created_at.unwrap_or(row.created_at);
        row.expires_at = self.expires_at.unwrap_or(row.expires_at);
        row.label = row.label.filter(|_| !self.is_cut);
        row
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl World {
    /// Draws of their own: histories without such a claim are as they would be without these faults.
    fn claim_draw(&self, number: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number))
    }

    fn claims_now(&self, draw: &mut fastrand::Rng, fault: Fault, op: Op, per_mille: u16) -> bool {
        let claims = draw.u16(..1000) < per_mille && self.may_strike(fault);
        if claims {
            self.struck(fault, op);
            self.tell(format!("{fault:?} at {op:?}"));
        }
        claims
    }

    /// What the server shows of a token that is being minted.
    pub(super) fn claims_of_a_mint(
        &self,
        server: usize,
        number: u64,
        created: Time,
        expires: Option<Time>,
    ) -> Claims {
        let mut draw = self.claim_draw(number);
        let mut claims = Claims::default();
        // Some servers claim the same of each token.
        let mut of_server = self.claim_draw((1 << 43) + server as u64);
        let is_usual = of_server.u8(..12) == 0;
        let often = if is_usual { 1000 } else { 60 };
        if self.claims_now(&mut draw, Fault::CreationClaimed, Op::Mint, often) {
            let kind = if is_usual { of_server.u8(..5) } else { draw.u8(..5) };
            claims.created_at = Some(match kind {
                0 => None,
                1 => Some(before(created, CENTURY)),
                2 => Some(after(created, CENTURY)),
                3 => Some(before(created, 5 * HOUR)),
                _ => Some(after(created, 8 * HOUR)),
            });
        }
        if expires.is_some() && self.claims_now(&mut draw, Fault::ExpiryClaimed, Op::Mint, 40) {
            claims.expires_at = Some(match draw.u8(..3) {
                // Before its creation, or beyond the calendar: that counts as none.
                0 => None,
                1 => Some(after(created, Duration::from_secs(1))),
                _ => Some(after(created, Duration::from_secs(draw.u64(60..3600)))),
            });
        }
        claims.is_cut = self.claims_now(&mut draw, Fault::LabelCut, Op::Mint, 25);
        claims
    }

    /// What a list shows besides.
    pub(super) fn claims_of_a_list(&self, server: usize, listing: &mut Listing) {
        let number = self.state().traffic.lists();
        let mut draw = self.claim_draw(number.wrapping_add(1 << 40));
        let date = self.date(server);
        if self.claims_now(&mut draw, Fault::RevocationClaimed, Op::List, 40) {
            let is_wrong = |row: &&mut Listed| row.revoked_at.is_none() && row.label.is_some();
            let wrong = listing.tokens.iter_mut().filter(is_wrong).filter(|_| draw.bool());
            wrong.for_each(|row| row.revoked_at = Some(date));
        }
        if self.claims_now(&mut draw, Fault::RowUnreadable, Op::List, 60) {
            let (odd, fine): (Vec<Listed>, Vec<Listed>) =
                std::mem::take(&mut listing.tokens).into_iter().partition(|_| draw.u8(..3) == 0);
            listing.tokens = fine;
            let fault = |row: Listed| RowFault {
                id: Some(row.id).filter(|_| draw.bool() || row.label.is_none()),
                label: row.label,
                what: "its expiresAt is not a time".into(),
            };
            listing.faults = odd.into_iter().map(fault).collect();
        }
        if self.claims_now(&mut draw, Fault::DateUnreadable, Op::List, 30) {
            listing.date = ServerDate::Unreadable("yesterday".to_owned());
            // By such a list nothing is planned.
            self.state().idle.clear();
        }
    }

    /// Whether a mint that was carried out is answered as if it were refused.
    pub(super) fn is_refused_after_effect(&self, number: u64) -> bool {
        let mut draw = self.claim_draw(number.wrapping_add(1 << 41));
        self.claims_now(&mut draw, Fault::RefusedAfterEffect, Op::Mint, 30)
    }

    /// A request that is turned away for a time, however long.
    pub(super) fn turned_away(&self, op: Op) -> Option<Duration> {
        let number = self.state().traffic.requests();
        let mut draw = self.claim_draw(number.wrapping_add(1 << 42));
        let is_turned_away = self.claims_now(&mut draw, Fault::RetryAfter, op, 25);
        is_turned_away
            .then(|| Duration::from_secs(draw.choice([0, 1, 60, 86_400, u64::MAX >> 12]).unwrap_or(0)))
    }
}
