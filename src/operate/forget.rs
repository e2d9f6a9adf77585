//! Forgetting tokens on servers that the list does not name any more.

use serde::{Deserialize, Serialize};

use super::command::Refusal;
use crate::{
    config::{Config, ServerConfig},
    lifecycle::{Clock as _, Ledger, SystemClock},
    model::{Event, Name, Record, ServerKey, TokenId},
    store::Store,
};

/// What was forgotten of one name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// Which.
    pub name: Name,
    /// The ids of its tokens on former servers.
    pub ids: Vec<TokenId>,
}

/// Forgets what is on former servers, name by name.
///
/// # Errors
/// A name that the store does not have: nothing is forgotten; or a record that could not be sealed: those before it have been.
pub async fn forget<T: Store>(
    config: &Config,
    ledger: &Ledger<T>,
    names: &[Name],
) -> Result<Vec<Forgotten>, Refusal> {
    let named: Vec<ServerKey> = config.servers.values().map(ServerConfig::key).collect();
    if let Some(unknown) = names.iter().find(|name| ledger.record(name).is_none()) {
        let what = format!("the store has no token {unknown}");
        return Err(Refusal::new(what, "`influx-tokend status` shows the names"));
    }
    let mut forgotten = Vec::new();
    for name in names {
        let Some(record) = ledger.record(name) else { continue };
        let ids = on_former_servers(&record, &named);
        if !ids.is_empty() {
            let events = vec![Event::FormerServersForgotten(named.clone())];
            let forgotten = ledger.apply(name, None, events, SystemClock.moment()).await;
            forgotten.map_err(|error| Refusal::of(&error))?;
        }
        forgotten.push(Forgotten { name: name.clone(), ids });
    }
    Ok(forgotten)
}

fn on_former_servers(record: &Record, named: &[ServerKey]) -> Vec<TokenId> {
    let retiring = record.retiring.iter().map(|retiring| (&retiring.held.id, &retiring.held.server));
    let revoked = record.revoked.iter().map(|revoked| (&revoked.id, &revoked.server));
    retiring.chain(revoked).filter(|(_, server)| !named.contains(server)).map(|(id, _)| id.clone()).collect()
}
