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
    operate::applied::{Applied, Awaited, Ended, Gathered, Heard},
};

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
    daemon::accept(&home.ledger, config, &text).await?;
    let awaited = Awaited::of(&home.ledger, renewed);
    let mut told = Gathered::about(&awaited);
    told.errors.extend(home.deliver_all().await.iter().map(ToString::to_string));
    let told = Mutex::new(told);
    let was_stopped = drive(keepers, &told).await?;
    let mut told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    if was_stopped {
        told.errors.push("told to stop: what is left to do waits for the next run".to_owned());
    }
    let clocks = clocks(Time::now(), keepers.iter().copied());
    let tokens = statuses(&home.specs(), &home.ledger.known(), &config.lifecycle, &clocks);
    told.tell_lacking(&awaited.lacking(&home.ledger));
    Ok(told.applied(tokens))
}

/// Each server in its own time: one that is away does not hold up the others. A signal lets what is under way end.
/// Whether there was one.
async fn drive(keepers: &[&HostKeeper], told: &Mutex<Gathered>) -> Result<bool, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    let all = keepers.iter().map(|keeper| {
        let signals = Signals::new(stopping.clone());
        keeper.drive(Mode::OneShot, std::time::Duration::ZERO, signals, |report| {
            let heard = Heard::of(keeper.server_name(), report);
            heard.note().iter().for_each(|note| ui::note("influx-tokend", note));
            told.lock().unwrap_or_else(PoisonError::into_inner).take(&heard);
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

/// Prints what came of it and tells how the command ends.
pub(super) fn tell(format: Format, applied: &Applied) -> Result<Outcome, Failure> {
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

/// How the command ends.
pub(super) fn outcome(applied: &Applied) -> Result<Outcome, Failure> {
    match applied.ended() {
        Ended::Done => Ok(Outcome::Done),
        Ended::Waits => Ok(Outcome::Waits),
        Ended::Partly => Ok(Outcome::Partly),
        Ended::Failed => Err(Failure::Several("nothing could be done".to_owned())),
    }
}
