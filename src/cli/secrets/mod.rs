//! The command line of `influx-secrets`: one file per subcommand.

use std::ffi::OsString;

mod arguments;
mod backend;
mod brief;
mod check;
mod commands;
mod failure;
mod follow;
mod get;
mod install;
mod list;
mod options;
mod render;
mod resolve;
mod source;
mod store;
mod text;
mod wait;
mod watch;

pub use failure::{BadRequest, Failure, NotInstalled, Usage};

use crate::cli::ui;
use arguments::{Asked, Command, From, Invocation};
use source::Source;

/// Does what the arguments, without the program's name, ask for. `true`: all is well.
///
/// # Errors
/// What a person has to know; nothing of the result has been printed then, but for what `backend` answers an agent.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<bool, Failure> {
    let Invocation { from, id, command } = match arguments::parse(arguments)? {
        Asked::Run(invocation) => invocation,
        Asked::Text(text) => {
            ui::print(&text)?;
            return Ok(true);
        }
    };
    match (command, from) {
        (Command::Wait { names, timeout }, From::Daemon(socket)) => {
            wait::run(&source::client(socket), &names, timeout)?;
        }
        (Command::Watch { name, command }, From::Daemon(socket)) => {
            watch::run(&source::client(socket), &name, &command)?;
        }
        (Command::Backend(terms), from) => backend::run(from, terms)?,
        (Command::InstallExec(order), from) => install::run(from, &order)?,
        (command, from) => {
            // Whether references resolve is told to people, their secrets to nobody.
            let relays = !matches!(command, Command::Check { .. });
            return read(&Source::new(from, relays), &id, command);
        }
    }
    Ok(true)
}

/// The commands that read once.
fn read(source: &Source, id: &str, command: Command) -> Result<bool, Failure> {
    match command {
        Command::Get { name } => get::run(source, &name)?,
        Command::List { format } => list::run(source, format)?,
        Command::Resolve { text } => resolve::run(source, id, text.as_deref())?,
        Command::Check { files } => return check::run(source, id, &files),
        Command::Render { file, out } => render::run(source, id, &file, out.as_deref())?,
        // Done, or their arguments are refused together with a store.
        Command::Wait { .. } | Command::Watch { .. } | Command::Backend(_) | Command::InstallExec(_) => {}
    }
    Ok(true)
}
