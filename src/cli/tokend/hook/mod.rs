//! `influx-tokend hook`: units that are reloaded or restarted when a token of theirs has a new value.

use clap::{Args, Subcommand};

use super::{
    Outcome, Output,
    context::{Context, Failure},
};

mod add;
mod list;
mod remove;
mod run;

/// For services that read a token only when they start or reload.
#[derive(Clone, Debug, Args)]
pub(super) struct Hook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Have a service reloaded, or restarted, whenever one of these tokens has a new value
    Add(add::Add),
    /// Leave a service alone again
    Remove(remove::Remove),
    /// List the hooks: what they follow, what is delivered, and what they have acknowledged
    List(Output),
    /// What influx-tokend-hook@.service runs: bring what is delivered to the service, and acknowledge it
    #[command(hide = true)]
    Run(run::Run),
}

pub(super) fn run(context: &Context, hook: &Hook) -> Result<Outcome, Failure> {
    context.must_be_root("hooks")?;
    match &hook.command {
        Command::Add(add) => add::run(context, add),
        Command::Remove(remove) => remove::run(context, remove),
        Command::List(output) => list::run(context, output.output),
        Command::Run(run) => run::run(context, run),
    }
}
