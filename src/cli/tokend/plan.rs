//! `influx-tokend plan`: what would be done now. Asks the servers, changes nothing.

use super::{
    Format, Outcome,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::ui,
    operate::{
        command::Command,
        plan::{ServerPlan, plan},
    },
};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let planned = match context.ask(&Command::Plan)? {
        Some(planned) => planned,
        None => here(context)?,
    };
    match format {
        Format::Json => ui::print_json(&planned)?,
        Format::Text => ui::print(&text(&planned))?,
    }
    Ok(if planned.iter().any(|server| server.waits) { Outcome::Waits } else { Outcome::Done })
}

/// Without a daemon.
fn here(context: &Context) -> Result<Vec<ServerPlan>, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let keepers = onlookers(&config).await?;
        let keepers: Vec<&Onlooker> = keepers.iter().collect();
        Ok(plan(&keepers).await?)
    })
}

fn text(planned: &[ServerPlan]) -> String {
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
