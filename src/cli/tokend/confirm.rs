//! `influx-tokend confirm`: a person says that tokens really move to another server (rule 12).

use clap::Args;

use super::{
    Outcome, apply,
    context::{Context, Failure, Onlooker, onlookers},
    once,
};
use crate::{
    cli::{Format, ui},
    config::Config,
    operate::{
        applied::Applied,
        command::Command,
        confirm::{Move, Moves},
    },
};

/// What to confirm.
#[derive(Clone, Debug, Args)]
pub(super) struct Confirm {
    /// The digest that `confirm` without it prints
    digest: Option<String>,
}

pub(super) fn run(context: &Context, confirm: &Confirm) -> Result<Outcome, Failure> {
    match &confirm.digest {
        None => show(context),
        Some(digest) => carry_out(context, digest),
    }
}

fn show(context: &Context) -> Result<Outcome, Failure> {
    let moves = match context.ask(&Command::Confirm { digest: None })? {
        Some(moves) => moves,
        None => moves_of(context, &context.load()?)?,
    };
    if moves.0.is_empty() {
        ui::print("nothing waits for a confirmation\n")?;
        return Ok(Outcome::Done);
    }
    let mut text =
        "these names get a new token on another server; their old ones are kept and reported:\n".to_owned();
    for Move { name, from, to, server } in &moves.0 {
        text += &format!("  {name}: from {from} to {to} ({server})\n");
    }
    ui::print(&format!("{text}to confirm: influx-tokend confirm {}\n", moves.digest()))?;
    Ok(Outcome::Waits)
}

fn carry_out(context: &Context, digest: &str) -> Result<Outcome, Failure> {
    let applied: Applied = match context.ask(&Command::Confirm { digest: Some(digest.to_owned()) })? {
        Some(applied) => applied,
        None => {
            let config = context.load()?;
            let names = moves_of(context, &config)?.confirmed(digest)?;
            apply::here(context, &config, &names)?
        }
    };
    once::tell(Format::Text, &applied)
}

/// Without a daemon.
fn moves_of(context: &Context, config: &Config) -> Result<Moves, Failure> {
    context.block_on(async {
        let keepers = onlookers(config).await?;
        Ok(Moves::find(&keepers.iter().collect::<Vec<&Onlooker>>()).await?)
    })
}
