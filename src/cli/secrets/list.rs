//! `influx-secrets list`: the names.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Failure, Source};
use crate::{
    cli::ui,
    model::{Name, Time},
};

/// How to list.
#[derive(Debug, Args)]
pub(super) struct List {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line each: name, state, generation, expiry, with tabs between
    Text,
    /// An array
    Json,
}

#[derive(Debug, Serialize)]
struct Row {
    name: Name,
    state: &'static str,
    generation: u64,
    expires_at: Option<Time>,
    error: Option<String>,
}

pub(super) fn run(source: &Source, list: &List) -> Result<(), Failure> {
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
    match list.output {
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
