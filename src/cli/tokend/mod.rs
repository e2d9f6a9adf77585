//! The command line of `influx-tokend`: one file per subcommand.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{Format, Output};

mod apply;
mod check;
mod confirm;
mod context;
mod forget;
mod hook;
mod import;
mod once;
mod owner;
mod plan;
mod remote;
mod retire;
mod revoke;
mod rotate;
mod run;
mod status;
mod store;
mod strays;
mod take_over;

pub use context::Failure;

/// What a person is told when a command did what it should, and more is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Something waits for a person.
    Waits,
    /// Some of it is done.
    Partly,
}

/// Keeps the InfluxDB tokens of this host: mints what a list asks for, seals it, and hands it to Telegraf.
#[derive(Debug, Parser)]
#[command(name = "influx-tokend", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Tokend {
    /// The list of tokens [default: /etc/influx-tokend/tokens.toml, or ~/.config/influx-tokend/tokens.toml for an
    /// ordinary user]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or a filter such as `influx_tokend=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "INFLUX_TOKEND_LOG")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Mint, seal, probe and deliver what is missing, then exit
    Apply(Output),
    /// Show what would be done, and do nothing
    Plan(Output),
    /// Check the list, the store and the servers, and do nothing
    Check(check::Check),
    /// Show each token of the list and the store: its state, age, expiry, and why it waits
    Status(Output),
    /// Give tokens a new value now; the old one works on until its overlap is over
    Rotate(rotate::Rotate),
    /// Revoke a token now, cutting off its users; another is minted where the list asks for it
    Revoke(revoke::Revoke),
    /// Adopt a token that was made by hand: its id and its string are read from standard input
    Import(import::Import),
    /// Confirm that tokens move to another server, or that many are revoked
    Confirm(confirm::Confirm),
    /// List tokens this host created but no longer tracks; revoke them, or leave them to another machine
    Strays(strays::Strays),
    /// Drop tokens on servers no longer in the list
    Forget(forget::Forget),
    /// Have services reloaded or restarted whenever a token of theirs has a new value (as root)
    Hook(hook::Hook),
    /// Revoke the tokens of this host and wipe its store, after showing what that is
    Retire(retire::Retire),
    /// Move the store, or seal it anew; the daemon is stopped for it
    Store(store::Store),
    /// Claim a store copied from another machine
    TakeOver,
}

/// Runs the command that was asked for.
///
/// # Errors
/// What a person has to know; nothing has been printed of it yet.
pub fn main(arguments: Tokend) -> Result<Outcome, Failure> {
    let context = context::Context::new(arguments.config, arguments.log.as_deref(), &arguments.command)?;
    match arguments.command {
        Command::Run => run::run(&context),
        Command::Apply(output) => apply::run(&context, output.output),
        Command::Plan(output) => plan::run(&context, output.output),
        Command::Check(check) => check::run(&context, check),
        Command::Status(output) => status::run(&context, output.output),
        Command::Rotate(rotate) => rotate::run(&context, &rotate),
        Command::Revoke(revoke) => revoke::run(&context, &revoke),
        Command::Import(import) => import::run(&context, &import),
        Command::Confirm(confirm) => confirm::run(&context, &confirm),
        Command::Strays(strays) => strays::run(&context, &strays),
        Command::Forget(forget) => forget::run(&context, &forget),
        Command::Hook(hook) => hook::run(&context, &hook),
        Command::Retire(retire) => retire::run(&context, &retire),
        Command::Store(store) => store::run(&context, store),
        Command::TakeOver => take_over::run(&context),
    }
}
