//! What the daemon tells of itself: a line for systemd, and a log line whenever something begins or ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, broadcast};

use super::assemble::Home;
use crate::{
    hint::Hint as _,
    lifecycle::{Report, Unanswered, ready},
    model::{Name, ServerName, Time},
    operate::{applied::ServerReport, plan::Notice, status::ServerStatus},
};

/// What is refused is refused for good after this many passes.
const LASTING: u32 = 3;
/// A restart for a fresh management token is asked for at most this often.
const RESTART: Duration = Duration::from_secs(3600);

/// So many reports may wait for a listener that is slow.
const REPORTS: usize = 256;

/// The state of list and servers, as last seen.
#[derive(Debug)]
pub struct Board {
    notes: Mutex<Notes>,
    changed: Notify,
    restart: Notify,
    reports: broadcast::Sender<ServerReport>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Notes {
    list_fault: Option<String>,
    servers: BTreeMap<ServerName, ServerNote>,
}

#[derive(Debug, Default)]
struct ServerNote {
    error: Option<ServerFault>,
    refused: u32,
    findings: BTreeMap<String, Found>,
}

/// About which name something was found, and what to do about it.
#[derive(Debug)]
struct Found {
    name: Option<Name>,
    hint: Option<String>,
}

#[derive(Debug)]
struct ServerFault {
    what: String,
    hint: Option<String>,
    since: Time,
}

impl Board {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            notes: Mutex::default(),
            changed: Notify::new(),
            restart: Notify::new(),
            reports: broadcast::Sender::new(REPORTS),
            started: Instant::now(),
        }
    }

    /// The list could not be taken over, or could.
    pub fn list(&self, fault: Option<String>) {
        self.notes().list_fault = fault;
        self.changed.notify_one();
    }

    /// These are the servers from now on.
    pub fn servers(&self, names: BTreeSet<ServerName>) {
        let mut notes = self.notes();
        notes.servers.retain(|name, _| names.contains(name));
        for name in names {
            notes.servers.entry(name).or_default();
        }
    }

    /// A server cannot be asked. Logged when it begins and when it becomes another error. `is_refused`: what we present is
    /// not taken.
    pub fn server_error(&self, name: &ServerName, error: &str, hint: Option<String>, is_refused: bool) {
        let mut notes = self.notes();
        let note = notes.servers.entry(name.clone()).or_default();
        note.refused = if is_refused { note.refused + 1 } else { 0 };
        let since = match &note.error {
            Some(known) if known.what == error => known.since,
            known => {
                tracing::error!("{error}");
                hint.iter().for_each(|hint| tracing::error!("hint: {hint}"));
                known.as_ref().map_or_else(Time::now, |known| known.since)
            }
        };
        note.error = Some(ServerFault { what: error.to_owned(), hint, since });
        drop(notes);
        self.changed.notify_one();
    }

    /// A keeper's report.
    pub fn report(&self, name: &ServerName, report: &Report, may_restart: bool) {
        self.note(name, report, may_restart);
        // Nobody need be listening.
        let _heard = self.reports.send(ServerReport::of(name, report));
    }

    fn note(&self, name: &ServerName, report: &Report, may_restart: bool) {
        // A probe has looked at nothing but its own token.
        if report.pass == 0 {
            return;
        }
        if let Some(error) = &report.server_error {
            let is_refused = match error {
                Unanswered::Server(error) => error.refuses_the_secret(),
                Unanswered::Time(_) | Unanswered::Shared(_) => false,
            };
            self.server_error(name, &error.to_string(), error.hint(), is_refused);
            self.restart_if_lasting(name, may_restart);
            return;
        }
        let mut notes = self.notes();
        let note = notes.servers.entry(name.clone()).or_default();
        note.refused = 0;
        if let Some(ServerFault { since, .. }) = note.error.take() {
            tracing::info!(server = %name, "answers again, after {since:.0}");
        }
        let mut found = BTreeMap::new();
        for finding in &report.findings {
            let (text, hint) = (finding.to_string(), finding.matter.hint());
            if !note.findings.contains_key(&text) {
                tracing::warn!(server = %name, "{text}");
                hint.iter().for_each(|hint| tracing::warn!("hint: {hint}"));
            }
            found.insert(text, Found { name: finding.name.clone(), hint });
        }
        note.findings = found;
        drop(notes);
        self.changed.notify_one();
    }

    /// A systemd credential does not change while a unit runs: only a restart reads a fresh one.
    fn restart_if_lasting(&self, name: &ServerName, from_credential: bool) {
        let refused = self.notes().servers.get(name).map_or(0, |note| note.refused);
        let supervised = std::env::var_os("INVOCATION_ID").is_some();
        if only_a_restart_helps(refused, from_credential && supervised, self.started.elapsed()) {
            tracing::error!(server = %name, "the management token is refused: ending, to be started with a fresh one");
            self.restart.notify_one();
        }
    }

    /// Every report from now on.
    pub fn listen(&self) -> broadcast::Receiver<ServerReport> {
        self.reports.subscribe()
    }

    /// What is wrong with the list in the file.
    #[must_use]
    pub fn list_fault(&self) -> Option<String> {
        self.notes().list_fault.clone()
    }

    /// What the last passes found of each name, without its name.
    #[must_use]
    pub fn findings(&self) -> BTreeMap<Name, Vec<Notice>> {
        let mut found: BTreeMap<Name, Vec<Notice>> = BTreeMap::new();
        for (text, Found { name, hint }) in self.notes().servers.values().flat_map(|note| &note.findings) {
            if let Some(name) = name {
                let what = without_name(text, name).to_owned();
                found.entry(name.clone()).or_default().push(Notice { what, hint: hint.clone() });
            }
        }
        found
    }

    /// Each server as last seen.
    #[must_use]
    pub fn server_statuses(&self) -> Vec<ServerStatus> {
        let status = |(name, note): (&ServerName, &ServerNote)| ServerStatus {
            name: name.to_string(),
            error: note.error.as_ref().map(|fault| fault.what.clone()),
            since: note.error.as_ref().map(|fault| fault.since),
            hint: note.error.as_ref().and_then(|fault| fault.hint.clone()),
            asked_since: None,
            asked_again: None,
            skew: None,
        };
        self.notes().servers.iter().map(status).collect()
    }

    /// Why a name has no value, as far as passes tell: what was found of it, else what keeps its server away.
    #[must_use]
    pub fn why_not(&self, name: &Name, server: Option<&ServerName>) -> Option<String> {
        let notes = self.notes();
        let findings = notes.servers.values().flat_map(|note| &note.findings);
        let found: Vec<&str> = findings
            .filter(|(_, found)| found.name.as_ref() == Some(name))
            .map(|(text, _)| without_name(text, name))
            .collect();
        if !found.is_empty() {
            return Some(found.join("; "));
        }
        let fault = notes.servers.get(server?)?.error.as_ref()?;
        Some(format!("{} (since {:.0})", fault.what, fault.since))
    }

    /// Something above has changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Only a restart helps.
    pub async fn wants_restart(&self) {
        self.restart.notified().await;
    }

    /// One line: how many tokens are ready, what waits, since when a server is away.
    #[must_use]
    pub fn summary(&self, home: &Home) -> String {
        let (ready, all) = ready(&home.specs(), &home.ledger.known());
        let mut parts = vec![format!("{ready} of {all} tokens ready")];
        let notes = self.notes();
        if notes.list_fault.is_some() {
            parts.push("the list has faults, the last accepted one is in force".to_owned());
        }
        for (name, note) in &notes.servers {
            if let Some(ServerFault { what, since, .. }) = &note.error {
                parts.push(format!("{what} (server {name}, since {since:.0})"));
            }
        }
        let waits = notes.servers.values().map(|note| note.findings.len()).sum::<usize>();
        if waits > 0 {
            parts.push(format!("{waits} findings, see the log"));
        }
        parts.join("; ")
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_name<'t>(text: &'t str, name: &Name) -> &'t str {
    text.strip_prefix(&format!("token {name}: ")).unwrap_or(text)
}

