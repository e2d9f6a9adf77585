//! What the rules come to: steps, findings, and when to look again.

use std::collections::{BTreeSet, HashSet};

use super::{
    finding::{Finding, Matter},
    step::Step,
};
use crate::model::{Event, Gone, Held, Name, Record, Time, TokenId};

/// What to do, in this order, and what to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What waits, and what is odd.
    pub findings: Vec<Finding>,
    /// When there will be something to do although nothing changes.
    pub next_due: Option<Time>,
    /// Live tokens of our instance that no record knows.
    pub unknown: BTreeSet<TokenId>,
    /// Held tokens that the list does not show as live.
    pub not_live: BTreeSet<TokenId>,
    /// Names with a token to revoke that waits for an answer about the current one and for nothing else.
    pub to_revoke: BTreeSet<Name>,
    /// Tokens that one refusal makes gone.
    pub to_judge: BTreeSet<TokenId>,
    /// Tokens that a step verifies already.
    verified: HashSet<TokenId>,
    /// What was due before then is planned for now.
    pub(super) from: Time,
}

impl Plan {
    pub(super) fn new(now: Time) -> Self {
        Self { from: now, ..Self::default() }
    }

    pub(super) fn find(&mut self, name: &Name, matter: Matter) {
        self.findings.push(Finding { name: Some(name.clone()), matter });
    }

    pub(super) fn note(&mut self, record: &Record, event: Event) {
        self.steps.push(Step::Note { name: record.name.clone(), event });
    }

    /// Its secret is kept where the list may show it again.
    pub(super) fn set_aside(&mut self, record: &Record, held: &Held, how: Gone) {
        self.note(record, Event::Gone { id: held.id.clone(), how });
        self.find(&record.name, Matter::Gone { id: held.id.clone(), absent: how == Gone::Absent });
    }

    /// A token is asked about once, for whatever reasons.
    pub(super) fn verify(&mut self, name: &Name, id: &TokenId) {
        if self.verified.insert(id.clone()) {
            self.steps.push(Step::Verify { name: name.clone(), id: id.clone() });
        }
    }

    pub(super) fn due(&mut self, at: Time) {
        if at <= self.from {
            return;
        }
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }

    /// Whether the plan cannot be made well without the server's databases.
    #[must_use]
    pub fn needs_databases(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::Mint { .. } | Step::Probe { .. } | Step::Verify { .. } | Step::Patch { .. })
        })
    }
}
