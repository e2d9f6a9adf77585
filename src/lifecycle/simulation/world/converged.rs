//! How everything must be once no fault has struck for a while.

use std::collections::BTreeSet;

use super::{State, Token, World};
use crate::model::{ServerKey, TokenId};

impl State {
    /// Whether the list names the server, and what the server's list lacks is known not to exist: a list of the caller's own
    /// shows that it is one by a token of ours.
    fn can_tell(&self, key: &ServerKey) -> bool {
        self.named.values().filter(|server| self.key(**server) == key).any(|server| {
            let is_ours =
                |token: &Token| token.server == *server && token.row.label.is_some() && !token.foreign;
            let list = self.deployments[*server].descriptor.list;
            list.proves_absence(|| self.tokens.values().any(is_ours))
        })
    }
}

impl World {
    /// Every wanted name has a token that works and is delivered, and nothing else of ours lives.
    pub(in super::super) fn assert_converged(&self) {
        self.carry_out_late();
        self.look_around();
        let state = self.state();
        let mut wanted: BTreeSet<&TokenId> = BTreeSet::new();
        let mut wrong = Vec::new();
        for (name, spec) in &state.specs {
            let Some((record, _)) = state.records.get(name) else {
                wrong.push(format!("{name} has no record"));
                continue;
            };
            let current = record.current.as_ref();
            let token = current.and_then(|held| Some((held, state.tokens.get(&held.id)?)));
            match token {
                Some((held, token)) if self.lives(&state, token) && held.server == spec.key => {
                    let delivered = state.delivered.get(name).map(|(generation, id, _)| (*generation, id));
                    if delivered != Some((record.generation, &held.id)) {
                        wrong.push(format!("{name} is not delivered"));
                    }
                    if token.grants != spec.grants && !state.jumped {
                        wrong.push(format!("{name} has {} and should have {}", token.grants, spec.grants));
                    }
                }
                other => wrong.push(format!("{name} has no current token that works: {:?}", other.is_some())),
            }
            wanted.extend(record.held().map(|held| &held.id));
            if !state.jumped {
                wrong.extend(self.overdue(&state, record));
            }
            // A deadline of a time when the date was ahead has not passed yet, and of one at an address that the list does
            // not name any more nobody can tell.
            if record.intents.iter().any(|intent| state.can_tell(&intent.server)) && !state.jumped {
                wrong.push(format!("{name} has open intents"));
            }
        }
        for (name, (record, _)) in state.records.iter().filter(|(name, _)| !state.specs.contains_key(*name)) {
            // Nobody else's, and not kept in case it comes back.
            let lives = |id: &TokenId| state.tokens.get(id).is_some_and(|token| self.lives(&state, token));
            let ours = record
                .held()
                .filter(|held| held.origin.is_ours() && lives(&held.id) && state.names(&held.server));
            let brought = record.generation == 0 && record.retiring.is_empty();
            if !brought && !state.jumped {
                wrong.extend(ours.map(|held| format!("{} of {name}, which left the list, lives", held.id)));
            }
            wanted.extend(record.held().map(|held| &held.id));
            // Of what is on a server that the list does not name any more nobody takes care.
            let is_out_of_reach = record.held().any(|held| !state.names(&held.server));
            if state.delivered.contains_key(name) && !state.jumped && !is_out_of_reach {
                wrong.push(format!("{name} left the list and is delivered"));
            }
        }
        for (id, token) in &state.tokens {
            if token.foreign && token.row.revoked_at.is_some() {
                wrong.push(format!("{id} is somebody else's and was ended"));
            }
            // After a restored backup, or beside a twin, there are tokens that no record knows: they are reported.
            // One that was cut and whose answer was lost nobody finds.
            let is_known =
                token.foreign || token.by_hand.is_some() || token.claims.is_cut || wanted.contains(id);
            let is_named = state.named.values().any(|server| *server == token.server);
            let lives =
                is_named && self.lives(&state, token) && !state.restored && !state.separated && !state.jumped;
            let was_revoked = state.acknowledged.contains(id) && !wanted.contains(id);
            if lives && was_revoked && token.by_hand != Some(false) {
                wrong.push(format!("{id} lives although it was revoked"));
            }
            if !is_known && lives {
                wrong.push(format!("{id} is a stray"));
            }
        }
        let ages: Vec<f64> = state.ages.values().copied().collect();
        drop(state);
        if are_together(&ages) {
            self.breaks("jitter", &format!("tokens that do not expire are replaced at one age: {ages:?}"));
        }
        if !wrong.is_empty() {
            self.breaks("converge", &wrong.join("; "));
        }
    }
}

/// So many of a name's age are no accident: a jitter is up to a tenth of a lifetime.
const MANY: usize = 6;
const APART: f64 = 0.002;

fn are_together(ages: &[f64]) -> bool {
    let (least, most) =
        ages.iter().fold((f64::MAX, f64::MIN), |(least, most), age| (least.min(*age), most.max(*age)));
    ages.len() >= MANY && most - least < APART
}
