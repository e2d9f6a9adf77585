//! Keeps the InfluxDB tokens of this host.

use std::{error::Error as _, process::ExitCode};

use clap::Parser as _;
use influx_tokend::{
    cli::{
        age_plugin,
        tokend::{Outcome, Tokend, main as run},
        ui,
    },
    harden::harden_process,
    hint::Hint as _,
    model::InvalidName,
};

const PROGRAM: &str = "influx-tokend";

fn main() -> ExitCode {
    if age_plugin::is_helper() {
        return age_plugin::main();
    }
    let arguments = match Tokend::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
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
fn refuse(error: &clap::Error) -> ExitCode {
    // What cannot be written, nobody reads.
    _ = error.print();
    let name: Option<&InvalidName> = error.source().and_then(|source| source.downcast_ref());
    if let Some(hint) = name.and_then(InvalidName::hint) {
        ui::note(PROGRAM, &format!("hint: {hint}"));
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
