//! How things are: each token's state, and what a daemon knows besides.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    config::ConfigError,
    deliver::{Refused, socket::LastRead},
    hint::Hint as _,
    lifecycle::Status,
    model::{Behind, Generations, Holders, Name, Time, Unit},
    operate::plan::Notice,
};

/// This host's tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostStatus {
    /// Which list is in force.
    pub list: ListStatus,
    /// What the daemon knows of each server; nothing where there is no daemon.
    pub servers: Vec<ServerStatus>,
    /// Each token of list and store.
    pub tokens: Vec<TokenStatus>,
    /// Hooks that have not acknowledged what is delivered, and those that cannot be read.
    #[serde(default)]
    pub hooks: Vec<HookStatus>,
    /// Credentials that were refused and have not been given since; only a daemon knows.
    #[serde(default)]
    pub refused_credentials: Vec<Refused>,
}

/// The list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListStatus {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it: then the last accepted one is in force.
    pub fault: Option<String>,
}

/// A server, as the daemon sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name in the list.
    pub name: String,
    /// What it answers, or why it does not, where that is no list.
    pub error: Option<String>,
    /// Since when.
    pub since: Option<Time>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Since when it is being asked how things are, where it has not answered yet.
    #[serde(default)]
    pub asked_since: Option<Time>,
    /// When it is asked again, where nobody wants that sooner.
    #[serde(default)]
    pub asked_again: Option<Time>,
    /// How many seconds its clock is ahead of this host's, as of its last list.
    #[serde(default)]
    pub skew: Option<i64>,
}

/// A hook that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Its unit, or, where it cannot be read, nothing.
    pub unit: String,
    /// The generations that it has not acknowledged.
    pub not_acknowledged: Generations,
    /// Since when, as far as this daemon has seen it; only a daemon knows.
    pub since: Option<Time>,
    /// Why it cannot be read.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl HookStatus {
    /// One that has not acknowledged.
    #[must_use]
    pub fn behind(behind: Behind, since: Option<Time>) -> Self {
        let hint = Some(Self::where_to_look(&behind.unit));
        let unit = behind.unit.to_string();
        Self { unit, not_acknowledged: behind.generations, since, error: None, hint }
    }

    /// One that cannot be read.
    #[must_use]
    pub fn faulty(fault: &ConfigError) -> Self {
        Self {
            unit: String::new(),
            not_acknowledged: Generations::new(),
            since: None,
            error: Some(fault.to_string()),
            hint: fault.hint(),
        }
    }

    /// `generation 4 of edge_writer`, for all of them.
    #[must_use]
    pub fn in_words(generations: &Generations) -> String {
        let words = |(name, generation): (&Name, &u64)| format!("generation {generation} of {name}");
        generations.iter().map(words).collect::<Vec<_>>().join(", ")
    }

    /// Where its unit logs what it has tried.
    #[must_use]
    pub fn where_to_look(unit: &Unit) -> String {
        format!("run `journalctl -u '{}'` to see why; it is retried each minute", unit.hook_service())
    }
}

/// A token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenStatus {
    /// What list and store say.
    #[serde(flatten)]
    pub status: Status,
    /// What to do about what it waits for; only a daemon knows.
    #[serde(default)]
    pub hints: Vec<String>,
    /// What the data plane said of the token, and of the one to come; only a daemon knows.
    pub probes: Vec<Verdict>,
    /// Who has read it last over the socket; only a daemon knows.
    pub last_read: Option<LastRead>,
    /// While former tokens still work: who may hold one; only a daemon knows.
    pub holders: Option<Holders>,
}

/// What the data plane said of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Which.
    pub id: String,
    /// When it was last accepted for everything.
    pub accepted_at: Option<Time>,
    /// Since when it is refused.
    pub refused_since: Option<Time>,
    /// Since when there was no answer that says anything about it.
    pub unreachable_since: Option<Time>,
    /// The last answer, if it was not accepted.
    pub last: Option<String>,
}

impl TokenStatus {
    /// Without a daemon.
    #[must_use]
    pub fn sealed(status: Status) -> Self {
        Self { status, hints: vec![], probes: vec![], last_read: None, holders: None }
    }
}

/// What a daemon has seen, by name.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the last pass found.
    pub findings: BTreeMap<Name, Vec<Notice>>,
    /// What the data plane said.
    pub probes: BTreeMap<Name, Vec<Verdict>>,
    /// Who has read.
    pub reads: BTreeMap<Name, LastRead>,
    /// Who holds former values.
    pub holders: BTreeMap<Name, Holders>,
}

impl Seen {
    /// With what list and store say. What a pass found says more than what can be read from a record.
    pub fn of(&mut self, mut status: Status) -> TokenStatus {
        let mut hints = vec![];
        if let Some(findings) = self.findings.remove(&status.name) {
            let what: Vec<&str> = findings.iter().map(|notice| notice.what.as_str()).collect();
            status.waits = Some(what.join("; "));
            hints.extend(findings.into_iter().filter_map(|notice| notice.hint));
            hints.dedup();
        }
        TokenStatus {
            hints,
            probes: self.probes.remove(&status.name).unwrap_or_default(),
            last_read: self.reads.remove(&status.name),
            holders: self.holders.remove(&status.name),
            status,
        }
    }
}
