//! Live tokens that bear this store's label but are in no record (rule 3).

use serde::{Deserialize, Serialize};

use super::{Keepers, command::Refusal};
use crate::{
    deliver::Deliver,
    lifecycle::Unanswered,
    model::{Name, ServerName, Time, TokenId},
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
        found.extend(keeper.unrecorded(&listing).into_iter().map(|(row, label, former_instance)| Stray {
            id: row.id.clone(),
            server: keeper.server_name().clone(),
            name: label.name.clone(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            former_instance,
        }));
    }
    Ok(found)
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
