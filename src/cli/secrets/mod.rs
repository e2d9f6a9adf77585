//! The command line of `influx-secrets`: one file per subcommand.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod check;
mod failure;
mod get;
mod list;
mod render;
mod resolve;
mod source;

pub use failure::Failure;

use super::Output;
use source::Source;

/// Reads the InfluxDB tokens of this host: one by name, or wherever a text refers to one.
#[derive(Debug, Parser)]
#[command(name = "influx-secrets", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Secrets {
    /// The store's folder [default: /var/lib/influx-tokend, or ~/.local/state/influx-tokend for an ordinary user]
    #[arg(long, global = true, value_name = "PATH")]
    store: Option<PathBuf>,

    /// What opens the store [default: identity.txt or identity.age in its folder]
    #[arg(long, global = true, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// What opens a wrapped identity: an identity file, a plugin's for instance
    #[arg(long, global = true, value_name = "FILE")]
    unwrap: Option<PathBuf>,

    /// What references call this store: the part before the colon
    #[arg(long, global = true, value_name = "NAME", default_value = "influx")]
    id: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a secret; without a newline, unless a person reads it
    Get(get::Get),
    /// List the names, never the secrets
    List(Output),
    /// Print a text with its references resolved, or check those of files
    Resolve(resolve::Resolve),
    /// Print a file with its references resolved; those to other stores stay as they are
    Render(render::Render),
}

/// Runs the command that was asked for. `true`: all is well.
///
/// # Errors
/// What a person has to know; nothing of the result has been printed then.
pub fn main(arguments: Secrets) -> Result<bool, Failure> {
    let source = Source::new(arguments.store, arguments.identity, arguments.unwrap);
    match arguments.command {
        Command::Get(get) => get::run(&source, &get).map(|()| true),
        Command::List(list) => list::run(&source, list.output).map(|()| true),
        Command::Resolve(resolve) => resolve::run(&source, &arguments.id, &resolve),
        Command::Render(render) => render::run(&source, &arguments.id, &render).map(|()| true),
    }
}
