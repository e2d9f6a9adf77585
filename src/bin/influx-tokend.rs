//! Keeps the InfluxDB tokens of this host.

use std::process::ExitCode;

use clap::Parser as _;
use influx_tokend::{
    cli::{
        tokend::{Outcome, Tokend, main as run},
        ui,
    },
    harden::harden_process,
};

const PROGRAM: &str = "influx-tokend";

fn main() -> ExitCode {
    let arguments = Tokend::parse();
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
