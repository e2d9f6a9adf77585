//! `influx-tokend revoke`: revokes a token now, cutting off its users.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    Outcome, Output,
    context::{Context, Failure},
    once,
};
use crate::{
    cli::{Format, ui},
    daemon::HostKeeper,
    model::Name,
    operate::{
        command::Command,
        undo::{self, Cut},
    },
};

/// What to revoke.
#[derive(Clone, Debug, Args)]
pub(super) struct Revoke {
    /// The name whose current token is revoked
    name: Name,
    /// Revoke at once, cutting off current users (required)
    #[arg(long, required = true)]
    now: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(context: &Context, revoke: &Revoke) -> Result<Outcome, Failure> {
    let cut = match context.ask(&Command::Revoke { name: revoke.name.clone() })? {
        Some(cut) => cut,
        None => here(context, &revoke.name)?,
    };
    tell(revoke, &cut)
}

/// Without a daemon, which alone would know who reads it.
fn here(context: &Context, name: &Name) -> Result<Cut, Failure> {
    let config = context.load()?;
    context.block_on(async {
        let home = context.open(&config).await?;
        let keepers = context.keepers(&config, &home)?;
        let all: Vec<&HostKeeper> = keepers.iter().collect();
        ui::note(context.program(), "no daemon is running: its readers are unknown");
        let (mut cut, errors) = undo::revoke(&all, name, |line| ui::note(context.program(), &line)).await?;
        let names = BTreeSet::from([name.clone()]);
        if config.specs.contains_key(name) {
            let all = crate::lifecycle::keepers_of(&keepers, &names);
            cut.applied = Some(once::run(&context.list, &config, &home, &all, &names).await?);
        }
        errors.iter().for_each(|error| ui::note(context.program(), error));
        Ok(cut)
    })
}

fn tell(revoke: &Revoke, cut: &Cut) -> Result<Outcome, Failure> {
    match revoke.output.output {
        Format::Json => {
            ui::print_json(cut)?;
            cut.applied.as_ref().map_or(Ok(Outcome::Done), once::outcome)
        }
        Format::Text => {
            ui::print(&format!("revoked {} of {}\n", cut.id, revoke.name))?;
            match &cut.applied {
                Some(applied) => once::show(Format::Text, applied),
                None => Ok(Outcome::Done),
            }
        }
    }
}
