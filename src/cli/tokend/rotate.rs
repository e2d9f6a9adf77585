//! `influx-tokend rotate`: a person wants new values now.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    Outcome, Output,
    context::{Context, Failure},
    once,
};
use crate::{
    cli::ui,
    daemon::HostKeeper,
    lifecycle::{self, RotateError, statuses},
    model::{Name, Time},
    operate::{applied::ApplyReport, command::Command, undo},
};

/// What to rotate.
#[derive(Clone, Debug, Args)]
pub(super) struct Rotate {
    /// Names that are to have a new value
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
    /// Make the former value current again while it lives; no new one is made by schedule until `rotate` asks for one
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, rotate: &Rotate) -> Result<Outcome, Failure> {
    let applied = match context.ask(&Command::Rotate { names: rotate.names.clone(), undo: rotate.undo })? {
        Some(applied) => applied,
        None => here(context, rotate)?,
    };
    once::show(rotate.output.output, &applied)
}

/// Without a daemon.
fn here(context: &Context, rotate: &Rotate) -> Result<ApplyReport, Failure> {
    let config = context.load()?;
    let names: BTreeSet<Name> = rotate.names.iter().cloned().collect();
    context.block_on(async {
        let home = context.open(&config).await?;
        let keepers = context.keepers(&config, &home)?;
        if rotate.undo {
            let all: Vec<&HostKeeper> = keepers.iter().collect();
            undo::undo(&all, &names).await?;
            let clocks = lifecycle::clocks(Time::now(), &keepers);
            let tokens = statuses(&home.specs(), &home.ledger.known(), &config.lifecycle, &clocks);
            let tokens = tokens.into_iter().filter(|status| names.contains(&status.name)).collect();
            return Ok(ApplyReport { tokens, ..ApplyReport::default() });
        }
        lifecycle::rotate(&keepers, &names).map_err(|errors| all_but_one(context, errors))?;
        let keepers = lifecycle::keepers_of(&keepers, &names);
        once::run(&context.list, &config, &home, &keepers, &names).await
    })
}

/// Tells all errors but the last, which is the command's own.
fn all_but_one(context: &Context, mut errors: Vec<RotateError>) -> Failure {
    let last = errors.pop();
    errors.iter().for_each(|error| ui::error(context.program(), error));
    last.map_or_else(|| Failure::Several("nothing was done".to_owned()), Failure::Rotate)
}
