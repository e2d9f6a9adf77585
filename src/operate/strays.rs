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
    /// When it expires.
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

/// Revokes those that were named, if all of them are strays now. Their users are cut off.
///
/// # Errors
/// One is not a stray, and nothing was revoked; or a server did not revoke one, and those before it are revoked.
pub async fn revoke<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ids: &[TokenId],
) -> Result<Vec<Stray>, Refusal> {
    let found = find(keepers).await.map_err(|error| Refusal::of(&error))?;
    let mut named = Vec::new();
    for id in ids {
        let Some(stray) = found.iter().find(|stray| stray.id == *id) else {
            return Err(Refusal::new(
                format!("token id {:?} is not a stray, nothing was revoked", id.0),
                "run `influx-tokend strays` to list them",
            ));
        };
        named.push(stray.clone());
    }
    for stray in &named {
        let keeper = keepers.iter().find(|keeper| *keeper.server_name() == stray.server);
        if let Some(keeper) = keeper {
            keeper.revoke_unrecorded(&stray.id).await.map_err(|error| Refusal::of(&error))?;
            tracing::warn!(id = %stray.id, name = %stray.name, server = %stray.server, "stray revoked by a person");
        }
    }
    Ok(named)
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
            "this store minted all live tokens of its instance, nothing was changed",
            "wait until the copy has minted a token: `influx-tokend strays` lists it then",
        ));
    }
    Ok(unknown)
}

/// Takes a new instance (rule 3). Existing tokens stay with their users; nothing is revoked.
///
/// # Errors
/// Something cannot be sealed: a retry does the rest.
pub async fn separate<T: Store>(ledger: &Ledger<T>, unknown: Vec<Stray>) -> Result<Separation, Refusal> {
    tracing::warn!("separating this store from a copy on another machine, as asked: taking a new instance");
    ledger.disown(&SystemClock.moment()).await.map_err(|error| Refusal::of(&error))?;
    let known = ledger.known();
    let records = known.values().filter_map(Known::record);
    let shared = records.filter(|record| record.held().any(|held| held.origin == Origin::Inherited));
    Ok(Separation { unknown, shared: shared.map(|record| record.name.clone()).collect() })
}
