//! Whether the server has the databases that a token is for (rule 6): where it lacks one, the token is not at fault.

use std::collections::BTreeSet;

use super::{finding::Matter, outcome::Plan, scene::Scene};
use crate::model::{Database, Databases, Grants, Name, Spec};

/// Whether the server has the databases that grants name, as far as it lists them.
pub(super) fn exist(scene: &Scene<'_>, name: &Name, grants: &Grants, plan: &mut Plan) -> bool {
    match scene.databases {
        Databases::NotAsked => true,
        Databases::Unlistable(why) => {
            plan.find(name, Matter::DatabasesUnlistable(why.clone()));
            true
        }
        Databases::Known(known) => {
            let missing: BTreeSet<String> = grants
                .named_databases()
                .filter(|database| !known.contains(*database))
                .map(str::to_owned)
                .collect();
            let all_exist = missing.is_empty();
            if !all_exist {
                plan.find(name, Matter::NoDatabase(missing));
            }
            all_exist
        }
    }
}

/// Whether the server has a database on which to probe a token with these grants.
pub(super) fn can_be_probed(
    scene: &Scene<'_>,
    spec: &Spec,
    name: &Name,
    grants: &Grants,
    plan: &mut Plan,
) -> bool {
    if !exist(scene, name, grants, plan) {
        return false;
    }
    let for_all = grants.iter().any(|grant| grant.database == Database::All);
    let stand_in = spec.probe.as_ref().and_then(|probe| probe.database.as_ref());
    let nothing = for_all
        && spec.probe.is_some()
        && stand_in.is_none()
        && match scene.databases {
            Databases::NotAsked => false,
            Databases::Known(known) => known.is_empty(),
            Databases::Unlistable(_) => true,
        };
    if nothing {
        plan.find(name, Matter::NothingToProbe);
    }
    !nothing
}
