//! Undoing: a rotation, or a token altogether.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Keepers, applied::ApplyReport, command::Refusal};
use crate::{
    deliver::Deliver,
    lifecycle::may_all_rotate,
    model::{Name, TokenId},
    store::Store,
};

/// A token that a person has revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cut {
    /// The server's id for it.
    pub id: TokenId,
    /// Who is known to have read it, and is cut off.
    pub readers: BTreeSet<String>,
    /// What came of minting another; nothing where the list does not ask for the name.
    pub applied: Option<ApplyReport>,
}

/// Makes the value before the current one current again, for each of the names.
///
/// # Errors
/// One cannot be had; those before it in the list are done.
pub async fn undo<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    names: &BTreeSet<Name>,
) -> Result<(), Refusal> {
    may_all_rotate(keepers, names).map_err(|errors| Refusal::of_all(&errors))?;
    for name in names {
        for keeper in keepers.iter().filter(|keeper| keeper.lists(name)) {
            keeper.undo(name).await.map_err(|error| Refusal::of(&error))?;
        }
    }
    Ok(())
}

/// Revokes the current token of a name now, reporting before who is cut off. Returns which it was, whose readers are
/// known, and what could not be sealed or delivered after it.
///
/// # Errors
/// No token that is ours to revoke, or the server did not revoke it.
pub async fn revoke<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    name: &Name,
    tell: impl Fn(String),
) -> Result<(Cut, Vec<String>), Refusal> {
    let mut why = None;
    for keeper in keepers {
        let id = match keeper.revocable(name) {
            Ok(id) => id,
            Err(error) => {
                why = why.or(Some(error));
                continue;
            }
        };
        let readers = keeper.readers(name).await;
        readers.iter().for_each(|reader| tell(format!("cut off: {reader}")));
        let errors = keeper.revoke_now(name).await.map_err(|error| Refusal::of(&error))?;
        return Ok((Cut { id, readers, applied: None }, errors));
    }
    Err(why.map_or_else(
        || Refusal::new("the list names no server", "add a [server] table"),
        |error| Refusal::of(&error),
    ))
}
