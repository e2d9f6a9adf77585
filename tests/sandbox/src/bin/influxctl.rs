//! A stand-in for InfluxData's `influxctl`: what it does is in the library, see `influx_sandbox::influxctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(influx_sandbox::influxctl::main(std::env::args_os()))
}
