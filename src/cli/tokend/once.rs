//! One run of what the daemon does, on the servers at hand, until nothing is due and no probe is open.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Format, Outcome, context::Failure};
use crate::{
    cli::ui,
    config::Config,
    daemon::{self, Home, HostKeeper},
    lifecycle::{Mode, Signals, clocks, statuses},
    model::{Name, Time},
    operate::applied::{ApplyReport, Completion, PendingNames, ServerReport, Summary},
};

/// Delivers what is sealed and does what is due. Those in `renewed` are to have a new value in the end.
pub(super) async fn run(
    list: &Path,
    config: &Config,
    home: &Home,
    keepers: &[&HostKeeper],
    renewed: &BTreeSet<Name>,
) -> Result<ApplyReport, Failure> {
    // What a daemon falls back on when the list in the file has faults.
    let text = crate::config::read(list)?;
    daemon::accept(&home.ledger, config, &text).await?;
    let awaited = PendingNames::of(&home.ledger, renewed);
    let mut summary = Summary::about(&awaited);
    summary.errors.extend(home.deliver_all().await.iter().map(ToString::to_string));
    let summary = Mutex::new(summary);
    let was_stopped = drive(keepers, &summary).await?;
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    if was_stopped {
        summary.errors.push("stopped by a signal: the rest is left to the next run".to_owned());
    }
    let clocks = clocks(Time::now(), keepers.iter().copied());
    let tokens = statuses(&home.specs(), &home.ledger.known(), &config.lifecycle, &clocks);
    summary.add_lacking(&awaited.lacking(&home.ledger));
    Ok(summary.applied(tokens))
}

/// Each server in its own time: one that is away does not hold up the others. A signal lets what is under way finish.
/// Whether there was one.
async fn drive(keepers: &[&HostKeeper], summary: &Mutex<Summary>) -> Result<bool, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    let all = keepers.iter().map(|keeper| {
        let signals = Signals::new(stopping.clone());
        keeper.drive(Mode::OneShot, std::time::Duration::ZERO, signals, |report| {
            let report = ServerReport::of(keeper.server_name(), report);
            report.note().iter().for_each(|note| ui::note("influx-tokend", note));
            summary.lock().unwrap_or_else(PoisonError::into_inner).take(&report);
        })
    });
    let mut all = std::pin::pin!(futures_util::future::join_all(all));
    loop {
        tokio::select! {
            _ = &mut all => return Ok(*stop.borrow()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    }
}

/// Prints what came of it, and returns how the command exits.
pub(super) fn show(format: Format, applied: &ApplyReport) -> Result<Outcome, Failure> {
    match format {
        Format::Json => ui::print_json(applied)?,
        Format::Text => {
            ui::print(&super::status::table(&applied.tokens))?;
            for line in applied.errors.iter().chain(&applied.findings) {
                ui::note("influx-tokend", line);
            }
        }
    }
    outcome(applied)
}

/// How the command exits.
pub(super) fn outcome(applied: &ApplyReport) -> Result<Outcome, Failure> {
    match applied.completion() {
        Completion::Done => Ok(Outcome::Done),
        Completion::Waits => Ok(Outcome::Waits),
        Completion::Partly => Ok(Outcome::Partly),
        Completion::Failed => Err(Failure::Several("nothing could be done".to_owned())),
    }
}
