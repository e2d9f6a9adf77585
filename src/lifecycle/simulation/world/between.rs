//! What happens between any two steps, and between two processes.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, World, YEAR};
use crate::{
    lifecycle::simulation::{
        faults::{BETWEEN, Fault, Op},
        lists,
        tamper::Break,
    },
    model::{Grants, Label, Marker, Name, Spec, TokenId},
};

/// How often, in a thousand, something happens before an operation: what is done seldom is to be struck as well.
fn often(op: Op) -> u16 {
    match op {
        Op::Check => 3,
        Op::Patch => 150,
        Op::Revoke => 80,
        _ => 40,
    }
}

impl World {
    /// An operation begins.
    pub(in super::super) fn before(&self, op: Op) {
        self.carry_out_late();
        self.look_around();
        if fastrand::u16(..1000) < often(op) && !self.is_healed() {
            let fault = match self.broken {
                // That takes many of one kind.
                Break::ReplacesForEver => Fault::StrangerEnds,
                Break::AgreesWithAnyDate => Fault::ClockAhead,
                _ => fastrand::choice(BETWEEN).expect("there are some"),
            };
            if self.may_strike(fault) && self.happens(fault) {
                self.tell(format!("{fault:?} before {op:?}"));
                self.state().pending.push(fault);
            }
        }
        let pending = std::mem::take(&mut self.state().pending);
        pending.into_iter().for_each(|fault| self.struck(fault, op));
    }

    /// The process ends in the middle of an operation: somebody waits for that.
    pub(in super::super) fn crashes(&self, op: Op) -> bool {
        let crashes =
            fastrand::u16(..1000) * 8 < often(op) && op != Op::Load && self.may_strike(Fault::Crash);
        if crashes {
            self.tell(format!("a crash in {op:?}"));
            self.crash.notify_one();
        }
        crashes
    }

    /// It has ended.
    pub(in super::super) fn after(&self) {
        self.look_around();
    }

    fn happens(&self, fault: Fault) -> bool {
        match fault {
            Fault::ListEdited => self.edited.notify_one(),
            Fault::ClockAhead => self.jump_ahead(Duration::from_secs(fastrand::u64(1..1200))),
            Fault::TwinMints => return self.twin_mints(),
            Fault::StrangerEnds => return self.stranger_ends(),
            Fault::StrangerAlters => return self.stranger_alters(),
            Fault::ConsumerSticks => return self.stick(),
            Fault::ConsumerEnds => return self.end_consumer(),
            _ => unreachable!("nothing else happens between two steps"),
        }
        true
    }

    /// Another host works with a copy of this store.
    fn twin_mints(&self) -> bool {
        let mut state = self.state();
        let Some(name) = fastrand::choice(state.specs.keys().cloned().collect::<Vec<Name>>()) else {
            return false;
        };
        let instance = state.instances.last().expect("there is one").clone();
        let label = Label { instance, name, marker: Marker::from_bits(fastrand::u128(..).to_be_bytes()) };
        self.add(&mut state, Some(label), Grants::default(), None, true);
        true
    }

    fn some_of_ours(&self) -> Option<TokenId> {
        let date = self.date();
        let state = self.state();
        if self.broken == Break::ReplacesForEver {
            let (record, _) = state.records.values().next()?;
            return record.current.as_ref().map(|held| held.id.clone());
        }
        let ours: Vec<TokenId> = state
            .tokens
            .iter()
            .filter(|(_, token)| !token.foreign && token.works_at(date))
            .map(|(id, _)| id.clone())
            .collect();
        fastrand::choice(ours)
    }

    fn stranger_ends(&self) -> bool {
        let Some(id) = self.some_of_ours() else { return false };
        let now = self.date();
        let mut state = self.state();
        let token = state.tokens.get_mut(&id).expect("it is there");
        token.by_person = true;
        token.row.revoked_at.get_or_insert(now);
        true
    }

    fn stranger_alters(&self) -> bool {
        let Some(id) = self.some_of_ours() else { return false };
        let grants =
            lists::specs(4, &self.key()).into_values().map(|spec: Spec| spec.grants).collect::<Vec<_>>();
        let mut state = self.state();
        let token = state.tokens.get_mut(&id).expect("it is there");
        token.by_person = true;
        token.grants = fastrand::choice(grants).expect("there are some");
        token.row.grants = Some(token.grants.clone());
        true
    }

