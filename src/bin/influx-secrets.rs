//! Reads the InfluxDB tokens of this host.

use std::process::ExitCode;

use influx_tokend::{
    cli::{secrets, ui},
    harden::harden_process,
};

const PROGRAM: &str = "influx-secrets";

fn main() -> ExitCode {
    if let Err(error) = harden_process() {
        ui::note(PROGRAM, &format!("warning: secrets may reach a core dump: {error}"));
    }
    match secrets::main(std::env::args_os().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            ui::error(PROGRAM, &failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
