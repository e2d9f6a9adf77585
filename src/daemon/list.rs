//! Which list is in force: the one in the file if it is valid, else the last that was accepted (rule 17).

use std::{path::Path, sync::Arc};

use super::{
    assemble::{AssembleError, Home, open_deliveries, open_ledger},
    desk::Desk,
};
use crate::{
    config::{self, Config},
    lifecycle::{ChangeError, Clock as _, Ledger, SystemClock},
    store::{self, HostStore, SealError},
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
    /// Nothing is wrong with it, but the store cannot have it now.
    NotSealed(String),
    /// It is in force.
    Accepted(Box<Accepted>),
}

/// The first list of a process, and what it names.
///
/// # Errors
/// There is neither a valid list nor a store that has accepted one, or something that it names is not available.
pub(super) async fn first(
    path: &Path,
    context: &config::ListContext,
    desk: &Desk,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    let parsed = config::read(path).and_then(|text| Ok((Config::parse(&text, path, context)?, text)));
    let (there, text, mut fault) = match parsed {
        Ok((config, text)) => (config, Some(text), None),
        Err(error) => {
            // Also of one that is gone or no text: what was accepted before is where the store usually is.
            let salvaged = Config::salvage(&config::read_lossy(path), context);
            // None is made for a list that cannot be believed.
            if !store::exists(&salvaged.store.path) {
                return Err(error.into());
            }
            (salvaged, None, Some(error.to_string()))
        }
    };
    // Who asks while the store opens is answered where the list in the file says so.
    desk.memory(&there).await;
    let ledger = open_ledger(&there).await?;
    if fault.is_none() {
        fault = unless_emptied(&there, &ledger).err();
    }
    let config = match &fault {
        None => there,
        Some(fault) => last_accepted(path, context, there, &ledger, fault).await?,
    };
    // What is delivered, and where, the list in force says: of one that was cut short nobody can tell.
    let home = open_deliveries(&config, ledger, desk.memory(&config).await).await?;
    if let (None, Some(text)) = (&fault, text) {
        accept(&home.ledger, &config, &text).await?;
    }
    Ok((Accepted { config, fault }, home))
}

async fn last_accepted(
    path: &Path,
    context: &config::ListContext,
    there: Config,
    ledger: &Ledger<HostStore>,
    fault: &str,
) -> Result<Config, AssembleError> {
    tracing::error!("{fault}");
    let config = match ledger.store().accepted_list().await? {
        Some(text) => Config::parse(&text, path, context).unwrap_or(there),
        None => there,
    };
    tracing::warn!(tokens = config.specs.len(), "the last accepted list is in force");
    Ok(config)
}

/// Takes over a changed list, if it is valid.
pub(super) async fn reload(
    path: &Path,
    context: &config::ListContext,
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
    if let Err(fault) = unless_emptied(&config, &home.ledger) {
        return Reload::Refused(fault);
    }
    match accept(&home.ledger, &config, &text).await {
        Ok(()) => Reload::Accepted(Box::new(Accepted { config, fault: None })),
        Err(error) => Reload::NotSealed(error.to_string()),
    }
}

/// Makes a valid list the accepted one.
///
/// # Errors
/// The one before is still it; who may read a name may be as this one says.
pub async fn accept(ledger: &Ledger<HostStore>, config: &Config, text: &str) -> Result<(), ChangeError> {
    ledger.allow(&config.specs, &SystemClock.moment()).await?;
    Ok(ledger.store().seal_list(text).await.map_err(SealError::from)?)
}

/// Rule 11: a list without any token is a mistake where the store holds one.
fn unless_emptied(config: &Config, ledger: &Ledger<HostStore>) -> Result<(), String> {
    let records = ledger.known().len();
    if config.specs.is_empty() && records > 0 {
        return Err(format!(
            "the list has no token, but the store has {records}: refused as a probable mistake; run \
             `influx-tokend retire` to revoke them all"
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