    /// A person has edited the list. Returns what it says now.
    pub(in super::super) fn edit(&self) -> std::collections::BTreeMap<Name, Spec> {
        let key = self.key();
        let mut specs = self.specs();
        lists::edit(&mut specs, &key);
        self.wants(specs.clone());
        specs
    }

    /// What the list asks for.
    pub(in super::super) fn specs(&self) -> std::collections::BTreeMap<Name, Spec> {
        self.state().specs.clone()
    }

    /// The list asks for this from now on.
    pub(in super::super) fn wants(&self, specs: std::collections::BTreeMap<Name, Spec>) {
        let names: Vec<String> =
            specs.values().map(|spec| format!("{} ({})", spec.name, spec.grants)).collect();
        self.tell(format!("the list asks for {}", names.join("; ")));
        let mut state = self.state();
        let now = Instant::now();
        let leave = state.specs.values().filter(|spec| !specs.contains_key(&spec.name));
        let left: Vec<_> = leave.map(|spec| (spec.name.clone(), (now, spec.pickup))).collect();
        state.left.extend(left);
        let come = specs.keys().filter(|name| !state.specs.contains_key(*name));
        let came: Vec<_> = come.map(|name| (name.clone(), now)).collect();
        state.came.extend(came);
        state.specs = specs;
        drop(state);
        self.note_excuse(None);
        self.settle_consumers();
    }

    /// Backups, reboots, other addresses.
    pub(in super::super) fn between_lives(&self) {
        if self.state().backup.is_some() && self.strikes(Fault::BackupRestored, Op::Load, 60) {
            let mut state = self.state();
            state.restored = true;
            state.records = state.backup.clone().unwrap_or_default();
            let revision = state.revision + 1;
            state.revision = revision;
            state.records.values_mut().for_each(|(_, known)| *known = revision);
            self.forget_retirements(&mut state);
        } else if fastrand::bool() {
            let mut state = self.state();
            state.backup = Some(state.records.clone());
        }
        let often = if self.broken == Break::AgreesWithAnyDate { 700 } else { 150 };
        if self.strikes(Fault::Rebooted, Op::Load, often) {
            let mut state = self.state();
            (state.boot, state.booted_at) = (state.boot + 1, Some(Instant::now()));
            drop(state);
            self.end_all_consumers();
            self.settle_consumers();
        }
        if self.strikes(Fault::AddressChanged, Op::Load, 100) {
            self.state().address += 1;
            self.note_excuse(None);
            let key = self.key();
            let mut specs = self.specs();
            specs.values_mut().for_each(|spec| spec.key = key.clone());
            self.state().specs = specs;
        }
    }

    pub(in super::super) fn date(&self) -> crate::model::Time {
        self.date_in(&self.state())
    }

    /// What the server's clock says.
    pub(super) fn date_in(&self, state: &State) -> crate::model::Time {
        let ahead = if state.is_ahead() { YEAR } else { Duration::ZERO };
        self.now().saturating_add(jiff::SignedDuration::try_from(ahead).expect("short")).expect("a time")
    }

    /// Somebody wants new values as soon as there is a process to ask.
    pub(in super::super) fn wish<'a>(&self, names: impl Iterator<Item = &'a Name>) {
        self.state().wishes.extend(names.cloned());
    }

    pub(in super::super) fn take_wishes(&self) -> std::collections::BTreeSet<Name> {
        std::mem::take(&mut self.state().wishes)
    }

    /// A person wants this token to end.
    pub(in super::super) fn person_ends(&self, id: &TokenId) {
        if let Some(token) = self.state().tokens.get_mut(id) {
            token.by_person = true;
        }
    }

    /// A person says that these may be ended.
    pub(in super::super) fn person_confirms(&self, names: impl IntoIterator<Item = Name>) {
        self.state().confirmed.extend(names);
    }

    /// A token that works everywhere at once, as one that was made long ago does.
    pub(in super::super) fn make_by_hand(
        &self,
        grants: Grants,
        exclusive: bool,
    ) -> (TokenId, crate::model::Secret) {
        let mut state = self.state();
        let id = self.add(&mut state, None, grants, None, false);
        let token = state.tokens.get_mut(&id).expect("just added");
        token.by_hand = Some(exclusive);
        token.active = [[Instant::now(); 3]; 2];
        (id, crate::model::Secret::new(token.secret.clone()))
    }

    pub(in super::super) fn takes_others_for_its_own(&self) -> bool {
        self.broken == Break::TakesOthersForItsOwn
    }
}
