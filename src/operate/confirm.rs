//! A person's word that tokens really move to another server (rule 12).

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Keepers, command::Refusal};
use crate::{
    deliver::Deliver,
    lifecycle::{Unanswered, plan::Matter},
    model::{Name, ServerKey, ServerName},
    store::Store,
};

/// Names that get a new token on another server; their old ones are kept and reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves(pub Vec<Move>);

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub name: Name,
    /// Where its token lives.
    pub from: ServerKey,
    /// Where the list has it.
    pub to: ServerKey,
    /// The same, by its name in the list.
    pub server: ServerName,
}

impl Moves {
    /// What waits for such a word now.
    ///
    /// # Errors
    /// The first server that cannot be asked.
    pub async fn find<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Self, Unanswered> {
        let mut moves = Vec::new();
        for keeper in keepers {
            for finding in keeper.look().await?.0.findings {
                if let (Some(name), Matter::ServerChanged { from }) = (finding.name, finding.matter) {
                    let (to, server) = (keeper.server_key().clone(), keeper.server_name().clone());
                    moves.push(Move { name, from, to, server });
                }
            }
        }
        moves.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(moves))
    }

    /// So that nobody confirms something else than what was shown.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for Move { name, from, server, .. } in &self.0 {
            hash.update(format!("{name}\n{from}\n{server}\n"));
        }
        HEXLOWER.encode(&hash.finalize()[..6])
    }

    /// The names, if the digest is the one that was shown for them.
    ///
    /// # Errors
    /// It is another one.
    pub fn confirmed(self, digest: &str) -> Result<Vec<Name>, Refusal> {
        if self.digest() != digest {
            return Err(Refusal::new(
                "that is not what would be done now",
                "run `influx-tokend confirm` to see what it is, and its digest",
            ));
        }
        Ok(self.0.into_iter().map(|one| one.name).collect())
    }
}
