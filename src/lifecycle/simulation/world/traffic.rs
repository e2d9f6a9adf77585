//! How often the server is asked, and how many tokens each name is minted (rules 11 and 15).

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{State, World};
use crate::{
    lifecycle::{allowance::PER_HOUR, simulation::faults::Op},
    model::{Name, due_age},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Nothing makes a process wait longer: an hour, a fifth more, and the server's time to answer.
const LONGEST: Duration = Duration::from_secs(4500);
/// So many mints a day need no reason.
const UNEXPLAINED: usize = 3;
/// What was done, or is asked for, explains so many requests.
const EXPLAINED: usize = 5;

/// What was asked of one server lately.
#[derive(Default)]
pub(super) struct Load {
    /// When this process last asked for a list; its start, before.
    listed: Option<Instant>,
    /// Besides mints and probes.
    lately: Vec<Instant>,
}

/// What was asked of all servers, and what explains it.
#[derive(Default)]
pub(super) struct Traffic {
    requests: u64,
    lists: u64,
    /// What was sealed, changed on the server or asked for by a person.
    reasons: Vec<Instant>,
    /// Tokens that were sealed, by name.
    taken_in: BTreeMap<Name, Vec<Instant>>,
    /// What explains another value of a name, or of all.
    excuses: Vec<(Option<Name>, Instant)>,
}

impl Traffic {
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn lists(&self) -> u64 {
        self.lists
    }
}

fn keep(times: &mut Vec<Instant>, window: Duration) {
    let now = Instant::now();
    times.retain(|at| *at + window > now);
}

impl World {
    /// A request is sent: more than what is explained is a storm.
    pub(super) fn note_request(&self, server: usize, op: Op) {
        let mut state = self.state();
        let State { traffic, deployments, .. } = &mut *state;
        let load = &mut deployments[server].load;
        traffic.requests += 1;
        traffic.lists += u64::from(op == Op::List);
        if matches!(op, Op::Mint | Op::Check) {
            return;
        }
        let last = load.listed;
        if op == Op::List {
            load.listed = Some(Instant::now());
        }
        if last.is_some_and(|last| last + LONGEST < Instant::now()) {
            drop(state);
            self.breaks("rule 10", "the server was not asked for hours");
        }
        keep(&mut load.lately, HOUR);
        keep(&mut traffic.reasons, HOUR);
        load.lately.push(Instant::now());
        let (sent, explained) = (load.lately.len(), PER_HOUR + EXPLAINED * traffic.reasons.len());
        drop(state);
        if sent > explained {
            self.breaks("rule 15", &format!("{sent} requests in an hour, {explained} are explained"));
        }
    }

    /// How often a list was asked for.
    pub(in super::super) fn lists(&self) -> u64 {
        self.state().traffic.lists
    }

    /// Keepers begin to look after the servers.
    pub(super) fn note_start(&self) {
        let mut state = self.state();
        state.deployments.iter_mut().for_each(|deployment| deployment.load.listed = Some(Instant::now()));
    }

    /// Something explains more requests.
    pub(super) fn note_reason(&self) {
        self.state().traffic.reasons.push(Instant::now());
    }

    /// Something explains another value of a name, or of all names.
    pub(in super::super) fn note_excuse(&self, name: Option<&Name>) {
        let mut state = self.state();
        state.traffic.excuses.push((name.cloned(), Instant::now()));
        state.traffic.reasons.push(Instant::now());
    }

    /// A minted token is sealed: more of them than lifetime, list and persons explain are a storm.
    pub(super) fn note_taken_in(&self, name: &Name) {
        let mut state = self.state();
        let lifetime = state.specs.get(name).and_then(|spec| spec.lifetime);
        let traffic = &mut state.traffic;
        let times = traffic.taken_in.entry(name.clone()).or_default();
        keep(times, DAY);
        times.push(Instant::now());
        let minted = times.len();
        // What was asked for yesterday may have waited for a server that was away.
        traffic.excuses.retain(|(_, at)| *at + 2 * DAY > Instant::now());
        let is_about = |about: &Option<Name>| about.as_ref().is_none_or(|about| about == name);
        let excuses = traffic.excuses.iter().filter(|(about, _)| is_about(about)).count();
        drop(state);
        // A tenth of the lifetime earlier by jitter.
        let by_schedule = lifetime.map_or(0, |lifetime| {
            let interval = due_age(lifetime).saturating_sub(lifetime / 10);
            usize::try_from(DAY.as_secs() / interval.as_secs().max(1)).unwrap_or(usize::MAX) + 1
        });
        let explained = 1 + UNEXPLAINED + by_schedule + excuses;
        if minted > explained {
            self.breaks(
                "rule 11",
                &format!("{name} is minted {minted} times in a day, {explained} are explained"),
            );
        }
    }
}
