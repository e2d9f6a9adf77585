//! A person's word: that tokens really move to another server (rule 12), or that so many of them are really to be ended
//! because their names left the list (rule 11).

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

/// What waits for a person's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Names that get a new token on another server; their old ones are kept and reported.
    pub moves: Vec<Move>,
    /// Names that left the list, whose tokens are ended.
    pub ends: Vec<End>,
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

/// A name whose tokens end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Which.
    pub name: Name,
    /// Where they live, by its name in the list.
    pub server: ServerName,
}

impl Waiting {
    /// What waits now.
    ///
    /// # Errors
    /// The first server that cannot be asked.
    pub async fn find<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Self, Unanswered> {
        let mut waiting = Self::default();
        for keeper in keepers {
            for finding in keeper.look().await?.0.findings {
                let Some(name) = finding.name else { continue };
                let server = keeper.server_name().clone();
                match finding.matter {
                    Matter::ServerChanged { from } => {
                        waiting.moves.push(Move { name, from, to: keeper.server_key().clone(), server });
                    }
                    Matter::RevocationUnconfirmed => waiting.ends.push(End { name, server }),
                    _ => {}
                }
            }
        }
        waiting.moves.sort_by(|one, other| one.name.cmp(&other.name));
        waiting.ends.sort_by(|one, other| (&one.name, &one.server).cmp(&(&other.name, &other.server)));
        Ok(waiting)
    }

    /// Whether nothing does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.ends.is_empty()
    }

    /// So that nobody confirms something else than what was shown.
    #[must_use]
    pub fn digest(&self) -> String {
        let moves = self.moves.iter();
        let moves = moves.map(|Move { name, from, server, .. }| format!("move {name}\n{from}\n{server}\n"));
        let ends = self.ends.iter().map(|End { name, server }| format!("end {name}\n{server}\n"));
        digest(moves.chain(ends))
    }

    /// What is confirmed, if the digest is the one that was shown for it.
    ///
    /// # Errors
    /// It is another one.
    pub fn confirmed(self, told: &str) -> Result<Confirmed, Refusal> {
        must_be(&self.digest(), told, "confirm")?;
        Ok(Confirmed(self))
    }
}

/// What a person has confirmed.
#[derive(Clone, Debug, Default)]
pub struct Confirmed(Waiting);

impl Confirmed {
    /// Names that are to have a new value.
    pub fn moved(&self) -> impl Iterator<Item = &Name> {
        self.0.moves.iter().map(|one| &one.name)
    }

    /// Tells it to those who act on it.
    pub fn tell<T: Store, D: Deliver>(&self, keepers: Keepers<'_, T, D>) {
        for keeper in keepers {
            keeper.confirm(self.moved().cloned(), Word::Move);
            keeper.confirm(self.0.ends.iter().map(|one| one.name.clone()), Word::Revoke);
        }
    }
}
