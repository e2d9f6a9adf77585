//! `influx-tokend check`: are list, store and servers as they should be?

use clap::Args;

use super::{
    Outcome, Output,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::{Format, ui},
    config::Config,
    operate::{check::Checked, command::Command, plan::Told},
};

/// What to check.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Check {
    /// Only the list: neither store nor servers
    #[arg(long)]
    list_only: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, check: Check) -> Result<Outcome, Failure> {
    let checked = match context.ask(&Command::Check { list_only: check.list_only })? {
        Some(checked) => checked,
        None => here(context, check)?,
    };
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

/// Without a daemon.
fn here(context: &Context, check: Check) -> Result<Checked, Failure> {
    let config = context.load()?;
    let mut checked = Checked::list(&config);
    if !check.list_only {
        checked.hooks(&context.hooks());
        match context.read_records(&config) {
            Ok(read) => checked.faults.extend(read.faults.iter().map(|fault| Told::of_error(fault))),
            Err(error) => checked.faults.push(Told::of_error(&error)),
        }
        context.block_on(ask_servers(&config, &mut checked))?;
    }
    Ok(checked)
}

async fn ask_servers(config: &Config, checked: &mut Checked) -> Result<(), Failure> {
    match onlookers(config).await {
        Ok(keepers) => checked.ask(&keepers.iter().collect::<Vec<&Onlooker>>()).await,
        Err(error) => checked.faults.push(Told::of_error(&error)),
    }
    Ok(())
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
    let faults = checked.faults.iter().map(|fault| ("fault", fault));
    for (kind, told) in faults.chain(checked.notes.iter().map(|note| ("note", note))) {
        text += &format!("{kind}: {}\n", told.what);
        text += &told.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    }
    text
}
