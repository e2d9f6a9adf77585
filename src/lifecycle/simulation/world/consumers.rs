//! Those who read tokens and use them: what all this is for. None of them may ever hold one that the server refuses,
//! unless a person ended it.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Deployment, State, Token, World};
use crate::{
    lifecycle::simulation::tamper::Break,
    model::{Grants, Holders, Name, TokenId},
};

/// Somebody who reads a token now and then.
pub(super) struct Consumer {
    name: Name,
    number: u64,
    kind: Kind,
    holds: Option<(u64, TokenId)>,
    /// The longest time to its next look.
    every: Duration,
    next: Instant,
    /// What it uses it for: as the list had it when it looked.
    needs: Grants,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A process that reads over the socket.
    Process,
    /// One that hands on what it reads.
    Relay,
    /// One that has ended after a promote, with the former value: somebody else may have it.
    Revoked,
    /// Who got a value from somebody else, and looks for no other.
    Heir,
}

impl World {
    /// Each name has a few.
    pub(in super::super) fn settle_consumers(&self) {
        let names: Vec<Name> = self.state().specs.keys().cloned().collect();
        for name in names {
            let has = self.state().consumers.iter().any(|consumer| consumer.name == name);
            if !has {
                for _ in 0..fastrand::usize(1..=3) {
                    self.begin_consumer(&name);
                }
            }
            // Whoever has a list say other times sees to it that what reads the token can follow.
            let patience = self.patience(&name);
            let mut state = self.state();
            for consumer in state.consumers.iter_mut().filter(|consumer| consumer.name == name) {
                consumer.every = consumer.every.min(patience);
                consumer.next = consumer.next.min(Instant::now() + patience);
            }
        }
    }

    fn begin_consumer(&self, name: &Name) {
        let longest = self.patience(name);
        let every = fastrand::choice([longest, longest / 2, Duration::from_secs(1).min(longest)]);
        let mut state = self.state();
        let number = state.consumers.iter().map(|consumer| consumer.number).max().unwrap_or(0) + 1;
        let kind = if fastrand::u8(..6) == 0 { Kind::Relay } else { Kind::Process };
        let (name, needs) = (name.clone(), Grants::default());
        let every = every.unwrap_or(longest);
        state.consumers.push(Consumer {
            name,
            number,
            kind,
            holds: None,
            every,
            next: Instant::now(),
            needs,
        });
    }

    /// For how long a consumer may go without a look: an overlap is guaranteed, and a grace.
    fn patience(&self, name: &Name) -> Duration {
        let state = self.state();
        let lifetime = state.specs.get(name).and_then(|spec| spec.lifetime);
        let cap = self
            .lifecycle
            .overlap_cap
            .unwrap_or(Duration::from_secs(7 * 24 * 3600))
            .max(self.lifecycle.overlap);
        // A schedule that was suspended leaves this much.
        let room = self.lifecycle.overlap + Duration::from_secs(600);
        let least = if lifetime.is_some() { cap.min(room) } else { cap };
        least.min(self.lifecycle.grace).mul_f64(0.9)
    }

    /// Everybody who had a look to take has taken it.
    pub(super) fn look_around(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let state = &mut *state;
        let mut wrong = None;
        for consumer in &mut state.consumers {
            if consumer.next > now || consumer.kind == Kind::Revoked {
                continue;
            }
            wrong = wrong.or(self.expired(&state.deployments, &state.tokens, consumer, consumer.next));
            consumer.holds = match consumer.kind {
                Kind::Heir => None,
                _ => state.delivered.get(&consumer.name).map(|(generation, id, _)| (*generation, id.clone())),
            };
            if let Some(spec) = state.specs.get(&consumer.name) {
                consumer.needs = spec.grants.clone();
            }
            consumer.next = now + consumer.every.mul_f64(0.2 + 0.8 * fastrand::f64());
        }
        state.consumers.retain(|consumer| consumer.kind != Kind::Heir || consumer.holds.is_some());
        let wrong = wrong.filter(|id| !self.is_excused(state, id));
        if let Some(id) = wrong {
            let told = format!("{id} expired in somebody's hands");
            // The state is locked.
            panic!("consumers: {told} (seed {})\n{}", self.seed, state.history.join("\n"));
        }
    }

    fn expired(
        &self,
        deployments: &[Deployment],
        tokens: &std::collections::BTreeMap<TokenId, Token>,
        consumer: &Consumer,
        at: Instant,
    ) -> Option<TokenId> {
        let (_, id) = consumer.holds.as_ref()?;
        let expires = tokens.get(id)?.expires(self, deployments)?;
        (expires <= at).then(|| id.clone())
    }

    /// What a person did, or what nobody here can mend.
    fn is_excused(&self, state: &State, id: &TokenId) -> bool {
        let by_person = state.tokens.get(id).is_some_and(|token| token.by_person || token.is_neglected);
        let wanted = state
            .records
            .values()
            .any(|(record, _)| state.is_wanted(&record.name) && record.held().any(|held| held.id == *id));
        by_person || state.restored || !wanted
    }

