//! Keeps the InfluxDB tokens of this host.

use std::{error::Error as _, process::ExitCode};

use clap::Parser as _;
use influx_tokend::{
    cli::{
        tokend::{Outcome, Tokend, main as run},
        ui,
    },
    harden::harden_process,
    hint::Hint as _,
    model::InvalidName,
};

const PROGRAM: &str = "influx-tokend";

fn main() -> ExitCode {
    let arguments = Tokend::try_parse().unwrap_or_else(|error| refuse(&error));
    if let Err(error) = harden_process() {
        ui::note(PROGRAM, &format!("warning: secrets may reach a core dump: {error}"));
    }
    match run(arguments) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Waits) => ExitCode::from(3),
        Ok(Outcome::Partly) => ExitCode::from(4),
        Err(failure) => {
            ui::error(PROGRAM, &failure);
            ExitCode::from(1)
        }
    }
}

/// As clap does, and with the hint of a name that cannot be one.
fn refuse(error: &clap::Error) -> ! {
    let name: Option<&InvalidName> = error.source().and_then(|source| source.downcast_ref());
    if let Some(hint) = name.and_then(InvalidName::hint) {
        // What cannot be written, nobody reads.
        _ = error.print();
        ui::note(PROGRAM, &format!("hint: {hint}"));
        std::process::exit(error.exit_code());
    }
    error.exit()
}
