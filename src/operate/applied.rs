//! What came of doing what is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    hint::Hint as _,
    lifecycle::{Ledger, Report, State, Status, plan::Finding},
    model::{Name, ServerName},
    store::Store,
};

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ApplyReport {
    /// Each token as it is now.
    pub tokens: Vec<Status>,
    /// What could not be done.
    pub errors: Vec<String>,
    /// What waits, and what is odd.
    pub findings: Vec<String>,
    /// Something waits for a person.
    pub waits: bool,
}

/// How far a command got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// All is done.
    Done,
    /// Something waits for a person.
    Waits,
    /// Some of it is done.
    Partly,
    /// Nothing could be done.
    Failed,
}

impl ApplyReport {
    /// How far it got.
    #[must_use]
    pub fn completion(&self) -> Completion {
        match (self.errors.len(), self.waits) {
            (0, false) => Completion::Done,
            (0, true) => Completion::Waits,
            _ if self.tokens.iter().any(|status| status.state == State::Ready) => Completion::Partly,
            _ => Completion::Failed,
        }
    }
}

/// A keeper's report, for people.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// Whose.
    pub server: ServerName,
    /// Which pass it is of; zero: of a probe.
    pub pass: u64,
    /// How many tokens are to be probed from now on.
    pub probing: usize,
    /// What could not be done.
    pub errors: Vec<String>,
    found: Vec<Observation>,
}

/// What a plan found.
#[derive(Clone, Debug)]
struct Observation {
    name: Option<Name>,
    text: String,
    /// It happened: the next pass will not find it again. Else it is how things are, found again by each pass.
    is_an_event: bool,
    waits_for_a_person: bool,
}

impl ServerReport {
    /// A report of this server's keeper.
    #[must_use]
    pub fn of(server: &ServerName, report: &Report) -> Self {
        let mut errors = Vec::new();
        if let Some(error) = &report.server_error {
            errors.push(error.to_string());
            errors.extend(error.hint().map(|hint| format!("hint: {hint}")));
        }
        errors.extend(report.errors.iter().cloned());
        let found = |finding: &Finding| Observation {
            name: finding.name.clone(),
            text: format!("server {server}: {finding}"),
            is_an_event: finding.matter.is_an_event(),
            waits_for_a_person: finding.matter.waits_for_a_person(),
        };
        Self {
            server: server.clone(),
            pass: report.pass,
            probing: report.probing(),
            errors,
            found: report.findings.iter().map(found).collect(),
        }
    }

    /// The one part that takes its time, and it is the server's.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let tokens = match self.probing {
            0 => return None,
            1 => "1 token".to_owned(),
            more => format!("{more} tokens"),
        };
        Some(format!("server {}: waiting until {tokens} can be used everywhere", self.server))
    }
}

/// Names that are to have a new value, with how many each has had so far.
#[derive(Clone, Debug, Default)]
pub struct PendingNames(BTreeMap<Name, u64>);

impl PendingNames {
    /// From now on.
    #[must_use]
    pub fn of<T: Store>(ledger: &Ledger<T>, names: &BTreeSet<Name>) -> Self {
        Self(names.iter().map(|name| (name.clone(), ledger.generation(name))).collect())
    }

    /// Whether no name is to have one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that have none yet.
    #[must_use]
    pub fn lacking<T: Store>(&self, ledger: &Ledger<T>) -> Vec<&Name> {
        let lacks = |(name, before): &(&Name, &u64)| ledger.generation(name) <= **before;
        self.0.iter().filter(lacks).map(|(name, _)| name).collect()
    }
}

/// What several reports say, about all names or only some.
#[derive(Debug, Default)]
pub struct Summary {
    /// What could not be done.
    pub errors: Vec<String>,
    known: BTreeSet<String>,
    about: BTreeSet<Name>,
    events: BTreeSet<String>,
    states: BTreeMap<ServerName, Vec<Observation>>,
}

impl Summary {
    /// Only what concerns these names counts; all does, where there is none.
    #[must_use]
    pub fn about(awaited: &PendingNames) -> Self {
        Self { about: awaited.0.keys().cloned().collect(), ..Self::default() }
    }

    /// Adds a report.
    pub fn take(&mut self, report: &ServerReport) {
        // What two passes report, or several names have in common, is said once.
        let new = report.errors.iter().filter(|error| self.known.insert((*error).clone()));
        self.errors.extend(new.cloned());
        if report.pass == 0 {
            return;
        }
        let found = report.found.iter().filter(|found| self.concerns(found.name.as_ref())).cloned();
        let (events, states): (Vec<Observation>, Vec<Observation>) =
            found.partition(|found| found.is_an_event);
        self.events.extend(events.into_iter().map(|found| found.text));
        self.states.insert(report.server.clone(), states);
    }

    /// Whether something waits for a person.
    fn waits(&self) -> bool {
        self.states.values().flatten().any(|found| found.waits_for_a_person)
    }

    /// Adds which names have no new value yet, unless something waits for a person: that says why.
    pub fn add_lacking(&mut self, lacking: &[&Name]) {
        if !self.waits() {
            self.errors.extend(lacking.iter().map(|name| format!("token {name}: has no new value yet")));
        }
    }

    /// With the tokens as they are in the end.
    #[must_use]
    pub fn applied(self, tokens: Vec<Status>) -> ApplyReport {
        let waits = self.waits();
        let tokens = tokens.into_iter().filter(|token| self.concerns(Some(&token.name))).collect();
        let states = self.states.into_values().flatten().map(|found| found.text);
        // An error says it already.
        let is_new = |found: &String| !self.errors.iter().any(|error| found.ends_with(error.as_str()));
        let findings = self.events.into_iter().chain(states).filter(is_new).collect();
        ApplyReport { tokens, errors: self.errors, findings, waits }
    }

    fn concerns(&self, name: Option<&Name>) -> bool {
        self.about.is_empty() || name.is_none_or(|name| self.about.contains(name))
    }
}
