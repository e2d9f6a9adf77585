//! The sandbox as a program: prints its address and runs until it is told to stop.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use influx_sandbox::{Activation, Dedicated, ExpirationType, Options, Sandbox};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated InfluxDB Clustered, or Cloud Dedicated where account and cluster are given.
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
    /// The id of an account of Cloud Dedicated
    #[arg(long, value_name = "UUID", requires = "cluster")]
    account: Option<String>,
    /// The id of its cluster
    #[arg(long, value_name = "UUID", requires = "account")]
    cluster: Option<String>,
    /// Where that cluster's data host listens; port 0 for any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", requires = "cluster")]
    data_listen: SocketAddr,
    /// That cluster refuses mints with `expirationType`
    #[arg(long, requires = "cluster")]
    refuse_expiration_type: bool,
    /// A file that is replaced five times a second by what has been written with tokens, and what was refused
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
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

fn run(arguments: Arguments) -> io::Result<()> {
    let management_token = match &arguments.management_token_file {
        Some(file) => Some(fs::read_to_string(file)?.trim_end().to_owned()),
        None => None,
    };
    let given = management_token.is_some();
    let dedicated = arguments.account.zip(arguments.cluster).map(|(account, cluster)| Dedicated {
        account,
        cluster,
        data_listen: arguments.data_listen,
        expiration_type: match arguments.refuse_expiration_type {
            true => ExpirationType::Unknown,
            false => ExpirationType::Known,
        },
    });
    let options = Options {
        dedicated,
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
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = ticks.tick(), if arguments.report.is_some() => {
                    arguments.report.as_deref().map_or(Ok(()), |file| report(&sandbox, file))?;
                }
            }
        }
    })
}

/// Lines `wrote TOKEN-ID DATABASE POINT` and `refused STATUS PATH`, for tests that see no more of the sandbox than its
/// process. Writes of a comment only are probes.
fn report(sandbox: &Sandbox, file: &Path) -> io::Result<()> {
    let mut text = String::new();
    for (id, lines) in sandbox.all_written() {
        for written in lines {
            let _infallible = writeln!(text, "wrote {id} {} {}", written.database, written.line);
        }
    }
    for request in sandbox.requests() {
        // `/api/v3/write_lp` too.
        let is_write = request.path.contains("/write") && !request.body.starts_with('#');
        if let Some(status) = request.status.filter(|status| is_write && *status != 204) {
            let _infallible = writeln!(text, "refused {status} {}", request.path);
        }
    }
    let staged = file.with_extension("new");
    fs::write(&staged, text)?;
    fs::rename(staged, file)
}

#[expect(clippy::print_stdout, reason = "this program's output")]
fn announce(sandbox: &Sandbox, given: bool) {
    println!("{}", sandbox.url());
    if sandbox.data_url() != sandbox.url() {
        println!("data: {}", sandbox.data_url());
    }
    if !given {
        println!("management token: {}", sandbox.management_token());
    }
}
