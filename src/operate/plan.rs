//! What would be done now.

use serde::{Deserialize, Serialize};

use super::Keepers;
use crate::{
    deliver::Deliver,
    lifecycle::{
        Unanswered,
        plan::{Finding, Plan, RevokeWhy, Step, Why},
    },
    model::{Event, Name},
    store::Store,
};

/// One server's part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// Its name in the list.
    pub server: String,
    /// What would be done, in this order.
    pub steps: Vec<String>,
    /// What waits, and what is odd.
    pub findings: Vec<Told>,
    /// Something waits for a person.
    pub waits: bool,
}

/// Something found, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Told {
    /// What a plan found.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        Self { what: finding.to_string(), hint: finding.matter.hint() }
    }

    /// An error.
    pub fn of_error(error: &dyn crate::hint::Hint) -> Self {
        Self { what: error.to_string(), hint: error.hint() }
    }
}

/// Asks each server, changes nothing.
///
/// # Errors
/// The first server that cannot be asked.
pub async fn plan<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Vec<Planned>, Unanswered> {
    let mut planned = Vec::new();
    for keeper in keepers {
        let (plan, _) = keeper.look().await?;
        planned.push(describe(keeper.server_name().to_string(), &plan));
    }
    Ok(planned)
}

fn describe(server: String, plan: &Plan) -> Planned {
    Planned {
        server,
        steps: plan.steps.iter().map(in_words).collect(),
        findings: plan.findings.iter().map(Told::of).collect(),
        waits: plan.findings.iter().any(|finding| finding.matter.waits_for_a_person()),
    }
}

/// A step as a person would say it.
fn in_words(step: &Step) -> String {
    match step {
        Step::Mint { name, why } => {
            let why = match why {
                Why::Missing => "there is none",
                Why::Gone => "what there was is gone",
                Why::Refused => "the new one is refused",
                Why::Inherited => "the one there is belongs elsewhere",
                Why::Due => "its time has come",
                Why::Grants => "the list asks for other grants",
                Why::Early => "due by the server's clock alone",
                Why::Again => "the last one differs from the request, or is gone",
                Why::Asked => "a person wants a new value",
            };
            format!("mint {name}: {why}")
        }
        Step::Probe { name, id, .. } => format!("probe {name}: until {id} is accepted everywhere"),
        Step::Verify { name, id } => format!("ask for {name} whether {id} still works"),
        Step::Promote { name, id } => format!("promote {name}: {id} becomes current"),
        Step::RevokeStray { name, id, .. } => format!("revoke {id}: minted for {name} and lost"),
        Step::Patch { name, id, grants } => format!("change {id} of {name}: it may {grants}"),
        Step::Revoke { name, id, why } => {
            let why = match why {
                RevokeWhy::Overlap => "its overlap is over",
                RevokeWhy::Unused => "it was replaced before it was used",
                RevokeWhy::Removed => "it left the list",
            };
            format!("revoke {id} of {name}: {why}")
        }
        Step::Drop { name } => format!("forget {name}, which left the list long ago"),
        Step::Separate => "take a new instance: a copy of this store is in use elsewhere".to_owned(),
        Step::Note { name, event } => noted(name, event),
    }
}

fn noted(name: &Name, event: &Event) -> String {
    let what = match event {
        Event::Gone { id, .. } => return format!("set aside {id} of {name}: it is gone"),
        Event::Reinstated(id) => return format!("make {id} current again for {name}"),
        Event::Forgotten(id) => return format!("forget {id} of {name}, revoked long ago"),
        Event::Withdrawn(id) => {
            return format!("stop delivering {id} of {name}: it left the list, others may use it");
        }
        Event::Removed => "it left the list".to_owned(),
        Event::PutBack => "it is back in the list".to_owned(),
        Event::SurplusNoted(Some(_)) => "it may do more than the list asks for".to_owned(),
        Event::SurplusNoted(None) => "it may do no more than the list asks for".to_owned(),
        Event::GrantsChanged { id, grants } => format!("{id} may {grants}"),
        Event::Accepted => "the server accepts it".to_owned(),
        Event::Shortened => "it has outlived its new lifetime".to_owned(),
        Event::Allowed(_) => "its readers have changed".to_owned(),
        Event::MintRefused(_) => "a mint of unknown fate is settled".to_owned(),
        Event::Adopted { from, .. } => format!("the server was known as {from}"),
        other => other.name().to_owned(),
    };
    format!("note for {name}: {what}")
}
