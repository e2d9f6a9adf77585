//! What there is of this instance on one server, for a person who wants all of it to end.

use serde::{Deserialize, Serialize};

use super::{
    identity::is_same,
    scene::Scene,
    terms::{INTENT_MEMORY, YOUNG},
    view::View,
};
use crate::model::{Held, Known, Name, Origin, Record, ServerKey, ServerName, Time, TokenId};

/// What becomes of the tokens of this instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Tokens that end: whoever uses them is cut off.
    pub ends: Vec<Ending>,
    /// Tokens that live on: they are not ours to end (rule 8), or out of reach.
    pub stays: Vec<Staying>,
    /// Mints whose answer was lost and whose token the list does not show: it may come yet (rule 3).
    pub unanswered: Vec<Unanswered>,
    /// Names whose record cannot be read. What was minted for them ends by its label; what was imported nobody knows.
    pub unreadable: Vec<Name>,
}

/// A token that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// For which name it was minted.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerName,
    /// It is in that name's record; one that is in none bears this instance's label, and a clone may be using it.
    pub is_recorded: bool,
}

/// A token that lives on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staying {
    /// For which name it is.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerKey,
    /// Why.
    pub why: Stays,
}

/// Why a token lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// Imported, and others may use it.
    Imported,
    /// Another machine's, or a former instance's.
    Inherited,
    /// The list does not name its server any more.
    FormerServer,
}

/// A mint whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// For which name.
    pub name: Name,
    /// On which server.
    pub server: ServerName,
    /// When its list can tell that nothing comes of it any more.
    pub until: Time,
}

/// What would become of them on one server.
#[must_use]
pub fn retirement(view: &View<'_>) -> Retirement {
    let scene = &Scene::new(view);
    let mut retirement = Retirement::default();
    for record in view.records.values().filter_map(Known::record) {
        retirement.held(scene, record);
        retirement.ended_in_vain(scene, record);
        retirement.unanswered(scene, record);
    }
    for (row, label) in view.orphans() {
        if label.instance == *view.instance {
            retirement.end(scene, &label.name, &row.id, false);
        } else {
            retirement.stay(scene, &label.name, &row.id, Stays::Inherited);
        }
    }
    retirement
}

impl Retirement {
    fn held(&mut self, scene: &Scene<'_>, record: &Record) {
        for held in record.held().filter(|held| is_here(scene, &held.server) && may_live(scene, held)) {
            match held.origin {
                Origin::Minted | Origin::Imported { exclusive: true } => {
                    self.end(scene, &record.name, &held.id, true);
                }
                Origin::Imported { exclusive: false } => {
                    self.stay(scene, &record.name, &held.id, Stays::Imported);
                }
                Origin::Inherited => self.stay(scene, &record.name, &held.id, Stays::Inherited),
            }
        }
    }

    /// Those whose end was answered, and that live all the same: no list lags so long.
    fn ended_in_vain(&mut self, scene: &Scene<'_>, record: &Record) {
        for ended in record.revoked.iter().filter(|ended| is_here(scene, &ended.server)) {
            let is_late = scene.over_at(ended.at, ended.boot.as_ref(), YOUNG) <= scene.now;
            if is_late && scene.row(&ended.id).is_some_and(|row| row.is_live(scene.now)) {
                self.end(scene, &record.name, &ended.id, true);
            }
        }
    }

    fn unanswered(&mut self, scene: &Scene<'_>, record: &Record) {
        for intent in record.intents.iter().filter(|intent| is_here(scene, &intent.server)) {
            let until = scene.over_at(intent.deadline, intent.boot.as_ref(), INTENT_MEMORY);
            if scene.rows_with(&intent.marker).is_empty() && until > scene.now {
                let (name, server) = (record.name.clone(), scene.server.clone());
                self.unanswered.push(Unanswered { name, server, until });
            }
        }
    }

    fn end(&mut self, scene: &Scene<'_>, name: &Name, id: &TokenId, is_recorded: bool) {
        let (name, id, server) = (name.clone(), id.clone(), scene.server.clone());
        self.ends.push(Ending { name, id, server, is_recorded });
    }

    fn stay(&mut self, scene: &Scene<'_>, name: &Name, id: &TokenId, why: Stays) {
        let (name, id, server) = (name.clone(), id.clone(), scene.key.clone());
        self.stays.push(Staying { name, id, server, why });
    }
}

fn is_here(scene: &Scene<'_>, server: &ServerKey) -> bool {
    *server == *scene.key || scene.former.contains(server)
}

/// Unless the list shows that it has ended, or that its id is another token's. One that it lacks may be too young for it.
fn may_live(scene: &Scene<'_>, held: &Held) -> bool {
    match scene.row(&held.id) {
        Some(row) => row.is_live(scene.now) && is_same(row, held),
        None => held.expires_at.is_none_or(|at| at > scene.now),
    }
}
