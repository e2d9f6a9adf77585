//! When tokens may be ended (rules 7, 8, 9, 11 and 20), and when they must be.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{BASE, State, Token, World};
use crate::{
    lifecycle::simulation::tamper::Break,
    model::{
        Action, Database, Grants, Held, Lifecycle, Name, Origin, Pickup, Record, Retiring, RetiringState,
        Time, TokenId,
    },
};

/// What passes between a change and its seal, at most.
pub(super) const MOMENT: Duration = Duration::from_secs(1);
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
        // By whichever server's clock that was.
        let latest = state.deployments.iter().map(|deployment| deployment.offset).max().unwrap_or_default();
        let all: Vec<_> = state
            .records
            .values()
            .flat_map(|(record, _)| record.retiring.iter())
            .map(|retiring| (retiring.held.id.clone(), retiring.since.as_second() - BASE - latest))
            .collect();
        for (id, second) in all {
            let at = self.start + Duration::from_secs(u64::try_from(second).unwrap_or_default());
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
            let again = state.end_asked.contains(id);
            // Found gone, and alive all the same.
            let is_known = |record: &Record| record.revoked.iter().any(|one| one.id == *id && one.is_ours);
            let was_ours = state.records.values().any(|(record, _)| is_known(record));
            let is_due = token.is_none_or(|token| may_revoke_stray(&state, token));
            drop(state);
            if by_hand.is_some() && !(by_hand == Some(true) && (again || was_ours)) {
                self.breaks("rule 8", "a token that was made by hand and is none of ours is ended");
            }
            if !is_due {
                self.breaks("rule 3", "a stray is revoked before its name has a token that works");
            }
            if again {
                self.count("a revocation is repeated");
            }
            return;
        };
        let is_read = !state.unreadable.contains(&record.name) && !state.later.contains(&record.name);
        // As far as is known here it could not be sealed.
        let is_unsealed =
            state.unheard_mints.contains(id) && record.next.as_ref().is_some_and(|next| next.id == *id);
        let left = state.left.get(&record.name).map(|(at, _)| *at);
        // What was planned before goes on: an overlap that is over is over.
        let just_left = left.is_some_and(|at| at + MOMENT > Instant::now());
        let is_back = state.specs.contains_key(&record.name);
        let is_listed = state.is_wanted(&record.name) || is_former && (just_left || is_back);
        let is_sealed = !is_former
            || record
                .retiring
                .iter()
                .any(|retiring| retiring.held.id == *id && retiring.state == RetiringState::Revoking);
        drop(state);
        if is_unsealed {
            self.state().end_asked.insert(id.clone());
            return;
        }
        if !is_read {
            self.breaks("rule 3", "a token is revoked whose record cannot be read");
        }
        if !is_sealed {
            self.breaks("rule 9", "before it is sealed that it is about to be");
        }
        let again = !self.state().end_asked.insert(id.clone());
        if by_hand == Some(false) || held.origin == Origin::Inherited {
            self.breaks("rule 8", "a token that others use is ended");
        }
        let is_current = record.current.as_ref().is_some_and(|current| current.id == *id);
        // As a backup tells, nobody had these: they go the way of strays.
        let was_never_one = |retiring: &Retiring| retiring.held.id == *id && retiring.generation == 0;
        let is_as_stray = self.state().restored && record.retiring.iter().any(was_never_one);
        if is_former && (is_as_stray || !self.state().had.contains(id)) {
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
        // Where the last list told no date, this host's clock has told when it retired: through a boot nothing else does.
        let is_by_date = state.booted_at.is_some_and(|at| at > retired);
        let apart = state.deployments.iter().map(|deployment| deployment.offset.unsigned_abs()).max();
        let apart = Duration::from_secs(apart.filter(|_| is_by_date).unwrap_or_default());
        let due = least.map(|least| arrived.unwrap_or(retired) + least.saturating_sub(apart));
        let is_early = wait.is_none_or(|wait| Instant::now() + MOMENT < retired + wait);
        let wrong = due.map_or(Some(("rule 9", "it has an expiry to live to")), |due| {
            self.wrong_to_end(&state, record, held, due)
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
        held: &Held,
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
        let date = self.date_in(state, token.server);
        let lately = |at: Time| date.duration_since(at).unsigned_abs() < A_WHILE;
        if token.by_person && token.row.revoked_at.is_none_or(lately) {
            return None;
        }
        // What it was given later is not probed.
        let promoted = state.promoted.get(&record.name);
        let promoted = promoted.filter(|(generation, _)| *generation == record.generation);
        let grants = promoted.map_or(&current.grants, |(_, grants)| grants);
        if !is_live_everywhere(date, token, grants) {
            return Some(("rule 7", "its successor does not work"));
        }
        // On another server nobody asks it from here.
        let asked = token.accepted.is_some_and(|at| current.server != held.server || at + MOMENT >= due);
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
        let date = self.now();
        let lately = |at: Time| date.duration_since(at).unsigned_abs() < DAY;
        let counts = |record: &Record| {
            if state.unreadable.contains(&record.name) {
                return true;
            }
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
        let is_over = |retiring: &&Retiring| {
            let held = &retiring.held;
            let is_live = state.tokens.get(&held.id).is_some_and(|token| self.lives(state, token));
            let since =
                state.retired.get(&held.id).copied().unwrap_or(self.start).max(arrived.unwrap_or(self.start));
            let was_had = state.had.contains(&held.id) || state.restored;
            let wait = if was_had { self.wait(state, held) } else { Some(Duration::ZERO) };
            let over = wait.is_some_and(|wait| since + wait + A_LOOK < Instant::now());
            held.origin.is_ours()
                && state.names(&held.server)
                && retiring.state != RetiringState::Absent
                && is_live
                && over
        };
        let over = record.retiring.iter().filter(is_over);
        over.map(|Retiring { held, state, .. }| match state {
            RetiringState::Unused => format!("{} of {} that nobody had lives", held.id, record.name),
            _ => format!("{} of {} should have ended", held.id, record.name),
        })
        .collect()
    }
}

/// Rule 3. Of one that nobody has had the secret of, it does not matter what its name has.
fn may_revoke_stray(state: &State, token: &Token) -> bool {
    let Some(label) = &token.row.label else { return true };
    let was_never_had = token.claims.is_cut || state.answered.contains(&token.row.id);
    let key = (token.server, label.name.clone());
    let is_wanted = state.specs.contains_key(&label.name) && state.listed.contains(&key);
    was_never_had
        || !is_wanted
        || state.stood.contains(&key)
        || state.records.get(&label.name).is_some_and(|(record, _)| stands(state, record))
}

/// Whether its current token has been accepted and has arrived.
fn stands(state: &State, record: &Record) -> bool {
    let Some(current) = record.current.as_ref().filter(|_| !record.unprobed) else { return false };
    let delivered = state.delivered.get(&record.name).map(|(generation, id, _)| (*generation, id));
    delivered == Some((record.generation, &current.id))
        && state.tokens.get(&current.id).is_some_and(|token| token.accepted.is_some())
}

/// So many lists show that a former token should be current again before that is a fault: the first may have been asked for
/// before, and a pass that was made meanwhile may have rested on it.
const LISTS: u32 = 3;

impl World {
    /// A list is asked for: what it is to be judged by.
    pub(super) fn look_at_records(&self, server: usize) {
        let mut state = self.state();
        let standing = state.records.values().filter(|(record, _)| stands(&state, record));
        let standing: Vec<_> = standing.map(|(record, _)| (server, record.name.clone())).collect();
        let listed: Vec<_> = state.specs.keys().map(|name| (server, name.clone())).collect();
        state.stood.retain(|(of, _)| *of != server);
        state.stood.extend(standing);
        state.listed.retain(|(of, _)| *of != server);
        state.listed.extend(listed);
        let idle: BTreeSet<TokenId> =
            state.records.values().filter_map(|(record, _)| self.reinstatable(&state, record)).collect();
        state.idle.retain(|id, _| idle.contains(id));
        let idle = idle.into_iter().filter(|id| state.tokens[id].server == server).collect::<Vec<_>>();
        let mut longest = 0;
        for id in idle {
            let lists = state.idle.entry(id).or_default();
            *lists += 1;
            longest = longest.max(*lists);
        }
        drop(state);
        if longest > LISTS {
            self.breaks("rule 4", "a former token that works is not current again");
        }
    }

    /// A former token of a name without a current one that the data plane has accepted for all that it may do.
    fn reinstatable(&self, state: &State, record: &Record) -> Option<TokenId> {
        let is_read = !state.unreadable.contains(&record.name) && !state.later.contains(&record.name);
        if record.current.is_some() || !state.is_wanted(&record.name) || !is_read || state.is_ahead() {
            return None;
        }
        let spec = state.specs.get(&record.name)?;
        let date = self.date_at(state, &spec.key);
        let works = |retiring: &&Retiring| {
            let held = &retiring.held;
            let is_kept = match retiring.state {
                RetiringState::Overlap | RetiringState::Absent => true,
                RetiringState::Unused => !held.origin.is_ours(),
                RetiringState::Revoking => false,
            };
            let is_old = date.duration_since(held.created_at) > jiff::SignedDuration::from_secs(600);
            let accepted = |token: &Token| {
                held.grants.iter().all(|grant| {
                    token.streak.iter().any(|accepted| {
                        accepted.action == grant.action
                            && (grant.database == Database::All || accepted.database == grant.database)
                    })
                })
            };
            let token = state.tokens.get(&held.id);
            is_kept
                && is_old
                && held.server == spec.key
                && token.is_some_and(|token| token.works_at(date) && accepted(token))
        };
        record.retiring.iter().find(works).map(|retiring| retiring.held.id.clone())
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
