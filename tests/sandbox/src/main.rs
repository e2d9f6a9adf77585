//! The sandbox as a program: prints its address and runs until it is told to stop.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use influx_sandbox::{Activation, Options, Sandbox};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated InfluxDB Clustered.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 for any
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A database that exists; may be repeated
    #[arg(long = "database", value_name = "NAME", default_value = "telemetry")]
    databases: Vec<String>,
    /// A file with the management token; without it one is drawn and printed
    #[arg(long, value_name = "FILE")]
    management_token_file: Option<PathBuf>,
    /// Milliseconds until every replica knows a new token
    #[arg(long, value_name = "MS", default_value_t = 0)]
    activation: u64,
    /// Milliseconds that every request takes
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        #[expect(clippy::print_stderr, reason = "this program's own messages")]
        Err(error) => {
            eprintln!("influx-sandbox: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> std::io::Result<()> {
    let management_token = match &arguments.management_token_file {
        Some(file) => Some(std::fs::read_to_string(file)?.trim_end().to_owned()),
        None => None,
    };
    let given = management_token.is_some();
    let options = Options {
        listen: arguments.listen,
        databases: arguments.databases,
        management_token,
        activation: Activation::all(Duration::from_millis(arguments.activation)),
        latency: Duration::from_millis(arguments.latency),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let sandbox = Sandbox::spawn(options).await?;
        announce(&sandbox, given);
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "this program's output")]
fn announce(sandbox: &Sandbox, given: bool) {
    println!("{}", sandbox.url());
    if !given {
        println!("management token: {}", sandbox.management_token());
    }
}
