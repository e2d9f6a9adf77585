//! `influx-tokend plan`: what would be done now. Asks the servers, changes nothing.

use serde::Serialize;

use super::{
    Format, Outcome,
    context::{Context, Failure, onlookers},
};
use crate::{
    cli::ui,
    lifecycle::plan::{Change, Plan, Step, Why},
};

/// One server's part.
#[derive(Debug, Serialize)]
struct Planned {
    server: String,
    steps: Vec<String>,
    findings: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Told {
    what: String,
    hint: Option<String>,
}

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let config = context.load()?;
    let (planned, waits) = context.block_on(async {
        let mut planned = Vec::new();
        let mut waits = false;
        for (name, keeper) in onlookers(&config).await? {
            let (plan, _) = keeper.look().await?;
            waits |= plan.findings.iter().any(|finding| finding.matter.waits_for_a_person());
            planned.push(describe(name.to_string(), &plan));
        }
        Ok((planned, waits))
    })?;
    match format {
        Format::Json => ui::print_json(&planned)?,
        Format::Text => ui::print(&text(&planned))?,
    }
    Ok(if waits { Outcome::Waits } else { Outcome::Done })
}

fn describe(server: String, plan: &Plan) -> Planned {
    let told = |finding: &crate::lifecycle::plan::Finding| Told {
        what: finding.to_string(),
        hint: finding.matter.hint(),
    };
    Planned {
        server,
        steps: plan.steps.iter().map(in_words).collect(),
        findings: plan.findings.iter().map(told).collect(),
    }
}

fn text(planned: &[Planned]) -> String {
    if planned.is_empty() {
        return "the list names no server: nothing is minted, what is sealed is delivered\n".to_owned();
    }
    let mut text = String::new();
    for server in planned {
        text += &format!("server {}:\n", server.server);
        if server.steps.is_empty() {
            text += "  nothing to do\n";
        }
        for step in &server.steps {
            text += &format!("  {step}\n");
        }
        for finding in &server.findings {
            text += &format!("  note: {}\n", finding.what);
            text += &finding.hint.as_ref().map(|hint| format!("        hint: {hint}\n")).unwrap_or_default();
        }
    }
    text
}

/// A step as a person would say it.
pub(super) fn in_words(step: &Step) -> String {
    match step {
        Step::Mint { name, why } => {
            let why = match why {
                Why::Missing => "there is none",
                Why::Gone => "what there was is gone",
                Why::Refused => "the new one is refused",
                Why::Inherited => "the one there is belongs elsewhere",
                Why::Asked => "a person wants a new value",
            };
            format!("mint {name}: {why}")
        }
        Step::Probe { name, id, .. } => format!("probe {name}: until {id} is accepted everywhere"),
        Step::Verify { name, id } => format!("ask for {name} whether {id} still works"),
        Step::Promote { name, id } => format!("promote {name}: {id} becomes current"),
        Step::Revoke { name, id, .. } => format!("end {id}: minted for {name} and lost"),
        Step::End { name, id } => format!("end {id} of {name}: its overlap is over"),
        Step::Separate => "take a new instance: a copy of this store is in use elsewhere".to_owned(),
        Step::Note { name, change } => match change {
            Change::Allow(_) => format!("note for {name}: who may read it has changed"),
            Change::CloseIntent(_) => format!("note for {name}: a mint of unknown fate is settled"),
            Change::SetAside { id, .. } => format!("set aside {id} of {name}: it is gone"),
            Change::Reinstate(id) => format!("make {id} current again for {name}"),
            Change::Forget(id) => format!("forget {id} of {name}, ended long ago"),
            Change::Adopt { from } => format!("note for {name}: the server was known as {from}"),
        },
    }
}
