//! `influx-tokend check`: are list, store and servers as they should be?

use clap::Args;
use serde::Serialize;

use super::{
    Format, Outcome, Output,
    context::{Context, Failure, onlookers},
};
use crate::{cli::ui, config::Config, hint::Hint};

/// What to check.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Check {
    /// Only the list: neither store nor servers
    #[arg(long)]
    list_only: bool,
    #[command(flatten)]
    output: Output,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Checked {
    tokens: usize,
    servers: usize,
    faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Fault {
    what: String,
    hint: Option<String>,
}

impl Fault {
    fn of(error: &dyn Hint) -> Self {
        Self { what: error.to_string(), hint: error.hint() }
    }
}

pub(super) fn run(context: &Context, check: Check) -> Result<Outcome, Failure> {
    let config = context.load()?;
    let mut checked = Checked { tokens: config.specs.len(), servers: config.servers.len(), faults: vec![] };
    if !check.list_only {
        match context.read_records(&config) {
            Ok(read) => checked.faults.extend(read.faults.iter().map(|fault| Fault::of(fault))),
            Err(error) => checked.faults.push(Fault::of(&error)),
        }
        checked.faults.extend(context.block_on(ask_servers(&config))?);
    }
    let faults = checked.faults.len();
    match check.output.output {
        Format::Json => ui::print_json(&checked)?,
        Format::Text => ui::print(&text(context, &checked, check.list_only))?,
    }
    if faults > 0 {
        Err(Failure::Several(format!("{} found", ui::count(faults, "fault"))))
    } else {
        Ok(Outcome::Done)
    }
}

/// Lists each server's tokens and databases.
async fn ask_servers(config: &Config) -> Result<Vec<Fault>, Failure> {
    let mut faults = Vec::new();
    let keepers = match onlookers(config).await {
        Ok(keepers) => keepers,
        Err(error) => return Ok(vec![Fault::of(&error)]),
    };
    for (_, keeper) in keepers {
        match keeper.look().await {
            Ok((plan, _)) => faults.extend(
                plan.findings
                    .iter()
                    .filter(|finding| finding.matter.waits_for_a_person())
                    .map(|finding| Fault { what: finding.to_string(), hint: finding.matter.hint() }),
            ),
            Err(error) => faults.push(Fault::of(&error)),
        }
    }
    Ok(faults)
}

fn text(context: &Context, checked: &Checked, list_only: bool) -> String {
    let mut text = format!(
        "{}: {} on {}, no fault in the list\n",
        context.list.display(),
        ui::count(checked.tokens, "token"),
        ui::count(checked.servers, "server"),
    );
    if !list_only && checked.faults.is_empty() {
        text += "store and servers: no fault\n";
    }
    for fault in &checked.faults {
        text += &format!("fault: {}\n", fault.what);
        text += &fault.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    }
    text
}
