//! What one secret costs, from a daemon and straight from its store, beside `/bin/true` and `age -d` in the same
//! run.
//!
//! `cargo bench --bench one_secret [-- OTHER_INFLUX_SECRETS…]`

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{stop, tokend, until_ready, write_list};
use influx_sandbox::{Options, Sandbox};

mod common;

/// So many tokens.
const TOKENS: usize = 50;
/// Each program is run so often, in turn: what else the machine does then hits all alike.
const ROUNDS: usize = 2000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("run")).unwrap();
    let sandbox = Sandbox::start(Options::default()).unwrap();
    write_list(path, &sandbox, TOKENS);
    assert!(tokend(path, "apply").status().unwrap().success());
    let (_, daemon) = until_ready(path);

    let mut programs = vec![vec!["/bin/true".to_owned()]];
    let shipped = env!("CARGO_BIN_EXE_influx-secrets").to_owned();
    let others = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    for program in [shipped].into_iter().chain(others) {
        for (option, place) in [("--socket", "run/secrets.sock"), ("--store", "store")] {
            let place = path.join(place).display().to_string();
            programs.push([program.as_str(), option, &place, "get", "t7"].map(str::to_owned).to_vec());
        }
    }
    if Command::new("age").arg("--version").output().is_ok() {
        let [identity, record] =
            ["store/identity.txt", "store/tokens/t7.age"].map(|name| path.join(name).display().to_string());
        programs.push(["age", "-d", "-i", &identity, &record].map(str::to_owned).to_vec());
    }

    let times = times(&programs);
    println!("fastest  ratio  median  ratio  instructions  program");
    for (line, own) in programs.iter().zip(&times) {
        let [fastest, median] = [0, ROUNDS / 2]
            .map(|at| (own[at].as_secs_f64() * 1000.0, own[at].as_secs_f64() / times[0][at].as_secs_f64()));
        let instructions = instructions(path, line);
        println!(
            "{:.2} ms  {:.2}   {:.2} ms  {:.2}   {instructions:>12}  {}",
            fastest.0,
            fastest.1,
            median.0,
            median.1,
            line.join(" ").replace(&path.display().to_string(), "…")
        );
    }
    stop(daemon);
}

/// Of each program, shortest first.
fn times(programs: &[Vec<String>]) -> Vec<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(ROUNDS); programs.len()];
    for round in 0..ROUNDS + 50 {
        for (line, times) in programs.iter().zip(&mut times) {
            let mut command = command(line);
            let start = Instant::now();
            let status = command.status().unwrap();
            let took = start.elapsed();
            assert!(status.success(), "{line:?}");
            // The first rounds fill caches.
            if round >= 50 {
                times.push(took);
            }
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    times
}

fn command(line: &[String]) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// What valgrind counts, where there is one.
fn instructions(path: &Path, line: &[String]) -> String {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind");
    valgrind.arg(format!("--callgrind-out-file={}", path.join("callgrind").display())).args(line);
    let Ok(output) = valgrind.stdin(Stdio::null()).output() else { return "no valgrind".to_owned() };
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ").map(|(_, count)| count.trim()));
    let count = count.and_then(|count| count.parse::<f64>().ok());
    count.map_or_else(|| "not counted".to_owned(), |count| format!("{:.2} M", count / 1e6))
}
