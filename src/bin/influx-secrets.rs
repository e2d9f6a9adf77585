//! Reads the InfluxDB tokens of this host.

use std::process::ExitCode;

use influx_tokend::{
    cli::{
        age_plugin,
        secrets::{self, Ended},
        ui,
    },
    harden::harden_process,
};

const PROGRAM: &str = "influx-secrets";

fn main() -> ExitCode {
    if age_plugin::is_helper() {
        return age_plugin::main();
    }
    if let Err(error) = harden_process() {
        ui::note(PROGRAM, &format!("warning: secrets may reach a core dump: {error}"));
    }
    match secrets::main(std::env::args_os().skip(1)) {
        Ok(Ended::Code(code)) => ExitCode::from(code),
        Ok(Ended::Signal(signal)) => {
            secrets::end_as(signal);
            // As shells tell it, where that was not to be.
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        Err(failure) => {
            ui::error(PROGRAM, &failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
