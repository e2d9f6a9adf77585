//! A stand-in for InfluxData's `influxctl`, which nobody here can run against a cluster: a program that talks to the
//! sandbox, with the flags, outputs and defects that the public documentation tells of each version.
//!
//! A test sets one up with [`StandIn`] and hands its path to what is tested. What the documentation leaves open is said
//! where it was decided.

use std::{
    ffi::OsString,
    io::{self, Write as _},
};

mod arguments;
mod defect;
mod output;
mod profile;
mod program;
mod server;
mod settings;
mod stand_in;
mod verbs;
mod version;

pub use defect::{Defect, Shape};
pub use settings::Call;
pub use stand_in::StandIn;

pub(crate) use server::{CLIENT, CLIENT_HEADER};
use settings::Settings;

/// Why a call ends in an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    /// Said on stdout as well: urfave/cli writes a wrong use and a help text there.
    usage: bool,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), usage: false }
    }

    /// The line is not understood.
    fn usage(message: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(message) }
    }

    /// urfave/cli ends with 3 for a verb it does not know.
    fn no_such_verb(verb: &str) -> Self {
        Self { code: 3, ..Self::new(format!("No help topic for '{verb}'")) }
    }
}

/// The program: its exit code.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let told = Settings::beside(&called).and_then(|settings| {
        let line = arguments::parse(&rest, settings.version);
        let verb = line.as_ref().map_or("", |line| line.verb.name);
        let earlier = settings.record(&rest, verb)?;
        Ok((settings.defects(verb, &earlier), settings, line))
    });
    let result = match told {
        Ok((defects, settings, Ok(line))) => defect::carry_out(&settings, &line, &defects),
        Ok((_, _, Err(failure))) => Err(failure),
        Err(failure) => Err(failure),
    };
    let Err(failure) = result else { return 0 };
    if failure.usage {
        print(format!("Incorrect Usage: {}\n\nUSAGE: influxctl [global options] command\n", failure.message));
    }
    // As zap's console encoder prints levels; nothing says how the real one words its errors.
    let _unread = writeln!(io::stderr(), "error\t{}", failure.message);
    failure.code
}

/// A reader that went away is no concern of this program.
fn print(text: impl AsRef<[u8]>) {
    let mut stdout = io::stdout().lock();
    let _unread = stdout.write_all(text.as_ref()).and_then(|()| stdout.flush());
}
