//! What came of doing what is due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    hint::Hint as _,
    lifecycle::{Report, State, Status},
    model::ServerName,
};

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Applied {
    /// Each token as it is now.
    pub tokens: Vec<Status>,
    /// What could not be done.
    pub errors: Vec<String>,
    /// What waits, and what is odd.
    pub findings: Vec<String>,
    /// Something waits for a person.
    pub waits: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is done.
    Done,
    /// Something waits for a person.
    Waits,
    /// Some of it is done.
    Partly,
    /// Nothing could be done.
    Failed,
}

impl Applied {
    /// How it ended.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match (self.errors.len(), self.waits) {
            (0, false) => Ended::Done,
            (0, true) => Ended::Waits,
            _ if self.tokens.iter().any(|status| status.state == State::Ready) => Ended::Partly,
            _ => Ended::Failed,
        }
    }
}

/// A keeper's report, in words.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Whose.
    pub server: ServerName,
    /// Which pass it is of; zero: of a probe.
    pub pass: u64,
    /// How many tokens are to be probed from now on.
    pub probing: usize,
    /// What could not be done.
    pub errors: Vec<String>,
    /// What happened: the next pass will not find it again.
    events: Vec<String>,
    /// How things are: found anew by each pass.
    states: Vec<String>,
    /// Something waits for a person.
    waits: bool,
}

impl Heard {
    /// A report of this server's keeper.
    #[must_use]
    pub fn of(server: &ServerName, report: &Report) -> Self {
        let mut errors = Vec::new();
        if let Some(error) = &report.server_error {
            errors.push(error.to_string());
            errors.extend(error.hint().map(|hint| format!("hint: {hint}")));
        }
        errors.extend(report.errors.iter().cloned());
        let told = |events: bool| {
            let findings =
                report.findings.iter().filter(move |finding| finding.matter.is_an_event() == events);
            findings.map(|finding| format!("server {server}: {finding}")).collect()
        };
        Self {
            server: server.clone(),
            pass: report.pass,
            probing: report.probing(),
            errors,
            events: told(true),
            states: told(false),
            waits: report.findings.iter().any(|finding| finding.matter.waits_for_a_person()),
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

/// What several reports told.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What could not be done.
    pub errors: Vec<String>,
    events: BTreeSet<String>,
    states: BTreeMap<ServerName, Heard>,
}

impl Gathered {
    /// Adds a report.
    pub fn take(&mut self, heard: &Heard) {
        self.errors.extend(heard.errors.iter().cloned());
        self.events.extend(heard.events.iter().cloned());
        if heard.pass > 0 {
            self.states.insert(heard.server.clone(), heard.clone());
        }
    }

    /// Whether something waits for a person.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.states.values().any(|heard| heard.waits)
    }

    /// With the tokens as they are in the end.
    #[must_use]
    pub fn applied(self, tokens: Vec<Status>) -> Applied {
        let waits = self.waits();
        let states = self.states.into_values().flat_map(|heard| heard.states);
        Applied {
            tokens,
            errors: self.errors,
            findings: self.events.into_iter().chain(states).collect(),
            waits,
        }
    }
}
