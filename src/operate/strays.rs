//! Live tokens that bear this store's label but are in no record (rule 3).

use serde::{Deserialize, Serialize};

use super::{HostKeeper, Keepers, command::Refusal};
use crate::{
    deliver::Deliver,
    lifecycle::{Clock as _, Ledger, SystemClock, Unanswered},
    model::{Known, Label, Listed, Name, Origin, ServerName, Time, TokenId},
    store::Store,
};

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stray {
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerName,
    /// For which name it was minted.
    pub name: Name,
    /// When.
    pub created_at: Option<Time>,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
    /// The instance in its label is one that this store had before.
    pub former_instance: bool,
}

/// All of them.
///
/// # Errors
/// The first server that cannot be asked.
pub async fn find<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Vec<Stray>, Unanswered> {
    let mut found = Vec::new();
    for keeper in keepers {
        let (_, listing) = keeper.look().await?;
        let unrecorded = keeper.unrecorded(&listing).into_iter();
        found.extend(unrecorded.map(|(row, label, former)| stray(keeper, row, &label, former)));
    }
    Ok(found)
}

fn stray<T: Store, D: Deliver>(
    keeper: &HostKeeper<T, D>,
    row: Listed,
    label: &Label,
    former_instance: bool,
) -> Stray {
    Stray {
        id: row.id,
        server: keeper.server_name().clone(),
        name: label.name.clone(),
        created_at: row.created_at,
        expires_at: row.expires_at,
        former_instance,
    }
}

/// Ends those that were named, if all of them are strays now. Whoever uses one is cut off.
///
/// # Errors
/// One is none, and nothing was ended; or a server did not end one, and what came before it has ended.
pub async fn revoke<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ids: &[TokenId],
) -> Result<Vec<Stray>, Refusal> {
    let found = find(keepers).await.map_err(|error| Refusal::of(&error))?;
    let mut ended = Vec::new();
    for id in ids {
        let Some(stray) = found.iter().find(|stray| stray.id == *id) else {
            return Err(Refusal::new(
                format!(
                    "{:?} is not a live token of this store that is in no record; nothing was ended",
                    id.0
                ),
                "`influx-tokend strays` lists them",
            ));
        };
        ended.push(stray.clone());
    }
    for stray in &ended {
        let keeper = keepers.iter().find(|keeper| *keeper.server_name() == stray.server);
        if let Some(keeper) = keeper {
            keeper.end_unrecorded(&stray.id).await.map_err(|error| Refusal::of(&error))?;
            tracing::warn!(id = %stray.id, name = %stray.name, server = %stray.server, "a person has ended a stray");
        }
    }
    Ok(ended)
}

/// A store with a new instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Separation {
    /// Live tokens of the former instance that were not minted here.
    pub unknown: Vec<Stray>,
    /// Names whose tokens the other machine may use, too: they get other tokens.
    pub shared: Vec<Name>,
}

/// Tokens of this store's instance that it never sealed a marker for: another machine minted them with a copy of it.
///
/// # Errors
/// A server cannot be asked, or there is no such token.
pub async fn unknown<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ledger: &Ledger<T>,
) -> Result<Vec<Stray>, Refusal> {
    let known = ledger.known();
    let is_unknown = |label: &Label| match known.get(&label.name) {
        // What the record says of it, nobody knows.
        Some(Known::Unreadable | Known::Later(_)) => false,
        Some(Known::Ours(record)) => !record.knows_marker(&label.marker),
        None => true,
    };
    let mut unknown = Vec::new();
    for keeper in keepers {
        let (_, listing) = keeper.look().await.map_err(|error| Refusal::of(&error))?;
        let unrecorded = keeper.unrecorded(&listing).into_iter();
        let unrecorded = unrecorded.filter(|(_, label, former)| !former && is_unknown(label));
        unknown.extend(unrecorded.map(|(row, label, former)| stray(keeper, row, &label, former)));
    }
    if unknown.is_empty() {
        return Err(Refusal::new(
            "this store minted all live tokens of its instance; nothing was changed",
            "a copy of this store shows once it has minted a token; `influx-tokend strays` lists such tokens",
        ));
    }
    Ok(unknown)
}

/// Takes a new instance (rule 3). The tokens that there are stay with whoever uses them; nothing is revoked.
///
/// # Errors
/// Something cannot be sealed: another try does the rest.
pub async fn separate<T: Store>(ledger: &Ledger<T>, unknown: Vec<Stray>) -> Result<Separation, Refusal> {
    tracing::warn!("separating this store from a copy on another machine, as asked: taking a new instance");
    ledger.disown(&SystemClock.moment()).await.map_err(|error| Refusal::of(&error))?;
    let known = ledger.known();
    let records = known.values().filter_map(Known::record);
    let shared = records.filter(|record| record.held().any(|held| held.origin == Origin::Inherited));
    Ok(Separation { unknown, shared: shared.map(|record| record.name.clone()).collect() })
}
