//! `influx-tokend status`: what list and store tell of each name.

use jiff::Timestamp;

use super::{
    Format, Outcome,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    lifecycle::{State, Status, statuses},
};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let config = context.load()?;
    let records = context.read_records(&config)?;
    let statuses = statuses(&config.specs, &records.known, &config.lifecycle, Timestamp::now());
    match format {
        Format::Json => ui::print_json(&statuses)?,
        Format::Text => ui::print(&table(&statuses))?,
    }
    for fault in &records.faults {
        ui::warning(context.program(), fault);
    }
    let waits = statuses.iter().any(|status| status.state == State::Unreadable);
    Ok(if waits { Outcome::Waits } else { Outcome::Done })
}

pub(super) fn table(statuses: &[Status]) -> String {
    if statuses.is_empty() {
        return "the list asks for no token, and the store has none\n".to_owned();
    }
    let mut table =
        ui::table(&["NAME", "STATE", "SERVER", "GRANTS", "GEN", "AGE", "EXPIRES", "ID", "WAITS FOR"]);
    for status in statuses {
        table.add_row(vec![
            status.name.to_string(),
            status.state.word().to_owned(),
            status.server.clone().unwrap_or_default(),
            status.grants.clone(),
            status.generation.to_string(),
            status.age.map(age).unwrap_or_default(),
            status.expires_at.map(|at| format!("{at:.0}")).unwrap_or_else(|| "-".to_owned()),
            status.id.clone().unwrap_or_default(),
            status.waits.clone().unwrap_or_default(),
        ]);
    }
    format!("{table}\n")
}

/// The largest unit alone: an age is read at a glance.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
