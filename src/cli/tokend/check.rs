//! `influx-tokend check`: are list, store and servers as they should be?

use clap::Args;
use serde::Serialize;

use super::{
    Outcome, Output,
    context::{Context, Failure, Onlooker, onlookers},
};
use crate::{
    cli::{Format, ui},
    config::{self, Config},
    influxdb::{KnownCluster, known_clusters},
    operate::{check::Checked, command::Command, plan::Notice},
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
    let checked = look(context, check);
    if checked.is_err() && !check.list_only {
        tell_clusters(context, check.output.output)?;
    }
    let checked = checked?;
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

/// By the daemon, where one runs.
fn look(context: &Context, check: Check) -> Result<Checked, Failure> {
    match context.ask(&Command::Check { list_only: check.list_only })? {
        Some(checked) => Ok(checked),
        None => here(context, check),
    }
}

fn here(context: &Context, check: Check) -> Result<Checked, Failure> {
    let config = context.load()?;
    let mut checked = Checked::list(&config);
    if !check.list_only {
        checked.hooks(&context.hooks());
        match context.read_records(&config) {
            Ok(read) => checked.faults.extend(read.faults.iter().map(|fault| Notice::of_error(fault))),
            Err(error) => checked.faults.push(Notice::of_error(&error)),
        }
        context.block_on(ask_servers(&config, &mut checked))?;
    }
    Ok(checked)
}

async fn ask_servers(config: &Config, checked: &mut Checked) -> Result<(), Failure> {
    match onlookers(config).await {
        Ok(keepers) => checked.ask(&keepers.iter().collect::<Vec<&Onlooker>>()).await,
        Err(error) => checked.faults.push(Notice::of_error(&error)),
    }
    Ok(())
}

/// Where a list does not say which cluster of Cloud Dedicated it is about, a person's influxctl may.
fn tell_clusters(context: &Context, format: Format) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Known {
        clusters: Vec<KnownCluster>,
    }
    let Some(influxctl) = Config::influxctl_for_missing_ids(&config::read_lossy(&context.list)) else {
        return Ok(());
    };
    let known = context.block_on(async { Ok::<_, Failure>(known_clusters(influxctl).await) })?;
    match (known, format) {
        (Ok(None), _) => {}
        (Ok(Some(clusters)), Format::Json) => ui::print_json(&Known { clusters })?,
        (Ok(Some(clusters)), Format::Text) => ui::print(&as_toml(&clusters))?,
        (Err(_), Format::Json) => {}
        (Err(error), Format::Text) => {
            ui::print(&format!("note: which clusters there are: {}\n", error.kind))?
        }
    }
    Ok(())
}

/// Lines to be put into a list.
fn as_toml(clusters: &[KnownCluster]) -> String {
    let mut text = format!("influxctl knows {}\n", ui::count(clusters.len(), "cluster"));
    for KnownCluster { account, cluster, name, url } in clusters {
        let called = [name, url].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        let called = if called.is_empty() { called } else { format!("# {called}\n") };
        text += &format!("\n{called}account = \"{account}\"\ncluster = \"{cluster}\"\n");
    }
    text + "\n"
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
    for (kind, notice) in faults.chain(checked.notes.iter().map(|note| ("note", note))) {
        text += &format!("{kind}: {}\n", notice.what);
        text += &notice.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    }
    text
}
