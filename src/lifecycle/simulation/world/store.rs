//! The modelled store.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::Instant;

use super::{
    State, Volatile, World,
    ends::{is_live_everywhere, note_retired},
};
use crate::{
    lifecycle::simulation::{
        faults::{Fault, Op},
        tamper::Break,
    },
    model::{AttemptKind, Held, Instance, Marker, MintAttempt, Name, Origin, Record, Secret},
    store::{Instances, RecordError, RecordFault, Records, Revision, SealError, StoreError, Stored},
};

impl State {
    /// As this process sees it: not at all, or as a later program's.
    fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        if self.unreadable.contains(name) {
            return Err(fault(name, RecordFault::Damaged("it ends too early".into())));
        }
        let Some((record, revision)) = self.records.get(name) else { return Ok(None) };
        let mut stored = stored(record, *revision);
        if self.later.contains(name) {
            Arc::make_mut(&mut stored.record).version.minor += 1;
        }
        Ok(Some(stored))
    }
}

impl World {
    pub(in super::super) fn load(&self) -> Result<Records, StoreError> {
        if self.is_away(Op::Load) {
            return Err(away());
        }
        let state = self.state();
        let all = state.records.keys();
        Ok(all.filter_map(|name| Some((name.clone(), state.read(name).transpose()?))).collect())
    }

    pub(in super::super) fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        if self.strikes(Fault::ReadFailed, Op::Read, 200) {
            return Err(fault(name, RecordFault::Unreadable("on demand".into())));
        }
        let mut state = self.state();
        state.unheard.remove(name);
        state.read(name)
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
        if let Some(volatile) = self.state().volatile.get_mut(&record.name) {
            volatile.is_repeated = true;
        }
        if self.is_away(op) || self.strikes(Fault::SealFailed, op, 20) {
            self.note_failed(record);
            return Err(SealError::Failed(away()));
        }
        let is_durable = !self.strikes(Fault::FolderNotSynced, op, 10);
        {
            let mut state = self.state();
            if state.unreadable.contains(&record.name) || state.later.contains(&record.name) {
                drop(state);
                self.breaks("rule 14", "a record is written that is not this program's to change");
            }
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
                if is_durable {
                    state.volatile.remove(&name);
                } else {
                    let durable = before.clone();
                    let volatile = Volatile { durable, is_repeated: false };
                    state.volatile.entry(name.clone()).or_insert(volatile);
                }
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
        if !is_durable || self.strikes(Fault::SealFailedAfterAll, op, 10) {
            self.note_failed(record);
            return Err(SealError::Failed(away()));
        }
        Ok(Revision([self.state().revision; 4]))
    }

    fn note_failed(&self, record: &Record) {
        let mut state = self.state();
        state.idle.clear();
        state.unheard_mints.extend(record.next.as_ref().map(|next| next.id.clone()));
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
        let works = is_live_everywhere(self.date_in(state, token.server), token, &held.grants)
            && !token.by_person
            && is_wanted;
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
        state.volatile.remove(name);
        Ok(())
    }

    /// Whether a secret is in a record alone that could not be made durable, and nobody has tried again.
    pub(super) fn is_volatile(&self, secret: &Secret) -> bool {
        let state = self.state();
        // What a person brought he still has.
        // And what could not be sealed has been revoked.
        let is_it = |held: &Held| {
            held.origin == Origin::Minted
                && held.secret.secret() == secret
                && !state.end_asked.contains(&held.id)
        };
        let is_in = |record: &Record| record.held().any(is_it);
        let lacks = |known: &Option<(Record, u64)>| !known.as_ref().is_some_and(|(record, _)| is_in(record));
        state.volatile.iter().any(|(name, volatile)| {
            !volatile.is_repeated
                && lacks(&volatile.durable)
                && state.records.get(name).is_some_and(|(record, _)| is_in(record))
        })
    }

    /// What was not written durably is lost with the power, or was after all.
    pub(super) fn settle_volatile(&self) -> bool {
        let is_lost = !self.state().volatile.is_empty() && self.strikes(Fault::PowerLost, Op::Load, 500);
        let mut state = self.state();
        let volatile = std::mem::take(&mut state.volatile);
        for (name, Volatile { durable, .. }) in volatile.into_iter().filter(|_| is_lost) {
            match durable {
                Some(durable) => _ = state.records.insert(name, durable),
                None => _ = state.records.remove(&name),
            }
        }
        is_lost
    }

    /// Some records cannot be read by the next process, or are a later program's to it.
    pub(super) fn settle_readable(&self) {
        let names: Vec<Name> = self.state().records.keys().cloned().collect();
        for name in names {
            let is_lasting = self.state().unreadable.contains(&name) && fastrand::bool();
            let often = if self.broken == Break::SkipsUnread { 300 } else { 30 };
            let unreadable = self.strikes(Fault::RecordUnreadable, Op::Load, often) || is_lasting;
            let later = !unreadable && self.strikes(Fault::RecordLater, Op::Load, 15);
            let mut state = self.state();
            set(&mut state.unreadable, &name, unreadable);
            set(&mut state.later, &name, later);
            if unreadable || later {
                // Nobody replaces them in time.
                let ids = state.records.get(&name).map(|(record, _)| record.clone());
                for held in ids.iter().flat_map(|record| record.held()) {
                    if let Some(token) = state.tokens.get_mut(&held.id) {
                        token.is_neglected = true;
                    }
                }
            }
        }
    }

    pub(in super::super) fn instances(&self) -> Instances {
        let state = self.state();
        let (current, former) = state.instances.split_last().expect("there is one from the start");
        Instances { current: current.clone(), former: former.to_vec() }
    }

    /// Rule 13: whose records are not set apart, and may be another machine's.
    pub(in super::super) fn renew_instance(&self) -> Instances {
        self.tell("another instance");
        self.note_excuse(None);
        let mut state = self.state();
        let is_apart = |record: &Record| {
            record.intents.is_empty() && record.held().all(|held| held.origin == Origin::Inherited)
        };
        if !state.records.values().all(|(record, _)| is_apart(record)) {
            drop(state);
            self.breaks("rule 13", "the instance is renewed before all records are set apart");
        }
        state.instances.push(Instance::from_bits(fastrand::u128(..).to_be_bytes()));
        state.separated = true;
        drop(state);
        self.instances()
    }
}

fn set(names: &mut BTreeSet<Name>, name: &Name, is_in: bool) {
    if is_in {
        names.insert(name.clone());
    } else {
        names.remove(name);
    }
}

fn fault(name: &Name, fault: RecordFault) -> RecordError {
    RecordError { name: name.clone(), file: "model".into(), fault }
}

fn away() -> StoreError {
    StoreError { path: "model".into(), what: "cannot be used".into(), fix: None, source: None }
}

fn stored(record: &Record, revision: u64) -> Stored {
    Stored { record: record.clone().into(), revision: Revision([revision; 4]) }
}
