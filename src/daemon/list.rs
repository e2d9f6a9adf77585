//! Which list is in force: the one in the file if it is valid, else the last that was accepted (rule 17).

use std::{path::Path, sync::Arc};

use super::{
    assemble::{AssembleError, Home, open},
    desk::Desk,
};
use crate::{
    config::{self, Config},
    store::age::AgeStore,
};

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
///
/// # Errors
/// There is neither a valid list nor a store that has accepted one, or something that it names is not available.
pub(super) async fn first(
    path: &Path,
    context: &config::Context,
    desk: &Desk,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    let open = async |config: &Config| open(config, desk.memory(config).await).await;
    let text = config::read(path)?;
    match Config::parse(&text, path, context) {
        Ok(config) => {
            let home = open(&config).await?;
            match unless_emptied(&config, &home) {
                Ok(()) => {
                    home.ledger.store().seal_list(&text)?;
                    Ok((Accepted { config, fault: None }, home))
                }
                Err(fault) => last_accepted(path, context, config, home, fault),
            }
        }
        Err(error) => {
            let salvaged = Config::salvage(&text, context);
            // None is made for a list that cannot be believed.
            if !AgeStore::exists(&salvaged.store.path) {
                return Err(error.into());
            }
            let home = open(&salvaged).await?;
            last_accepted(path, context, salvaged, home, error.to_string())
        }
    }
}

fn last_accepted(
    path: &Path,
    context: &config::Context,
    salvaged: Config,
    home: Arc<Home>,
    fault: String,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    tracing::error!("{fault}");
    let config = match home.ledger.store().accepted_list()? {
        Some(text) => Config::parse(&text, path, context).unwrap_or(salvaged),
        None => salvaged,
    };
    tracing::warn!(tokens = config.specs.len(), "the last accepted list is in force");
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
