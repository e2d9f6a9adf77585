//! One run of what the daemon does, on the servers at hand, until nothing is due and no probe is open.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Mutex,
};

use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Format, Outcome, context::Failure};
use crate::{
    cli::ui,
    config::Config,
    daemon::{Home, HostKeeper},
    hint::Hint as _,
    lifecycle::{Mode, Report, Signals, State, Status, statuses},
    model::{Name, ServerName, Time},
};

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Applied {
    tokens: Vec<Status>,
    errors: Vec<String>,
    findings: Vec<String>,
    /// Something waits for a person.
    waits: bool,
}

#[derive(Debug, Default)]
struct Told {
    errors: Vec<String>,
    events: BTreeSet<String>,
    states: BTreeMap<ServerName, Vec<String>>,
    waits: bool,
}

impl Applied {
    /// How the command ends.
    pub(super) fn outcome(&self) -> Result<Outcome, Failure> {
        let is_ready = |status: &Status| status.state == State::Ready;
        match (self.errors.len(), self.waits) {
            (0, false) => Ok(Outcome::Done),
            (0, true) => Ok(Outcome::Waits),
            _ if self.tokens.iter().any(is_ready) => Ok(Outcome::Partly),
            _ => Err(Failure::Several("nothing could be done".to_owned())),
        }
    }
}

/// Delivers what is sealed and does what is due. Those in `renewed` are to have a new value in the end.
pub(super) async fn run(
    list: &Path,
    config: &Config,
    home: &Home,
    keepers: &[&HostKeeper],
    renewed: &BTreeSet<Name>,
) -> Result<Applied, Failure> {
    // What a daemon falls back on when the list in the file has faults.
    let text = crate::config::read(list)?;
    home.ledger.store().seal_list(&text)?;
    let generation = |name: &Name| home.ledger.record(name).map_or(0, |record| record.generation);
    let before: BTreeMap<&Name, u64> = renewed.iter().map(|name| (name, generation(name))).collect();
    let told = Mutex::new(Told::default());
    for error in home.deliver_all().await {
        note(&told, |told| told.errors.push(error.to_string()));
    }
    drive(keepers, &told).await?;
    let mut told = told.into_inner().unwrap_or_default();
    let tokens = statuses(&home.specs(), &home.ledger.known(), &config.lifecycle, Time::now());
    let lacking = before.iter().filter(|(name, before)| generation(name) <= **before);
    // What waits for a person says why.
    if !told.waits {
        told.errors.extend(lacking.map(|(name, _)| format!("token {name}: has no new value yet")));
    }
    let findings = told.events.into_iter().chain(told.states.into_values().flatten()).collect();
    Ok(Applied { tokens, errors: told.errors, findings, waits: told.waits })
}

/// Each server in its own time: one that is away does not hold up the others. A signal lets what is under way end.
async fn drive(keepers: &[&HostKeeper], told: &Mutex<Told>) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    let all = keepers.iter().map(|keeper| {
        let signals = Signals::new(stopping.clone());
        keeper.drive(Mode::OneShot, std::time::Duration::ZERO, signals, |report| {
            take(told, keeper.server_name(), report);
        })
    });
    let mut all = std::pin::pin!(futures_util::future::join_all(all));
    loop {
        tokio::select! {
            _ = &mut all => return Ok(()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    }
}

fn take(told: &Mutex<Told>, server: &ServerName, report: &Report) {
    if report.probing() > 0 {
        // The one part that takes its time, and it is the server's.
        let tokens = ui::count(report.probing(), "token");
        ui::note("influx-tokend", &format!("server {server}: waiting until {tokens} can be used everywhere"));
    }
    note(told, |told| {
        if let Some(error) = &report.server_error {
            told.errors.push(error.to_string());
            told.errors.extend(error.hint().map(|hint| format!("hint: {hint}")));
        }
        told.errors.extend(report.errors.iter().cloned());
        let events = report.findings.iter().filter(|finding| finding.matter.is_an_event());
        told.events.extend(events.map(|finding| format!("server {server}: {finding}")));
        // How things are is found anew by each pass: only the last one counts.
        let states = report.findings.iter().filter(|finding| !finding.matter.is_an_event());
        told.states
            .insert(server.clone(), states.map(|finding| format!("server {server}: {finding}")).collect());
        told.waits = report.findings.iter().any(|finding| finding.matter.waits_for_a_person());
    });
}

fn note(told: &Mutex<Told>, change: impl FnOnce(&mut Told)) {
    change(&mut told.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
}

pub(super) fn print(format: Format, applied: &Applied) -> Result<(), Failure> {
    match format {
        Format::Json => ui::print_json(applied)?,
        Format::Text => {
            ui::print(&super::status::table(&applied.tokens))?;
            for line in applied.errors.iter().chain(&applied.findings) {
                ui::note("influx-tokend", line);
            }
        }
    }
    Ok(())
}