/// Whether the management token has been refused in so many passes that waiting is no use, it comes from where only a
/// restart reads it anew, and the last restart is an hour ago.
fn only_a_restart_helps(refused: u32, read_at_start_only: bool, uptime: Duration) -> bool {
    refused >= LASTING && read_at_start_only && uptime >= RESTART
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_for_a_fresh_management_token_at_most_hourly_and_under_systemd_only() {
        assert!(only_a_restart_helps(LASTING, true, RESTART));
        assert!(!only_a_restart_helps(LASTING - 1, true, RESTART), "it may be back soon");
        assert!(!only_a_restart_helps(LASTING, false, RESTART), "a file or a program is read in each pass");
        assert!(!only_a_restart_helps(LASTING, true, RESTART - Duration::from_secs(1)), "at most hourly");
    }

    #[test]
    fn only_refusals_in_a_row_count() {
        let (board, name) = (Board::new(), ServerName("default".into()));
        let refused = |board: &Board| board.notes().servers[&name].refused;
        for is_refused in [true, true] {
            board.server_error(&name, "e", None, is_refused);
        }
        assert_eq!(refused(&board), 2);
        board.server_error(&name, "e", None, false);
        assert_eq!(refused(&board), 0);
        let mut report = Report::default();
        board.report(&name, &report, true);
        assert!(board.notes().servers[&name].error.is_some(), "a probe does not tell");
        report.pass = 1;
        board.report(&name, &report, true);
        assert!(board.notes().servers[&name].error.is_none());
    }
}
