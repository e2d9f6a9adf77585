//! The command line of `influx-secrets`: one file per subcommand.

use std::ffi::OsString;

mod arguments;
mod backend;
mod brief;
mod check;
mod commands;
mod exec;
mod failure;
mod follow;
mod get;
mod install;
mod keyring;
mod list;
mod options;
mod render;
mod resolve;
mod source;
mod store;
mod text;
mod wait;
mod watch;

pub use exec::end_as;
pub use failure::{BadRequest, Failure, NotInstalled, RingError, Unfit, Usage};
pub use keyring::Used;

use crate::cli::ui;
use arguments::{Asked, Command, From, Invocation};
use source::Source;

/// How it comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(u8),
    /// As a child was: by a signal.
    Signal(i32),
}

impl Ended {
    const DONE: Self = Self::Code(0);
}

/// Does what the arguments, without the program's name, ask for.
///
/// # Errors
/// What a person has to know; nothing of the result has been printed then, but for what `backend` answers an agent.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<Ended, Failure> {
    let Invocation { from, id, command } = match arguments::parse(arguments)? {
        Asked::Run(invocation) => invocation,
        Asked::Text(text) => {
            ui::print(&text)?;
            return Ok(Ended::DONE);
        }
    };
    match (command, from) {
        (Command::Wait { names, timeout }, From::Daemon(socket)) => {
            wait::run(&source::client(socket), &names, timeout)?;
        }
        (Command::Watch { name, command }, From::Daemon(socket)) => {
            watch::run(&source::client(socket), &name, &command)?;
        }
        (Command::Keyring(order), From::Daemon(socket)) => keyring::run(source::client(socket), order)?,
        (Command::Backend(terms), from) => backend::run(from, terms)?,
        (Command::Exec(order), from) => return exec::run(from, &id, &order),
        (Command::InstallExec(order), from) => install::run(from, &order)?,
        (command, from) => {
            // Whether references resolve is told to people, their secrets to nobody.
            let relays = !matches!(command, Command::Check { .. });
            let is_well = read(&Source::new(from, relays), &id, command)?;
            return Ok(Ended::Code(u8::from(!is_well)));
        }
    }
    Ok(Ended::DONE)
}

/// The commands that read once. `true`: all is well.
fn read(source: &Source, id: &str, command: Command) -> Result<bool, Failure> {
    match command {
        Command::Get { name } => get::run(source, &name)?,
        Command::List { format } => list::run(source, format)?,
        Command::Resolve { text } => resolve::run(source, id, text.as_deref())?,
        Command::Check { files } => return check::run(source, id, &files),
        Command::Render { file, out } => render::run(source, id, &file, out.as_deref())?,
        // Done, or their arguments are refused together with a store.
        Command::Wait { .. }
        | Command::Watch { .. }
        | Command::Keyring(_)
        | Command::Backend(_)
        | Command::InstallExec(_)
        | Command::Exec(_) => {}
    }
    Ok(true)
}
