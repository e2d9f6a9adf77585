//! When tokens may be ended (rules 7, 8, 9, 11 and 20), and when they must be.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{BASE, State, Token, World};
use crate::{
    lifecycle::simulation::tamper::Break,
    model::{
        Action, Grants, Held, Lifecycle, Name, Origin, Pickup, Record, Retiring, RetiringState, Time, TokenId,
    },
};

/// What passes between a change and its seal, at most.
const MOMENT: Duration = Duration::from_secs(1);
/// A token whose time is over is ended within a look at the server.
const A_LOOK: Duration = Duration::from_secs(5000);
/// A value that arrives later than this after its promotion has the whole overlap before it.
const LATE: Duration = Duration::from_secs(1);
/// So long an acceptance is believed.
const A_WHILE: Duration = Duration::from_secs(660);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl State {
    /// Whether the list asks for a name, and has for a moment: what was on its way before cannot be called back.
    pub(super) fn is_wanted(&self, name: &Name) -> bool {
        let just_came = self.came.get(name).is_some_and(|at| *at + MOMENT > Instant::now());
        self.specs.contains_key(name) && !(just_came && self.left.contains_key(name))
    }
}

/// Remembers which tokens retire with a change of a record, and what a promoted one may do.
pub(super) fn note_retired(state: &mut State, record: &Record) {
    let known = state.records.get(&record.name).map_or(0, |(known, _)| known.generation);
    if let Some(current) = record.current.as_ref().filter(|_| record.generation > known) {
        state.promoted.insert(record.name.clone(), (record.generation, current.grants.clone()));
    }
    let retires =
        |record: &Record, id: &TokenId| record.retiring.iter().any(|retiring| retiring.held.id == *id);
    let before = state.records.get(&record.name).map(|(record, _)| record.clone());
    for Retiring { held, .. } in &record.retiring {
        if !before.as_ref().is_some_and(|before| retires(before, &held.id)) {
            state.retired.insert(held.id.clone(), Instant::now());
        }
    }
}

impl World {
    /// What keepers are told of the list.
    pub(in super::super) fn lifecycle_of_keepers(&self) -> Lifecycle {
        match self.broken {
            Break::EndsTooSoon => Lifecycle {
                overlap: Duration::ZERO,
                overlap_cap: Some(Duration::from_millis(1)),
                ..self.lifecycle.clone()
            },
            _ => self.lifecycle.clone(),
        }
    }

    /// After a backup was restored, what it says of retirements is all there is.
    pub(super) fn forget_retirements(&self, state: &mut State) {
        let all: Vec<_> = state
            .records
            .values()
            .flat_map(|(record, _)| record.retiring.iter())
            .map(|retiring| (retiring.held.id.clone(), retiring.since.as_second() - BASE))
            .collect();
        for (id, second) in all {
            let at = self.start + Duration::from_secs(second.unsigned_abs());
            // By a clock that was ahead it would be yet to come.
            if at <= Instant::now() {
                state.retired.insert(id, at);
            }
        }
    }

    fn wait(&self, state: &State, held: &Held) -> Option<Duration> {
        let week = 7 * DAY;
        let stays =
            held.expires_at.is_none() || state.tokens.get(&held.id).is_some_and(|token| token.outlives);
        let cap = self.lifecycle.overlap_cap.or_else(|| stays.then_some(week))?;
        Some(cap.max(self.lifecycle.overlap))
    }

