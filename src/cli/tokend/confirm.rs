//! `influx-tokend confirm`: a person's word for what is not done without one (rules 11 and 12).

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
        confirm::{End, Move, Waiting},
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
    let waiting: Waiting = match context.ask(&Command::Confirm { digest: None })? {
        Some(waiting) => waiting,
        None => waiting_of(context, &context.load()?)?,
    };
    if waiting.is_empty() {
        ui::print("nothing waits for a confirmation\n")?;
        return Ok(Outcome::Done);
    }
    ui::print(&format!("{}to confirm: influx-tokend confirm {}\n", text(&waiting), waiting.digest()))?;
    Ok(Outcome::Waits)
}

fn text(waiting: &Waiting) -> String {
    let mut text = String::new();
    if !waiting.moves.is_empty() {
        text += "these names get a new token on another server; their old ones are kept and reported:\n";
    }
    for Move { name, from, to, server } in &waiting.moves {
        text += &format!("  {name}: from {from} to {to} ({server})\n");
    }
    if !waiting.ends.is_empty() {
        text += "these names left the list, their tokens are ended, whoever uses them is cut off:\n";
    }
    for End { name, server } in &waiting.ends {
        text += &format!("  {name} ({server})\n");
    }
    text
}

fn carry_out(context: &Context, digest: &str) -> Result<Outcome, Failure> {
    let applied: Applied = match context.ask(&Command::Confirm { digest: Some(digest.to_owned()) })? {
        Some(applied) => applied,
        None => {
            let config = context.load()?;
            let confirmed = waiting_of(context, &config)?.confirmed(digest)?;
            apply::here(context, &config, &confirmed)?
        }
    };
    once::tell(Format::Text, &applied)
}

/// Without a daemon.
fn waiting_of(context: &Context, config: &Config) -> Result<Waiting, Failure> {
    context.block_on(async {
        let keepers = onlookers(config).await?;
        Ok(Waiting::find(&keepers.iter().collect::<Vec<&Onlooker>>()).await?)
    })
}
