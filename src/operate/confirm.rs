//! What a person has to confirm: that tokens move to another server (rule 12), or that so many of them are revoked because
//! their names left the list (rule 11).

use serde::{Deserialize, Serialize};

use super::{
    Keepers,
    command::Refusal,
    digest::{digest, must_be},
};
use crate::{
    deliver::Deliver,
    lifecycle::{Unanswered, plan::Matter},
    model::{Name, ServerKey, ServerName, Word},
    store::Store,
};

/// What waits for a confirmation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Names that get a new token on another server; their old ones are kept and reported.
    pub moves: Vec<Move>,
    /// Names that left the list, whose tokens are revoked.
    pub revokes: Vec<Removal>,
}

/// A name that moves.
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

/// A name whose tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Which.
    pub name: Name,
    /// Where they live, by its name in the list.
    pub server: ServerName,
}

impl Proposal {
    /// What waits now.
    ///
    /// # Errors
    /// The first server that cannot be asked.
    pub async fn find<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Self, Unanswered> {
        let mut proposal = Self::default();
        for keeper in keepers {
            for finding in keeper.look().await?.0.findings {
                let Some(name) = finding.name else { continue };
                let server = keeper.server_name().clone();
                match finding.matter {
                    Matter::ServerChanged { from } => {
                        proposal.moves.push(Move { name, from, to: keeper.server_key().clone(), server });
                    }
                    Matter::RevocationUnconfirmed => proposal.revokes.push(Removal { name, server }),
                    _ => {}
                }
            }
        }
        proposal.moves.sort_by(|one, other| one.name.cmp(&other.name));
        proposal.revokes.sort_by(|one, other| (&one.name, &one.server).cmp(&(&other.name, &other.server)));
        Ok(proposal)
    }

    /// Whether nothing does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.revokes.is_empty()
    }

    /// So that nobody confirms something else than what was shown.
    #[must_use]
    pub fn digest(&self) -> String {
        let moves = self.moves.iter();
        let moves = moves.map(|Move { name, from, server, .. }| format!("move {name}\n{from}\n{server}\n"));
        let revokes =
            self.revokes.iter().map(|Removal { name, server }| format!("revoke {name}\n{server}\n"));
        digest(moves.chain(revokes))
    }

    /// What is confirmed, if the digest is the one that was shown for it.
    ///
    /// # Errors
    /// It is another one.
    pub fn approve(self, shown: &str) -> Result<Approval, Refusal> {
        must_be(&self.digest(), shown, "confirm")?;
        Ok(Approval(self))
    }
}

/// What a person confirmed.
#[derive(Clone, Debug, Default)]
pub struct Approval(Proposal);

impl Approval {
    /// Names that are to have a new value.
    pub fn moved(&self) -> impl Iterator<Item = &Name> {
        self.0.moves.iter().map(|one| &one.name)
    }

    /// Passes it to those who act on it.
    pub fn pass_to<T: Store, D: Deliver>(&self, keepers: Keepers<'_, T, D>) {
        for keeper in keepers {
            keeper.confirm(self.moved().cloned(), Word::Move);
            keeper.confirm(self.0.revokes.iter().map(|one| one.name.clone()), Word::Revoke);
        }
    }
}