    /// A token is being ended by the keeper: whatever it is, that must be right.
    pub(super) fn check_end(&self, id: &TokenId) {
        let state = self.state();
        let found = state.records.values().find_map(|(record, _)| {
            let held = record.held().find(|held| held.id == *id)?;
            Some((record.clone(), held.clone()))
        });
        let token = state.tokens.get(id);
        let by_hand = token.and_then(|token| token.by_hand);
        let by_person = token.is_some_and(|token| token.by_person);
        let is_former = found
            .as_ref()
            .is_some_and(|(record, _)| record.retiring.iter().any(|retiring| retiring.held.id == *id));
        let Some((record, held)) = found else {
            let again = by_hand == Some(true) && state.end_asked.contains(id);
            drop(state);
            if again {
                self.count("a revocation is repeated");
            } else if by_hand.is_some() {
                self.breaks("rule 8", "a token that was made by hand and is none of ours is ended");
            }
            return;
        };
        let left = state.left.get(&record.name).map(|(at, _)| *at);
        // What was planned before goes on: an overlap that is over is over.
        let just_left = left.is_some_and(|at| at + MOMENT > Instant::now());
        let is_back = state.specs.contains_key(&record.name);
        let is_listed = state.is_wanted(&record.name) || is_former && (just_left || is_back);
        drop(state);
        let again = !self.state().end_asked.insert(id.clone());
        if by_hand == Some(false) || held.origin == Origin::Inherited {
            self.breaks("rule 8", "a token that others use is ended");
        }
        let is_current = record.current.as_ref().is_some_and(|current| current.id == *id);
        if is_former && !self.state().had.contains(id) {
            self.count("a token that nobody had is revoked");
        } else if !is_listed {
            self.check_removal(&record);
        } else if is_current && !by_person {
            self.breaks("rule 7", "the current token is ended");
        } else if is_former && !by_person && !again {
            self.check_former(&record, &held);
        }
        if by_hand.is_some() {
            self.count("an imported token is ended");
        }
    }

    /// Rules 7 and 9.
    fn check_former(&self, record: &Record, held: &Held) {
        let state = self.state();
        let retired = state.retired.get(&held.id).copied().unwrap_or_else(Instant::now);
        let arrived = state.superseded.get(&held.id).copied().filter(|at| *at > retired + LATE);
        // A restored backup tells of other arrivals, and nobody lives through a boot.
        let counts = !state.restored && state.booted_at.is_none_or(|at| at < retired);
        let arrived = arrived.filter(|_| counts);
        let listed = state.specs.get(&record.name).map(|spec| spec.pickup);
        let pickup = listed.or(state.left.get(&record.name).map(|(_, pickup)| *pickup));
        let is_proven = pickup == Some(Pickup::Proven);
        let wait = self.wait(&state, held);
        let least = if is_proven { Some(self.lifecycle.overlap) } else { wait };
        let due = least.map(|least| arrived.unwrap_or(retired) + least);
        let is_early = wait.is_none_or(|wait| Instant::now() + MOMENT < retired + wait);
        let wrong = due.map_or(Some(("rule 9", "it has an expiry to live to")), |due| {
            self.wrong_to_end(&state, record, due)
        });
        drop(state);
        if let Some((rule, what)) = wrong {
            let seconds = |at: Instant| (at - self.start).as_secs_f64();
            self.tell(format!(
                "{} of {} retired at {:.3}, its successor arrived at {:?}, it may end at {:?}",
                held.id,
                record.name,
                seconds(retired),
                arrived.map(seconds),
                due.map(seconds)
            ));
            self.breaks(rule, what);
        }
        self.count(if is_early { "a former token is ended early" } else { "a former token is ended" });
        if arrived.is_some() {
            self.count("a late value has its whole overlap");
        }
    }