    /// A token is being ended: nobody holds it.
    pub(super) fn check_holders(&self, id: &TokenId) {
        self.look_around();
        let state = self.state();
        if self.is_excused(&state, id) {
            return;
        }
        let holds = |consumer: &&Consumer| {
            consumer.kind != Kind::Revoked && consumer.holds.as_ref().is_some_and(|(_, held)| held == id)
        };
        let holder = state.consumers.iter().find(holds).map(Consumer::in_words);
        let is_delivered = state.delivered.values().any(|(_, delivered, _)| delivered == id);
        drop(state);
        if is_delivered {
            self.breaks("consumers", &format!("{id} is ended and still delivered"));
        }
        if let Some(holder) = holder {
            self.breaks("consumers", &format!("{id} is ended in the hands of {holder}"));
        }
    }

    /// A token is being changed: whoever holds it can go on.
    pub(super) fn check_needs(&self, id: &TokenId, grants: &Grants) {
        self.look_around();
        let state = self.state();
        // What a stranger took before is not lost by this.
        let has = state.tokens.get(id).and_then(|token| token.row.grants.as_ref());
        let lacks = |consumer: &&Consumer| {
            consumer.kind != Kind::Revoked
                && consumer.holds.as_ref().is_some_and(|(_, held)| held == id)
                && has.is_some_and(|has| has.cover(&consumer.needs))
                && !grants.cover(&consumer.needs)
        };
        let holder = state.consumers.iter().find(lacks).map(Consumer::in_words);
        let is_excused = state.restored;
        drop(state);
        if let Some(holder) = holder.filter(|_| !is_excused) {
            self.breaks("consumers", &format!("{id} loses what {holder} needs"));
        }
    }

    /// What a daemon can know.
    pub(in super::super) fn holders(&self, name: &Name, generation: u64) -> Holders {
        self.look_around();
        let state = self.state();
        let complete_from = Some(state.seen_from.get(name).copied().unwrap_or(1));
        if self.broken == Break::SeesNoHolders {
            return Holders { known: BTreeSet::new(), complete_from };
        }
        let has_older = |consumer: &&Consumer| {
            consumer.name == *name
                && consumer.kind != Kind::Heir
                && consumer.holds.as_ref().is_some_and(|(held, _)| *held < generation)
        };
        let known = state.consumers.iter().filter(has_older).map(Consumer::in_words).collect();
        Holders { known, complete_from }
    }

    /// One of them does not look again for as long as it may.
    pub(super) fn stick(&self) -> bool {
        let names: Vec<Name> = self.state().specs.keys().cloned().collect();
        let Some(name) = fastrand::choice(names) else { return false };
        let patience = self.patience(&name);
        let mut state = self.state();
        let Some(at) = fastrand::choice(processes(&state, &name)) else { return false };
        let until = last_look(&state, &state.consumers[at], patience);
        let one = &mut state.consumers[at];
        one.next = one.next.max(until);
        true
    }

    /// One of them ends, and another begins. What it had may be in somebody else's hands.
    pub(super) fn end_consumer(&self) -> bool {
        let names: Vec<Name> = self.state().specs.keys().cloned().collect();
        let Some(name) = fastrand::choice(names) else { return false };
        let patience = self.patience(&name);
        let mut state = self.state();
        let current = state.delivered.get(&name).map(|(generation, ..)| *generation);
        let Some(at) = fastrand::choice(processes(&state, &name)) else { return false };
        let until = last_look(&state, &state.consumers[at], patience);
        let mut ended = state.consumers.remove(at);
        let has_former = ended.holds.as_ref().is_some_and(|(held, _)| current.is_some_and(|now| *held < now));
        if has_former {
            let (name, holds, needs) = (ended.name.clone(), ended.holds.clone(), ended.needs.clone());
            let number = ended.number;
            ended.kind = Kind::Revoked;
            state.consumers.push(ended);
            state.consumers.push(Consumer {
                name,
                number,
                kind: Kind::Heir,
                holds,
                every: patience,
                next: until,
                needs,
            });
        }
        drop(state);
        self.begin_consumer(&name);
        true
    }

    /// Nobody lives through a boot.
    pub(super) fn end_all_consumers(&self) {
        let mut state = self.state();
        state.consumers.clear();
        state.delivered.clear();
        state.arrived.clear();
    }
}

/// Where the processes are that read this name.
fn processes(state: &State, name: &Name) -> Vec<usize> {
    let is_one = |one: &Consumer| one.name == *name && one.kind == Kind::Process;
    let ones = state.consumers.iter().enumerate();
    ones.filter(|(_, one)| is_one(one)).map(|(at, _)| at).collect()
}

/// The last moment at which a consumer may look that goes without for as long as it may: who has a former value has until
/// that one's end, counted from when its own successor arrived; who has the current one has longer.
fn last_look(state: &State, one: &Consumer, patience: Duration) -> Instant {
    let superseded = one.holds.as_ref().and_then(|(_, id)| state.superseded.get(id));
    let arrived = superseded.or(state.arrived.get(&one.name)).copied().unwrap_or_else(Instant::now);
    (arrived + patience).max(Instant::now())
}

impl Consumer {
    fn in_words(&self) -> String {
        let generation = self.holds.as_ref().map(|(generation, _)| *generation).unwrap_or_default();
        format!("{:?} {} of {} with generation {generation}", self.kind, self.number, self.name)
    }
}
