//! The modelled store.

use tokio::time::Instant;

use super::{
    State, World,
    ends::{is_live_everywhere, note_retired},
};
use crate::{
    lifecycle::simulation::{
        faults::{Fault, Op},
        tamper::Break,
    },
    model::{AttemptKind, Held, Instance, Marker, MintAttempt, Name, Origin, Record},
    store::{Instances, Records, Revision, SealError, StoreError, Stored},
};

impl World {
    pub(in super::super) fn load(&self) -> Result<Records, StoreError> {
        if self.is_away(Op::Load) {
            return Err(away());
        }
        let state = self.state();
        Ok(state
            .records
            .iter()
            .map(|(name, (record, revision))| (name.clone(), Ok(stored(record, *revision))))
            .collect())
    }

    pub(in super::super) fn read(&self, name: &Name) -> Option<Stored> {
        self.state().records.get(name).map(|(record, revision)| stored(record, *revision))
    }

    /// What a seal is for.
    pub(in super::super) fn seal_op(&self, record: &Record) -> Op {
        let state = self.state();
        let Some((before, _)) = state.records.get(&record.name) else { return Op::Intend };
        let id = |record: &Record| record.next.as_ref().map(|next| next.id.clone());
        if record.intents.len() > before.intents.len() {
            Op::Intend
        } else if record.generation > before.generation {
            Op::Promote
        } else if record.next.is_some() && id(record) != id(before) {
            Op::TakeIn
        } else {
            Op::Note
        }
    }

    fn is_away(&self, op: Op) -> bool {
        let is_away = self.state().away_until.is_some_and(|until| until > Instant::now());
        if is_away {
            self.struck(Fault::StoreAway, op);
            self.tell("the store is away");
        }
        is_away
    }

    pub(in super::super) fn seal(
        &self,
        record: &Record,
        read: Option<Revision>,
        op: Op,
    ) -> Result<Revision, SealError> {
        self.changes_something("a seal");
        if self.strikes(Fault::StoreAway, op, 3) {
            let seconds = fastrand::u64(1..300);
            self.state().away_until = Some(Instant::now() + std::time::Duration::from_secs(seconds));
        }
        if self.is_away(op) || self.strikes(Fault::SealFailed, op, 20) {
            return Err(SealError::Failed(away()));
        }
        {
            let mut state = self.state();
            let there = state.records.get(&record.name).map(|(_, revision)| Revision([*revision; 4]));
            if there != read {
                return Err(SealError::Changed(record.name.clone()));
            }
            let before = state.records.get(&record.name).map_or(0, |(record, _)| record.generation);
            assert!(
                record.generation == before || record.generation == before + 1,
                "rule 5: generations grow by one"
            );
            state.revision += 1;
            let revision = state.revision;
            let forgets = match self.broken {
                Break::SealsNothing => true,
                Break::ForgetsWhatItMinted => record.next.is_some(),
                _ => false,
            };
            if let Some((rule, what)) = self.wrong_to_seal(&state, record) {
                drop(state);
                self.breaks(rule, what);
            }
            if !forgets {
                let secrets = record.held().map(|held| held.secret.secret().expose().to_owned());
                state.ever_sealed.extend(secrets);
                state.separated |= record.held().any(|held| held.origin == Origin::Inherited);
                note_retired(&mut state, record);
                let mut record = record.clone();
                if self.broken == Break::ForgetsRefused {
                    record.mints.retain(|attempt| attempt.kind != AttemptKind::Refused);
                }
                let name = record.name.clone();
                let before = state.records.insert(name.clone(), (record, revision));
                state.unheard.extend(before.map(|(before, _)| (name, before)));
            }
        }
        self.note_reason();
        if op == Op::TakeIn && record.next.as_ref().is_some_and(|next| next.origin == Origin::Minted) {
            self.note_taken_in(&record.name);
        }
        self.tell(format!(
            "seal {} generation {} with {} intents ({op:?})",
            record.name,
            record.generation,
            record.intents.len()
        ));
        if self.strikes(Fault::SealFailedAfterAll, op, 10) {
            return Err(SealError::Failed(away()));
        }
        Ok(Revision([self.state().revision; 4]))
    }

    /// Rules 4 and 11, as far as a change of a record shows them.
    fn wrong_to_seal(&self, state: &State, record: &Record) -> Option<(&'static str, &'static str)> {
        let is_cut = |held: &Held| state.tokens.get(&held.id).is_some_and(|token| token.claims.is_cut);
        if record.held().any(is_cut) {
            return Some(("rule 3", "a token is kept that nobody finds again"));
        }
        let (before, _) = state.records.get(&record.name)?;
        let unexplained = |record: &Record| {
            // Of those that are open nobody knows whether a token came.
            let is_open = |marker: &Marker| record.intents.iter().any(|intent| intent.marker == *marker);
            let counts = |attempt: &&MintAttempt| {
                attempt.kind == AttemptKind::Unexplained && !is_open(&attempt.marker)
            };
            record.mints.iter().filter(counts).count()
        };
        if unexplained(record) > 3 && !state.jumped && unexplained(record) > unexplained(before) {
            return Some(("rule 11", "replaced more than three times a day"));
        }
        let held = before.current.as_ref().filter(|_| record.current.is_none())?;
        let token = state.tokens.get(&held.id)?;
        let is_wanted = state.is_wanted(&record.name);
        let works =
            is_live_everywhere(self.date_in(state), token, &held.grants) && !token.by_person && is_wanted;
        works.then_some(("rule 4", "a token that works is set aside"))
    }

    pub(in super::super) fn seal_is_heard(&self, name: &Name) {
        self.state().unheard.remove(name);
    }

    pub(in super::super) fn remove(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        self.changes_something("a record is removed");
        self.tell(format!("remove {name}"));
        let mut state = self.state();
        let Some((record, revision)) = state.records.get(name) else { return Ok(()) };
        if Revision([*revision; 4]) != read {
            return Err(SealError::Changed(name.clone()));
        }
        if record.held().next().is_some() || !record.intents.is_empty() || state.specs.contains_key(name) {
            drop(state);
            self.breaks("rule 20", "a name is forgotten of which something is left");
        }
        state.records.remove(name);
        Ok(())
    }

    pub(in super::super) fn instances(&self) -> Instances {
        let state = self.state();
        let (current, former) = state.instances.split_last().expect("there is one from the start");
        Instances { current: current.clone(), former: former.to_vec() }
    }

    pub(in super::super) fn renew_instance(&self) -> Instances {
        self.tell("another instance");
        self.note_excuse(None);
        let mut state = self.state();
        state.instances.push(Instance::from_bits(fastrand::u128(..).to_be_bytes()));
        state.separated = true;
        drop(state);
        self.instances()
    }
}

fn away() -> StoreError {
    StoreError { path: "model".into(), what: "cannot be used".into(), fix: None, source: None }
}

fn stored(record: &Record, revision: u64) -> Stored {
    Stored { record: record.clone().into(), revision: Revision([revision; 4]) }
}