    fn wrong_to_end(
        &self,
        state: &State,
        record: &Record,
        due: Instant,
    ) -> Option<(&'static str, &'static str)> {
        if Instant::now() + MOMENT < due {
            return Some(("rule 9", "before its time"));
        }
        let Some(current) = &record.current else {
            return Some(("rule 7", "there is no current token"));
        };
        if state.delivered.get(&record.name).map(|(generation, id, _)| (*generation, id))
            != Some((record.generation, &current.id))
        {
            return Some(("rule 9", "before the new value has arrived"));
        }
        let token = state.tokens.get(&current.id)?;
        // It may have been ended, or taken from, after it was asked.
        let date = self.date_in(state);
        let lately = |at: Time| date.duration_since(at).unsigned_abs() < A_WHILE;
        if token.by_person && token.row.revoked_at.is_none_or(lately) {
            return None;
        }
        if !is_live_everywhere(self.date_in(state), token, &current.grants) {
            return Some(("rule 7", "its successor does not work"));
        }
        let asked = token.accepted.is_some_and(|at| at + MOMENT >= due);
        (!asked).then_some(("rule 9", "its successor was not asked once more"))
    }

    /// Rules 11 and 20.
    fn check_removal(&self, record: &Record) {
        let mut state = self.state();
        let now = Instant::now();
        let left = state.left.get(&record.name).map(|(at, _)| *at);
        // A restored backup knows of no list before it.
        let is_over = left.is_none_or(|left| now + MOMENT >= left + self.lifecycle.grace) || state.restored;
        // What a person has confirmed counts against no other.
        if !state.confirmed.contains(&record.name) {
            state.ended_for_removal.push((record.name.clone(), now));
        }
        state.ended_for_removal.retain(|(_, at)| *at + DAY > now);
        let ended: BTreeSet<Name> = state.ended_for_removal.iter().map(|(name, _)| name.clone()).collect();
        // One whose last token went within the day is a record still.
        let date = self.date_in(&state);
        let lately = |at: Time| date.duration_since(at).unsigned_abs() < DAY;
        let counts = |record: &Record| {
            let has_ended =
                ended.contains(&record.name) || record.revoked.iter().any(|ended| lately(ended.at));
            record.held().next().is_some() || has_ended
        };
        let all = state.records.values().filter(|(record, _)| counts(record)).count();
        let many = ended.len() >= 3 && ended.len() * 2 > all;
        let confirmed = state.confirmed.contains(&record.name);
        // Of what was sealed in another boot under a wrong date nobody knows when it was.
        let exempt = state.restored || state.jumped && state.boot > 0;
        for held in record.held() {
            if let Some(token) = state.tokens.get_mut(&held.id) {
                token.by_person = true;
            }
        }
        drop(state);
        if !is_over {
            self.breaks("rule 20", "before its grace is over");
        }
        if many && !confirmed && !exempt {
            self.breaks("rule 11", "so many ends need a person's word");
        }
        self.count("a removed token is ended");
    }

    /// Former tokens that should have been ended by now.
    pub(super) fn overdue(&self, state: &State, record: &Record) -> Vec<String> {
        let arrived = state.arrived.get(&record.name).copied();
        let date = self.date_in(state);
        let is_over = |retiring: &&Retiring| {
            let held = &retiring.held;
            let is_live = state.tokens.get(&held.id).is_some_and(|token| token.works_at(date));
            let since =
                state.retired.get(&held.id).copied().unwrap_or(self.start).max(arrived.unwrap_or(self.start));
            let was_had = state.had.contains(&held.id) || state.restored;
            let wait = if was_had { self.wait(state, held) } else { Some(Duration::ZERO) };
            let over = wait.is_some_and(|wait| since + wait + A_LOOK < Instant::now());
            held.origin.is_ours() && retiring.state != RetiringState::Absent && is_live && over
        };
        let over = record.retiring.iter().filter(is_over);
        over.map(|retiring| format!("{} of {} should have ended", retiring.held.id, record.name)).collect()
    }
}

/// For what the store knows that it may do.
pub(super) fn is_live_everywhere(date: Time, token: &Token, grants: &Grants) -> bool {
    let now = Instant::now();
    let planes = [(Action::Write, 0), (Action::Read, 1)];
    token.works_at(date)
        && planes.into_iter().all(|(action, plane)| {
            !grants.iter().any(|grant| grant.action == action)
                || token.active[plane].iter().all(|at| *at <= now)
        })
}
