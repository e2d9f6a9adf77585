//! `influx-secrets list`: the names. A line each for people: name, state, generation and expiry, with tabs between.

use std::time::Duration;

use serde::Serialize;

use super::{Failure, Source, source::Origin, store::Store};
use crate::{
    cli::{Format, ui},
    client::Client,
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
    let rows = match &source.origin {
        Origin::Daemon(client) => of_the_daemon(client)?,
        Origin::Store(store) => of_a_store(store)?,
    };
    match format {
        Format::Json => ui::print_json(&rows)?,
        Format::Text => ui::print(&rows.iter().map(line).collect::<String>())?,
    }
    for error in rows.iter().filter_map(|row| row.error.as_ref()) {
        ui::note("influx-secrets", &format!("warning: {error}"));
    }
    Ok(())
}

/// What the caller may read. The daemon tells no expiry there.
fn of_the_daemon(client: &Client) -> Result<Vec<Row>, Failure> {
    let changes = client.changes(None, Duration::MAX)?;
    let row = |(name, generation): (Name, u64)| {
        let state = if generation > 0 { "ready" } else { "not ready" };
        Row { name, state, generation, expires_at: None, error: None }
    };
    Ok(changes.changed.into_iter().map(row).collect())
}

fn of_a_store(store: &Store) -> Result<Vec<Row>, Failure> {
    let row = |(name, stored): (Name, Result<crate::store::Stored, crate::store::RecordError>)| match stored {
        Ok(stored) => Row {
            state: if stored.record.current.is_some() { "ready" } else { "not ready" },
            generation: stored.record.generation,
            expires_at: stored.record.current.as_ref().and_then(|current| current.expires_at),
            error: None,
            name,
        },
        Err(error) => {
            Row { name, state: "unreadable", generation: 0, expires_at: None, error: Some(error.to_string()) }
        }
    };
    Ok(store.reader()?.load()?.into_iter().map(row).collect())
}

fn line(row: &Row) -> String {
    let expires = row.expires_at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    format!("{}\t{}\t{}\t{expires}\n", row.name, row.state, row.generation)
}
