//! Former tokens: when they may be ended (rules 7, 8 and 9), and when they must be.

use std::time::Duration;

use tokio::time::Instant;

use super::{BASE, Break, State, Token, World};
use crate::model::{Action, Held, Lifecycle, Name, Origin, Record, Retiring, RetiringState, TokenId};

/// What passes between a retirement and its seal, at most.
const MOMENT: Duration = Duration::from_secs(1);
/// A token whose time is over is ended within a look at the server.
const A_LOOK: Duration = Duration::from_secs(5000);

/// What a list may say.
pub(super) fn lifecycle(broken: Break) -> Lifecycle {
    let seconds = |choices: [u64; 4]| Duration::from_secs(fastrand::choice(choices).unwrap_or_default());
    let overlap = seconds([0, 0, 60, 3600]);
    let cap = fastrand::bool().then(|| Duration::from_millis(1) + overlap.max(seconds([0, 30, 600, 7200])));
    let (overlap, overlap_cap) = match broken {
        Break::EndsTooSoon => (Duration::from_secs(3600), Some(Duration::from_secs(7200))),
        _ => (overlap, cap),
    };
    Lifecycle { overlap, overlap_cap, ..Lifecycle::default() }
}

/// Remembers which tokens retire with a change of a record.
pub(super) fn note_retired(state: &mut State, record: &Record) {
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
    pub(in super::super) fn lists<'a>(&self, names: impl Iterator<Item = &'a Name>) {
        self.state().listed = names.cloned().collect();
    }

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

    /// From now on the server's Date is so far ahead, and nothing here tells that it is wrong.
    pub(in super::super) fn jump_ahead(&self, by: Duration) {
        self.state().ahead = by;
    }

    pub(in super::super) fn is_ahead(&self) -> bool {
        !self.state().ahead.is_zero()
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
            state.retired.insert(id, self.start + Duration::from_secs(second.unsigned_abs()));
        }
    }

    fn wait(&self, held: &Held) -> Option<Duration> {
        let week = Duration::from_secs(7 * 24 * 3600);
        let cap = self.lifecycle.overlap_cap.or_else(|| held.expires_at.is_none().then_some(week))?;
        Some(cap.max(self.lifecycle.overlap))
    }

    /// A token is being ended: if it is a former one, its time is over, its successor works and has arrived.
    pub(super) fn check_end(&self, id: &TokenId) {
        let state = self.state();
        let found = state.records.values().find_map(|(record, _)| {
            let held = record.held().find(|held| held.id == *id)?;
            Some((record.clone(), held.clone()))
        });
        let by_hand = state.tokens.get(id).and_then(|token| token.by_hand);
        let Some((record, held)) = found else {
            drop(state);
            if by_hand.is_some() {
                self.broken("rule 8", "a token that was made by hand and is none of ours is ended");
            }
            return;
        };
        let wrong = self.wrong_to_end(&state, &record, &held, by_hand);
        drop(state);
        if let Some((rule, what)) = wrong {
            self.broken(rule, what);
        }
        self.count(if by_hand.is_some() { "an imported token is ended" } else { "a former token is ended" });
    }

    fn wrong_to_end(
        &self,
        state: &State,
        record: &Record,
        held: &Held,
        by_hand: Option<bool>,
    ) -> Option<(&'static str, &'static str)> {
        if by_hand == Some(false) || held.origin == Origin::Inherited {
            return Some(("rule 8", "a token that others use is ended"));
        }
        if !record.retiring.iter().any(|retiring| retiring.held.id == held.id) {
            // A `next` that could not be sealed, as far as could be told; rule 7 looks after current ones.
            return None;
        }
        if !state.listed.contains(&record.name) {
            return Some(("rule 9", "the list does not ask for the name"));
        }
        let Some(wait) = self.wait(held) else {
            return Some(("rule 9", "it has an expiry to live to"));
        };
        let due = state.retired.get(&held.id).map_or_else(Instant::now, |at| *at + wait);
        if Instant::now() + MOMENT < due {
            return Some(("rule 9", "before its time"));
        }
        let Some(current) = &record.current else {
            return Some(("rule 7", "there is no current token"));
        };
        let delivered = (record.generation, current.secret.secret().expose().to_owned());
        if state.delivered.get(&record.name) != Some(&delivered) {
            return Some(("rule 9", "before the new value has arrived"));
        }
        let token = state.tokens.get(&current.id)?;
        if !is_live_everywhere(token) {
            return Some(("rule 7", "its successor does not work"));
        }
        let asked = token.accepted.is_some_and(|at| at + MOMENT >= due);
        (!asked).then_some(("rule 9", "its successor was not asked once more"))
    }

    /// Former tokens that should have been ended by now.
    pub(super) fn overdue(&self, state: &State, record: &Record) -> Vec<String> {
        let is_over = |retiring: &&Retiring| {
            let held = &retiring.held;
            let ours = matches!(held.origin, Origin::Minted | Origin::Imported { exclusive: true });
            let is_live = state.tokens.get(&held.id).is_some_and(|token| token.row.revoked_at.is_none());
            let since = state.retired.get(&held.id).copied().unwrap_or(self.start);
            let over = self.wait(held).is_some_and(|wait| since + wait + A_LOOK < Instant::now());
            ours && retiring.state == RetiringState::Overlap && is_live && over
        };
        let over = record.retiring.iter().filter(is_over);
        over.map(|retiring| format!("{} of {} should have ended", retiring.held.id, record.name)).collect()
    }
}

fn is_live_everywhere(token: &Token) -> bool {
    let now = Instant::now();
    let planes = [(Action::Write, 0), (Action::Read, 1)];
    token.row.revoked_at.is_none()
        && planes.into_iter().all(|(action, plane)| {
            !token.grants.iter().any(|grant| grant.action == action)
                || token.active[plane].iter().all(|at| *at <= now)
        })
}
