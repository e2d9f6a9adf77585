//! `influx-tokend confirm`: for what is not done before a person confirms it (rules 11 and 12).

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
        applied::ApplyReport,
        command::Command,
        confirm::{Move, Proposal, Removal},
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
    let proposal: Proposal = match context.ask(&Command::Confirm { digest: None })? {
        Some(proposal) => proposal,
        None => proposal_of(context, &context.load()?)?,
    };
    if proposal.is_empty() {
        ui::print("nothing to confirm\n")?;
        return Ok(Outcome::Done);
    }
    ui::print(&format!("{}to confirm: influx-tokend confirm {}\n", text(&proposal), proposal.digest()))?;
    Ok(Outcome::Waits)
}

fn text(proposal: &Proposal) -> String {
    let mut text = String::new();
    if !proposal.moves.is_empty() {
        text += "these names get a new token on another server; their old ones are kept and reported:\n";
    }
    for Move { name, from, to, server } in &proposal.moves {
        text += &format!("  {name}: from {from} to {to} ({server})\n");
    }
    if !proposal.revokes.is_empty() {
        text += "these names left the list, their tokens are revoked, cutting off current users:\n";
    }
    for Removal { name, server } in &proposal.revokes {
        text += &format!("  {name} ({server})\n");
    }
    text
}

fn carry_out(context: &Context, digest: &str) -> Result<Outcome, Failure> {
    let applied: ApplyReport = match context.ask(&Command::Confirm { digest: Some(digest.to_owned()) })? {
        Some(applied) => applied,
        None => {
            let config = context.load()?;
            let approval = proposal_of(context, &config)?.approve(digest)?;
            apply::here(context, &config, &approval)?
        }
    };
    once::show(Format::Text, &applied)
}

/// Without a daemon.
fn proposal_of(context: &Context, config: &Config) -> Result<Proposal, Failure> {
    context.block_on(async {
        let keepers = onlookers(config).await?;
        Ok(Proposal::find(&keepers.iter().collect::<Vec<&Onlooker>>()).await?)
    })
}
