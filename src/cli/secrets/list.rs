//! `influx-secrets list`: the names. A line each for people: name, state, generation and expiry, with tabs between.

use serde::Serialize;

use super::{Failure, Source};
use crate::{
    cli::{Format, ui},
    model::{Name, Time},
};

#[derive(Debug, Serialize)]
struct Row {
    name: Name,
    state: &'static str,
    generation: u64,
    expires_at: Option<Time>,
    error: Option<String>,
}

pub(super) fn run(source: &Source, format: Format) -> Result<(), Failure> {
    let rows: Vec<Row> = source
        .reader()?
        .load()?
        .into_iter()
        .map(|(name, stored)| match stored {
            Ok(stored) => Row {
                state: if stored.record.current.is_some() { "ready" } else { "not ready" },
                generation: stored.record.generation,
                expires_at: stored.record.current.and_then(|current| current.expires_at),
                error: None,
                name,
            },
            Err(error) => Row {
                name,
                state: "unreadable",
                generation: 0,
                expires_at: None,
                error: Some(error.to_string()),
            },
        })
        .collect();
    match format {
        Format::Json => ui::print_json(&rows)?,
        Format::Text => ui::print(&rows.iter().map(line).collect::<String>())?,
    }
    for error in rows.iter().filter_map(|row| row.error.as_ref()) {
        ui::note("influx-secrets", &format!("warning: {error}"));
    }
    Ok(())
}

fn line(row: &Row) -> String {
    let expires = row.expires_at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    format!("{}\t{}\t{}\t{expires}\n", row.name, row.state, row.generation)
}
