//! What happens between any two steps, and between two processes.

use std::time::Duration;

use tokio::time::Instant;

use super::{State, Token, World, YEAR};
use crate::{
    lifecycle::simulation::{
        faults::{BETWEEN, Fault, Op},
        lists,
        tamper::Break,
    },
    model::{Grants, Label, Marker, Name, ServerKey, Spec, Time, TokenId},
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
                Break::SkipsUnread => Fault::TwinMints,
                Break::MintsForFormerServer => Fault::ListEdited,
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
            Fault::ClockAhead => {
                let server = fastrand::choice(self.servers()).map_or(0, |(.., server)| server);
                self.jump_ahead(server, Duration::from_secs(fastrand::u64(1..1200)));
            }
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
        let server = state.named.get(&state.specs[&name].server).copied().unwrap_or_default();
        let label = Label { instance, name, marker: Marker::from_bits(fastrand::u128(..).to_be_bytes()) };
        self.add(&mut state, server, Some(label), Grants::default(), None, true);
        true
    }

    fn some_of_ours(&self) -> Option<TokenId> {
        let state = self.state();
        if self.broken == Break::ReplacesForEver {
            let (record, _) = state.records.values().next()?;
            return record.current.as_ref().map(|held| held.id.clone());
        }
        let ours: Vec<TokenId> = state
            .tokens
            .iter()
            .filter(|(_, token)| !token.foreign && self.lives(&state, token))
            .map(|(id, _)| id.clone())
            .collect();
        fastrand::choice(ours)
    }

    fn stranger_ends(&self) -> bool {
        let Some(id) = self.some_of_ours() else { return false };
        if let Some(token) = self.state().tokens.get_mut(&id) {
            token.by_person = true;
        }
        self.end_now(&id);
        true
    }

    fn stranger_alters(&self) -> bool {
        let Some(id) = self.some_of_ours() else { return false };
        let mut state = self.state();
        let token = state.tokens.get_mut(&id).expect("it is there");
        token.by_person = true;
        token.grants = lists::grants(fastrand::usize(..4));
        token.row.grants = Some(token.grants.clone());
        true
    }

    /// A person has edited the list. Returns whether it names other servers than before.
    pub(in super::super) fn edit(&self) -> bool {
        let mut specs = self.specs();
        let kind = if self.broken == Break::MintsForFormerServer { 0 } else { fastrand::u8(..8) };
        let is_regrouped = kind == 0 && self.replace_server(&mut specs);
        let is_moved = kind == 1 && self.move_name(&mut specs);
        if !is_regrouped && !is_moved {
            lists::edit(&mut specs, &self.servers());
        }
        self.wants(specs);
        is_regrouped
    }

    /// A server's name is given to another, which has none of the tokens (rule 12).
    fn replace_server(&self, specs: &mut std::collections::BTreeMap<Name, Spec>) -> bool {
        let mut state = self.state();
        let free =
            (0..state.deployments.len()).find(|server| !state.named.values().any(|named| named == server));
        let name = fastrand::choice(state.named.keys().cloned().collect::<Vec<_>>());
        let (Some(free), Some(name)) = (free, name) else { return false };
        if state.deployments.len() == 2 && self.broken != Break::MintsForFormerServer {
            // Where there is one server it mostly stays.
            return false;
        }
        state.named.insert(name.clone(), free);
        let key = state.key(free).clone();
        for spec in specs.values_mut().filter(|spec| spec.server == name) {
            self.note_move(&mut state, spec, key.clone());
        }
        drop(state);
        self.tell(format!("{name} is {key}"));
        self.count("a server's name is given to another");
        true
    }

    /// A name is to live on another of the servers.
    fn move_name(&self, specs: &mut std::collections::BTreeMap<Name, Spec>) -> bool {
        let Some(spec) = fastrand::choice(specs.values_mut()) else { return false };
        let others = self.servers().into_iter().filter(|(name, ..)| *name != spec.server);
        let Some((server, key, _)) = fastrand::choice(others.collect::<Vec<_>>()) else { return false };
        self.tell(format!("{} is to live on {server}", spec.name));
        self.note_move(&mut self.state(), spec, key);
        spec.server = server;
        self.count("a name moves to another server");
        true
    }

    /// Until a person says that it may move, nobody looks after its tokens.
    #[expect(clippy::unused_self, reason = "as the others")]
    fn note_move(&self, state: &mut State, spec: &mut Spec, to: ServerKey) {
        spec.key = to;
        state.moved.insert(spec.name.clone(), Instant::now());
        state.may_move.remove(&spec.name);
        let record = state.records.get(&spec.name).map(|(record, _)| record.clone());
        for held in record.iter().flat_map(|record| record.held()) {
            if let Some(token) = state.tokens.get_mut(&held.id) {
                token.is_neglected = true;
            }
        }
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
        let has_lost_power = self.settle_volatile();
        self.settle_readable();
        if has_lost_power || self.strikes(Fault::Rebooted, Op::Load, often) {
            let mut state = self.state();
            (state.boot, state.booted_at) = (state.boot + 1, Some(Instant::now()));
            drop(state);
            self.end_all_consumers();
            self.settle_consumers();
        }
        if self.strikes(Fault::AddressChanged, Op::Load, 100) {
            self.change_address();
        }
    }

    /// A host with all its servers has another address.
    fn change_address(&self) {
        self.note_excuse(None);
        let mut state = self.state();
        let State { deployments, named, specs, .. } = &mut *state;
        let Some(server) = fastrand::choice(named.values().copied()) else { return };
        let host = deployments[server].host;
        let moves = fastrand::u8(1..);
        for (server, deployment) in deployments.iter_mut().enumerate().filter(|(_, one)| one.host == host) {
            deployment.key = super::address(host, server, moves);
        }
        for spec in specs.values_mut() {
            spec.key = deployments[named[&spec.server]].key.clone();
        }
    }

    pub(in super::super) fn date(&self, server: usize) -> Time {
        self.date_in(&self.state(), server)
    }

    /// What a server's clock says.
    pub(super) fn date_in(&self, state: &State, server: usize) -> Time {
        let deployment = &state.deployments[server];
        let ahead = if deployment.is_ahead() { YEAR } else { Duration::ZERO };
        let ahead = jiff::SignedDuration::try_from(ahead).expect("short");
        let offset = jiff::SignedDuration::from_secs(deployment.offset);
        self.now().saturating_add(ahead + offset).expect("a time")
    }

    /// What the clock of the server there says.
    pub(super) fn date_at(&self, state: &State, key: &ServerKey) -> Time {
        let server = state.deployments.iter().position(|deployment| deployment.key == *key);
        server.map_or_else(|| self.now(), |server| self.date_in(state, server))
    }

    /// Whether a token works, by its server's clock.
    pub(super) fn lives(&self, state: &State, token: &Token) -> bool {
        token.works_at(self.date_in(state, token.server))
    }

    /// What the clock says that is furthest ahead.
    pub(in super::super) fn latest_date(&self) -> Time {
        let state = self.state();
        let dates = (0..state.deployments.len()).map(|server| self.date_in(&state, server));
        dates.max().unwrap_or_else(|| self.now())
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

    /// A person says that these may move to the servers that the list names.
    pub(in super::super) fn person_moves(&self, names: impl IntoIterator<Item = Name>) {
        self.state().may_move.extend(names);
    }

    /// A person says that these may be ended.
    pub(in super::super) fn person_confirms(&self, names: impl IntoIterator<Item = Name>) {
        self.state().confirmed.extend(names);
    }

    /// A token that works everywhere at once, as one that was made long ago does.
    pub(in super::super) fn make_by_hand(
        &self,
        server: usize,
        grants: Grants,
        exclusive: bool,
    ) -> (TokenId, crate::model::Secret) {
        let mut state = self.state();
        let id = self.add(&mut state, server, None, grants, None, false);
        let token = state.tokens.get_mut(&id).expect("just added");
        token.by_hand = Some(exclusive);
        token.active = [[Instant::now(); 3]; 2];
        (id, crate::model::Secret::new(token.secret.clone()))
    }

    pub(in super::super) fn takes_others_for_its_own(&self) -> bool {
        self.broken == Break::TakesOthersForItsOwn
    }
}
