//! What there is of this instance on one server, for a person who wants all of it revoked.

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
    /// Tokens that are revoked, cutting off their users.
    pub revokes: Vec<Revocation>,
    /// Tokens that stay: they are not ours to revoke (rule 8), or out of reach.
    pub stays: Vec<Exemption>,
    /// Mints whose answer was lost and whose token the list does not show: it may come yet (rule 3).
    pub unanswered: Vec<OpenMint>,
    /// Names whose record cannot be read: nobody knows which tokens are theirs.
    pub unreadable: Vec<Name>,
}

/// A token that is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// For which name it was minted.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerName,
    /// It is in that name's record; one that is not bears this instance's label.
    pub is_recorded: bool,
}

/// A token that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// For which name it is.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerKey,
    /// Why.
    pub why: ExemptionReason,
}

/// Why a token stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExemptionReason {
    /// Imported, and others may use it.
    Imported,
    /// Another machine's, or a former instance's.
    Inherited,
    /// The list does not name its server any more.
    FormerServer,
    /// No record knows its marker: a clone of this store may have minted it (rule 3).
    Unknown,
}

/// A mint whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenMint {
    /// For which name.
    pub name: Name,
    /// On which server.
    pub server: ServerName,
    /// When its list shows whether a token came of it.
    pub until: Time,
}

/// What would become of them on one server. Unknown tokens are revoked only where a person named them in `also`.
#[must_use]
pub fn retirement(view: &View<'_>, also: &[TokenId]) -> Retirement {
    let scene = &Scene::new(view);
    let mut retirement = Retirement::default();
    for record in view.records.values().filter_map(Known::record) {
        retirement.held(scene, record);
        retirement.live_again(scene, record);
        retirement.unanswered(scene, record);
    }
    for (row, label) in view.orphans() {
        let record = view.records.get(&label.name).and_then(Known::record);
        if label.instance != *view.instance {
            retirement.exempt(scene, &label.name, &row.id, ExemptionReason::Inherited);
        } else if record.is_some_and(|record| record.knows_marker(&label.marker)) || also.contains(&row.id) {
            retirement.revoke(scene, &label.name, &row.id, false);
        } else {
            retirement.exempt(scene, &label.name, &row.id, ExemptionReason::Unknown);
        }
    }
    retirement
}

impl Retirement {
    fn held(&mut self, scene: &Scene<'_>, record: &Record) {
        for held in record.held().filter(|held| is_here(scene, &held.server) && may_live(scene, held)) {
            match held.origin {
                Origin::Minted | Origin::Imported { exclusive: true } => {
                    self.revoke(scene, &record.name, &held.id, true);
                }
                Origin::Imported { exclusive: false } => {
                    self.exempt(scene, &record.name, &held.id, ExemptionReason::Imported);
                }
                Origin::Inherited => self.exempt(scene, &record.name, &held.id, ExemptionReason::Inherited),
            }
        }
    }

    /// Revoked tokens that the list still shows as live: no list lags so long.
    fn live_again(&mut self, scene: &Scene<'_>, record: &Record) {
        for revoked in record.revoked.iter().filter(|revoked| is_here(scene, &revoked.server)) {
            let is_late = scene.over_at(revoked.at, revoked.boot.as_ref(), YOUNG) <= scene.now;
            if is_late && scene.row(&revoked.id).is_some_and(|row| row.is_live(scene.now)) {
                self.revoke(scene, &record.name, &revoked.id, true);
            }
        }
    }

    fn unanswered(&mut self, scene: &Scene<'_>, record: &Record) {
        for intent in record.intents.iter().filter(|intent| is_here(scene, &intent.server)) {
            let until = scene.over_at(intent.deadline, intent.boot.as_ref(), INTENT_MEMORY);
            if scene.rows_with(&intent.marker).is_empty() && until > scene.now {
                let (name, server) = (record.name.clone(), scene.server.clone());
                self.unanswered.push(OpenMint { name, server, until });
            }
        }
    }

    fn revoke(&mut self, scene: &Scene<'_>, name: &Name, id: &TokenId, is_recorded: bool) {
        let (name, id, server) = (name.clone(), id.clone(), scene.server.clone());
        self.revokes.push(Revocation { name, id, server, is_recorded });
    }

    fn exempt(&mut self, scene: &Scene<'_>, name: &Name, id: &TokenId, why: ExemptionReason) {
        let (name, id, server) = (name.clone(), id.clone(), scene.key.clone());
        self.stays.push(Exemption { name, id, server, why });
    }
}

fn is_here(scene: &Scene<'_>, server: &ServerKey) -> bool {
    *server == *scene.key || scene.former.contains(server)
}

/// Unless the list shows it as revoked or expired, or its id as another token's. One that it lacks may be too young for it.
fn may_live(scene: &Scene<'_>, held: &Held) -> bool {
    match scene.row(&held.id) {
        Some(row) => row.is_live(scene.now) && is_same(row, held),
        None => held.expires_at.is_none_or(|at| at > scene.now),
    }
}
