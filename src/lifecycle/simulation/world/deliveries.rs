//! What consumers can get.

use std::{io, time::Duration};

use tokio::time::Instant;

use super::{World, ends::is_live_everywhere};
use crate::{
    deliver::{DeliverError, Delivered, Delivery},
    lifecycle::simulation::{
        faults::{Fault, Op},
        tamper::Break,
    },
    model::{Held, Name, Revoked, after},
};

impl World {
    pub(in super::super) fn would_change(&self, delivery: &Delivery<'_>) -> bool {
        let state = self.state();
        let there = state.delivered.get(delivery.name);
        match delivery.secret {
            None => there.is_some(),
            Some(credential) => there.is_none_or(|(generation, _, secret)| {
                *generation != delivery.generation || !credential.secret().is(secret.as_bytes())
            }),
        }
    }

    /// Which value consumers have.
    pub(in super::super) fn generation_of(&self, name: &Name) -> Option<u64> {
        self.state().delivered.get(name).map(|(generation, ..)| *generation)
    }

    pub(in super::super) fn deliver(&self, delivery: &Delivery<'_>) -> Result<Delivered, DeliverError> {
        self.changes_something("a delivery");
        if self.strikes(Fault::DeliveryFailed, Op::Deliver, 100) {
            let source = io::ErrorKind::StorageFull.into();
            return Err(DeliverError { name: delivery.name.clone(), what: "cannot write".into(), source });
        }
        let Some(credential) = delivery.secret else {
            self.state().delivered.remove(delivery.name);
            return Ok(Delivered::Done);
        };
        if self.broken == Break::DeliversOnce && delivery.generation > 1 {
            return Ok(Delivered::Done);
        }
        let secret = credential.secret().expose().to_owned();
        let (is_sealed, works, is_urgent, id) = {
            let state = self.state();
            let sealed = state.records.get(delivery.name).map(|(record, _)| record);
            let is_urgent = sealed.is_some_and(|record| {
                let soon = |held: &Held| after(self.date_at(&state, &held.server), Duration::from_secs(3600));
                let expires_soon = |held: &Held| held.expires_at.is_some_and(|at| at < soon(held));
                let former = record.retiring.iter().max_by_key(|retiring| retiring.generation);
                // One that was found gone a moment ago had no more time, either.
                let is_late = |revoked: &Revoked| {
                    let date = self.date_at(&state, &revoked.server);
                    date.duration_since(revoked.at).unsigned_abs() < Duration::from_secs(60)
                };
                record.unprobed
                    && (former.is_some_and(|retiring| expires_soon(&retiring.held))
                        || record.revoked.iter().any(is_late))
            });
            let is_sealed = sealed.into_iter().chain(state.unheard.get(delivery.name)).any(|record| {
                record.generation == delivery.generation
                    && record.current.as_ref().is_some_and(|held| held.secret == *credential)
            });
            let promoted = state.promoted.get(delivery.name);
            let promoted = promoted.filter(|(generation, _)| *generation == delivery.generation);
            let promoted = promoted.map(|(_, grants)| grants.clone());
            let known = || sealed.and_then(|record| Some(record.current.as_ref()?.grants.clone()));
            let grants = promoted.or_else(known).unwrap_or_default();
            let token = state.tokens.iter().find(|(_, token)| token.secret == secret);
            // One that has ended meanwhile was active once; one that a stranger altered is what it is.
            let works = token.is_some_and(|(_, token)| {
                token.by_person
                    || !self.lives(&state, token)
                    || is_live_everywhere(self.date_in(&state, token.server), token, &grants)
            });
            (is_sealed, works, is_urgent, token.map(|(id, _)| id.clone()))
        };
        if !is_sealed {
            self.breaks("rule 1", "what is delivered is not what is sealed as current");
        }
        // A clock that is ahead tells that the former token is about to end, or the server claims it: better one that was not
        // probed than none.
        let Some(id) = id.filter(|_| works || is_urgent || self.is_ahead()) else {
            self.breaks("rule 6", "delivered before every replica knows it");
        };
        self.tell(format!("deliver {} generation {}", delivery.name, delivery.generation));
        let mut state = self.state();
        state.superseded.remove(&id);
        state.had.insert(id.clone());
        let replaced = state.delivered.insert(delivery.name.clone(), (delivery.generation, id, secret));
        if let Some((_, former, _)) = replaced.filter(|(generation, ..)| *generation < delivery.generation) {
            state.superseded.insert(former, Instant::now());
            state.arrived.insert(delivery.name.clone(), Instant::now());
        }
        Ok(Delivered::Done)
    }
}
