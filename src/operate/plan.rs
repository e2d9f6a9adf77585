//! What would be done now.

use serde::{Deserialize, Serialize};

use super::Keepers;
use crate::{
    deliver::Deliver,
    lifecycle::{
        Unanswered,
        plan::{Finding, MintReason, Plan, RevokeReason, Step},
    },
    model::{Event, Name},
    store::Store,
};

/// One server's part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerPlan {
    /// Its name in the list.
    pub server: String,
    /// What would be done, in this order.
    pub steps: Vec<String>,
    /// What waits, and what is odd.
    pub findings: Vec<Notice>,
    /// Something waits for a person.
    pub waits: bool,
}

/// Something found, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Notice {
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
pub async fn plan<T: Store, D: Deliver>(keepers: Keepers<'_, T, D>) -> Result<Vec<ServerPlan>, Unanswered> {
    let mut planned = Vec::new();
    for keeper in keepers {
        let (plan, _) = keeper.look().await?;
        planned.push(describe(keeper.server_name().to_string(), &plan));
    }
    Ok(planned)
}

fn describe(server: String, plan: &Plan) -> ServerPlan {
    ServerPlan {
        server,
        steps: plan.steps.iter().map(in_words).collect(),
        findings: plan.findings.iter().map(Notice::of).collect(),
        waits: plan.findings.iter().any(|finding| finding.matter.waits_for_a_person()),
    }
}

/// A step, for people.
fn in_words(step: &Step) -> String {
    match step {
        Step::Mint { name, why } => {
            let why = match why {
                MintReason::Missing => "there is no token",
                MintReason::Gone => "the token is gone",
                MintReason::Refused => "the new token is refused",
                MintReason::Inherited => "the token belongs to another machine or server",
                MintReason::Due => "rotation is due",
                MintReason::Grants => "the list asks for other grants",
                MintReason::Early => "due by the server's clock alone",
                MintReason::Again => "the last one differs from the request, or is gone",
                MintReason::Asked => "a new value was requested",
            };
            format!("mint {name}: {why}")
        }
        Step::Probe { name, id, .. } => format!("probe {name}: until {id} is accepted everywhere"),
        Step::Verify { name, id } => format!("verify {name}: whether {id} still works"),
        Step::Promote { name, id } => format!("promote {name}: {id} becomes current"),
        Step::RevokeStray { name, id, .. } => format!("revoke {id}: minted for {name} and lost"),
        Step::Patch { name, id, grants } => format!("change {id} of {name}: grants become {grants}"),
        Step::Revoke { name, id, why } => {
            let why = match why {
                RevokeReason::Overlap => "its overlap is over",
                RevokeReason::Unused => "it was replaced before it was used",
                RevokeReason::Removed => "the name left the list",
            };
            format!("revoke {id} of {name}: {why}")
        }
        Step::Drop { name } => format!("forget {name}: it left the list long ago"),
        Step::Separate => "take a new instance: another machine uses a copy of this store".to_owned(),
        Step::Note { name, event } => noted(name, event),
    }
}

fn noted(name: &Name, event: &Event) -> String {
    let what = match event {
        Event::Gone { id, .. } => return format!("set aside {id} of {name}: it is gone"),
        Event::Reinstated(id) => return format!("make {id} current again for {name}"),
        Event::Forgotten(id) => return format!("forget {id} of {name}: it was revoked long ago"),
        Event::Withdrawn(id) => {
            return format!("stop delivering {id} of {name}: it left the list, others may use it");
        }
        Event::Removed => "it left the list".to_owned(),
        Event::PutBack => "it is back in the list".to_owned(),
        Event::SurplusNoted(Some(_)) => "it has more grants than the list asks for".to_owned(),
        Event::SurplusNoted(None) => "it has no extra grants any more".to_owned(),
        Event::GrantsChanged { id, grants } => format!("{id} has grants {grants}"),
        Event::Accepted => "the server accepts it".to_owned(),
        Event::Shortened => "it is older than its new lifetime".to_owned(),
        Event::Allowed(_) => "its readers have changed".to_owned(),
        Event::MintRefused(_) => "the outcome of a mint is known".to_owned(),
        Event::Adopted { from, .. } => format!("the server was known as {from}"),
        other => other.name().to_owned(),
    };
    format!("note for {name}: {what}")
}
