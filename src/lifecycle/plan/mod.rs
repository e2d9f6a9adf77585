//! What to do next on one server: a pure function of what is wanted, what is sealed, what the server shows and
//! what has been seen. No I/O, no clock, no randomness. A file per rule; here is the order in which they are asked.

use crate::model::{Event, GrantSupport, Known, Record, Time};

mod brake;
mod current;
mod databases;
mod finding;
mod grants;
mod identity;
mod intents;
mod judge;
mod mint;
mod next;
mod outcome;
mod overlap;
mod place;
mod promotion;
mod reinstate;
mod removal;
mod retirement;
mod retiring;
mod revoked;
mod rotation;
mod scene;
mod server;
mod step;
mod strays;
mod successor;
mod terms;
#[cfg(test)]
mod tests;
mod verify;
mod view;

pub use finding::{Finding, Matter};
pub use outcome::Plan;
pub use overlap::overlap_until;
pub use promotion::{Promotion, promotion};
pub use retirement::{Exemption, ExemptionReason, OpenMint, Retirement, Revocation, retirement};
pub use rotation::rotation_due;
pub use step::{MintReason, RevokeReason, Step};
pub use terms::DAY;
pub use view::View;

use place::Place;
use scene::Scene;

/// Decides what to do next on one server.
#[must_use]
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::new(view.now);
    let scene = &Scene::new(view);
    let brake = removal::brakes(scene);
    let has_grants = view.descriptor.grants != GrantSupport::Absent;
    if has_grants && !scene.reports_grants && !view.listing.tokens.is_empty() {
        plan.findings.push(Finding { name: None, matter: Matter::GrantsUnreported });
    }
    for fault in &view.listing.faults {
        let finding = |name| Finding { name, matter: Matter::RowFault(fault.what.clone()) };
        plan.findings.push(finding(scene.name_of(fault)));
    }
    for (name, known) in view.records {
        match known {
            Known::Unreadable => plan.find(name, Matter::Unreadable),
            Known::Later(record) if scene.concerns(record) => {
                plan.find(name, Matter::LaterVersion(record.version));
            }
            Known::Ours(record) if scene.concerns(record) => {
                intents::plan(scene, record, &mut plan);
                revoked::plan(scene, record, &mut plan);
                plan_record(scene, record, brake, &mut plan);
            }
            Known::Later(_) | Known::Ours(_) => {}
        }
    }
    // Both are in the order of their names.
    let mut known = view.records.keys().peekable();
    for (name, spec) in view.specs {
        while known.next_if(|known| *known < name).is_some() {}
        if scene.is_here(spec) && known.peek() != Some(&name) {
            mint::plan(scene, spec, None, MintReason::Missing, &mut plan);
        }
    }
    plan.not_live = judge::not_live(scene);
    strays::plan(scene, &mut plan);
    grants::limit(scene, &mut plan);
    plan.from = Time::default();
    plan
}

/// A name that has a record.
fn plan_record(scene: &Scene<'_>, record: &Record, brake: bool, plan: &mut Plan) {
    if let Some(from) = scene.former_address_of(record) {
        plan.note(record, Event::Adopted { from: from.clone(), to: scene.key.clone() });
        return;
    }
    let spec = scene.spec(&record.name);
    if let Some(spec) = spec {
        if record.removed.is_some() {
            plan.note(record, Event::PutBack);
        }
        if record.allow != spec.allow {
            plan.note(record, Event::Allowed(spec.allow.clone()));
        }
        if !server::is_same(scene, spec, record, plan) {
            return;
        }
    } else if !scene.specs.contains_key(&record.name) && !removal::plan(scene, record, brake, plan) {
        for retiring in record.retiring.iter().filter(|retiring| retiring::is_left_over(retiring)) {
            retiring::plan(scene, record, retiring, plan);
        }
        return;
    }
    for retiring in &record.retiring {
        retiring::plan(scene, record, retiring, plan);
    }
    let current = current::plan(scene, spec, record, plan);
    let next = next::plan(scene, spec, record, plan);
    let stands = matches!(current, Place::Taken | Place::ToReplace(MintReason::Due | MintReason::Grants));
    if let (Some(spec), true, Place::Taken | Place::Free(None)) = (spec, stands, next) {
        overlap::plan(scene, spec, record, plan);
    }
    if let Some(elsewhere) = scene.specs.get(&record.name).filter(|spec| !scene.is_here(spec))
        && record.current.as_ref().is_some_and(|current| current.server == elsewhere.key)
    {
        overlap::plan(scene, elsewhere, record, plan);
    }
    if let (Some(spec), Place::Free(next_why)) = (spec, next) {
        match current {
            Place::Free(why) => mint::plan(
                scene,
                spec,
                Some(record),
                next_why.unwrap_or(why.unwrap_or(MintReason::Missing)),
                plan,
            ),
            Place::ToReplace(why) => mint::plan(scene, spec, Some(record), next_why.unwrap_or(why), plan),
            // A remint of `next`, or a new value, is wanted although the current one works.
            Place::Taken if next_why.is_some() || scene.evidence.asked.contains(&record.name) => {
                mint::plan(scene, spec, Some(record), next_why.unwrap_or(MintReason::Asked), plan);
            }
            Place::Taken => {}
        }
    }
}
