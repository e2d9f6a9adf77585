//! Which list is in force: the one in the file if it is valid, else the last that was accepted (rule 17).

use std::{path::Path, sync::Arc};

use super::assemble::{AssembleError, Home, open};
use crate::config::{self, Config};

/// The list in force.
#[derive(Debug)]
pub(super) struct Accepted {
    /// What it says.
    pub config: Config,
    /// What is wrong with the one in the file, if that is another.
    pub fault: Option<String>,
}

/// What became of a list that changed.
pub(super) enum Reload {
    /// It says the same as before.
    Same,
    /// It is not taken over.
    Refused(String),
    /// It is in force.
    Accepted(Box<Accepted>),
}

/// The first list of a process, and what it names.
pub(super) async fn first(
    path: &Path,
    context: &config::Context,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    match config::read(path).and_then(|text| Ok((Config::parse(&text, path, context)?, text))) {
        Ok((config, text)) => {
            let home = open(&config).await?;
            match unless_emptied(&config, &home) {
                Ok(()) => {
                    home.ledger.store().seal_list(&text)?;
                    Ok((Accepted { config, fault: None }, home))
                }
                Err(fault) => last_accepted(path, context, home, fault).await,
            }
        }
        Err(error) => {
            tracing::error!("{error}");
            // Nothing of the file can be believed, so the store is looked for where it is by default.
            let home = open(&Config::fallback(context)).await?;
            last_accepted(path, context, home, error.to_string()).await.map_err(|other| match other {
                AssembleError::List(_) => AssembleError::List(error),
                other => other,
            })
        }
    }
}

async fn last_accepted(
    path: &Path,
    context: &config::Context,
    home: Arc<Home>,
    fault: String,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    let sealed = home.ledger.store().accepted_list()?;
    let config = match sealed {
        Some(text) => Config::parse(&text, path, context)?,
        None => Config::fallback(context),
    };
    tracing::warn!("the last accepted list is in force");
    Ok((Accepted { config, fault: Some(fault) }, home))
}

/// Takes over a changed list, if it is valid.
pub(super) async fn reload(
    path: &Path,
    context: &config::Context,
    accepted: &Accepted,
    home: &Home,
) -> Reload {
    let parsed = config::read(path).and_then(|text| Ok((Config::parse(&text, path, context)?, text)));
    let (config, text) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Reload::Refused(error.to_string()),
    };
    if config == accepted.config {
        return Reload::Same;
    }
    if let Err(fault) = unless_emptied(&config, home) {
        return Reload::Refused(fault);
    }
    match home.ledger.store().seal_list(&text) {
        Ok(()) => Reload::Accepted(Box::new(Accepted { config, fault: None })),
        Err(error) => Reload::Refused(error.to_string()),
    }
}

/// Rule 11: a list without any token is a slip where the store holds one.
fn unless_emptied(config: &Config, home: &Home) -> Result<(), String> {
    let records = home.ledger.known().len();
    if config.specs.is_empty() && records > 0 {
        return Err(format!(
            "the list asks for no token, and the store has {records}: that is taken for a slip"
        ));
    }
    Ok(())
}

/// What a running daemon cannot change.
pub(super) fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let parts = [
        (before.store != after.store, "[store]"),
        (before.files != after.files, "[deliver.files]"),
        (before.socket != after.socket, "[deliver.socket]"),
    ];
    parts.into_iter().filter_map(|(changed, part)| changed.then_some(part)).collect()
}
