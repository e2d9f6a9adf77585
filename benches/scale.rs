//! What grows with the number of tokens, and how: each cost beside that of the smallest number, both per token, from one
//! run.
//!
//! `cargo bench --bench scale`; with other numbers of tokens: `cargo bench --bench scale -- 1000 2000`.

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use common::{children_cpu, cpu, millis, of_status, running_times, stop, tokend, until_ready};
use influx_sandbox::{Options, Sandbox};

mod common;

/// So many tokens.
const TOKENS: [usize; 4] = [1_000, 2_500, 5_000, 10_000];
/// So many passes with nothing to do are measured.
const PASSES: usize = 10;

/// What is measured at rest.
const PASS: &str = "pass with nothing to do, the fastest of ten";

/// What something has taken.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    /// Resident, in KiB.
    memory: u64,
}

fn main() {
    let given: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { TOKENS.to_vec() } else { given };
    let all: Vec<(usize, Costs)> = sizes.into_iter().map(|tokens| (tokens, costs(tokens))).collect();
    println!("| what | tokens | wall | ratio | CPU | ratio | memory | requests |");
    println!("|---|---|---|---|---|---|---|---|");
    let (fewest, smallest) = &all[0];
    for (at, (_, of_smallest, _)) in smallest.iter().enumerate() {
        for (tokens, costs) in &all {
            let (what, cost, requests) = costs[at];
            row(*tokens, what, cost, requests, *fewest, *of_smallest);
        }
    }
    let (most, largest) = &all[all.len() - 1];
    if most > fewest {
        let at_rest = |costs: &Costs| costs.iter().find(|(what, ..)| *what == PASS).unwrap().1.memory as f64;
        let per_token = (at_rest(largest) - at_rest(smallest)) / (most - fewest) as f64;
        println!("\nmemory at rest, for each token beyond the first {fewest}: {per_token:.2} KiB");
    }
}

type Costs = Vec<(&'static str, Cost, usize)>;

/// All that is measured with so many tokens.
fn costs(tokens: usize) -> Costs {
    let folder = tempfile::tempdir().unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path();
    // Delivered files belong on tmpfs.
    std::os::unix::fs::symlink(memory.path(), path.join("run")).unwrap();
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let ran = |what, command: &mut Command| {
        sandbox.clear_requests();
        let cost = ran(command);
        (what, cost, sandbox.requests().len())
    };
    write_list(path, &sandbox, tokens, "15m", "7d");
    let mut costs = vec![ran("first run", &mut tokend(path, "apply"))];
    assert_eq!(sandbox.live().len(), tokens, "one for each");
    costs.push(ran("`apply` with nothing to do", &mut tokend(path, "apply")));
    write_list(path, &sandbox, tokens, "10s", "7d");
    costs.extend(daemon(path, &sandbox));
    write_list(path, &sandbox, tokens, "15m", "7d");
    let names = (0..tokens).map(|n| format!("t{n}"));
    costs.push(ran("`rotate` of all", tokend(path, "rotate").args(names)));
    assert_eq!(sandbox.live().len(), 2 * tokens, "each with its former one");
    costs.push(ran("`apply` in the overlap", &mut tokend(path, "apply")));
    write_list(path, &sandbox, tokens, "15m", "1ms");
    costs.push(ran("`apply` when it is over", &mut tokend(path, "apply")));
    assert_eq!(sandbox.live().len(), tokens, "the former ones have ended");
    costs
}

/// Until it is ready, and one of its passes with nothing to do.
fn daemon(path: &Path, sandbox: &Sandbox) -> Costs {
    let (wall, daemon) = until_ready(path);
    let pid = daemon.id();
    let start = Cost { wall, cpu: cpu(pid), memory: of_status(pid, "VmHWM") };
    let after_a_pass = || {
        let before = sandbox.requests().len();
        while sandbox.requests().len() == before {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Until it is worked off.
        std::thread::sleep(Duration::from_millis(500));
        running_times(pid)
    };
    // What was delivered a moment ago is looked into once more.
    after_a_pass();
    sandbox.clear_requests();
    let times: Vec<_> = (0..=PASSES).map(|_| after_a_pass()).collect();
    assert_eq!(sandbox.requests().len(), times.len(), "one request in each pass");
    // Whatever else the machine does makes one slower only.
    let fastest = times.windows(2).map(|pair| passed(&pair[0], &pair[1])).min().unwrap();
    // Between two passes it sleeps.
    let pass = Cost { wall: Duration::ZERO, cpu: fastest, memory: of_status(pid, "VmRSS") };
    let is_list = |method: &str, path: &str| method == "GET" && path == "/api/v0/tokens";
    assert!(sandbox.requests().iter().all(|request| is_list(&request.method, &request.path)));
    stop(daemon);
    vec![("start until READY", start, 0), (PASS, pass, 1)]
}

/// By how much times have grown. A thread that has ended in between had long been idle.
fn passed(before: &BTreeMap<PathBuf, Duration>, after: &BTreeMap<PathBuf, Duration>) -> Duration {
    after.iter().map(|(thread, time)| *time - before.get(thread).copied().unwrap_or_default()).sum()
}

/// Runs a command to its end.
fn ran(command: &mut Command) -> Cost {
    let before = children_cpu();
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut memory = 0;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => memory = memory.max(of_status(child.id(), "VmHWM")),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?} {status}");
    Cost { wall: begun.elapsed(), cpu: children_cpu() - before, memory }
}

/// The ratios are of the costs per token.
fn row(tokens: usize, what: &str, cost: Cost, requests: usize, fewest: usize, smallest: Cost) {
    let times = tokens as f64 / fewest as f64;
    let with_ratio = |cost: Duration, smallest: Duration| {
        let per_token = cost.as_secs_f64() / smallest.as_secs_f64() / times;
        if cost.is_zero() { "| ".to_owned() } else { format!("{:.0} ms | {per_token:.2}", millis(cost)) }
    };
    println!(
        "| {what} | {tokens} | {} | {} | {:.1} MiB | {requests} |",
        with_ratio(cost.wall, smallest.wall),
        with_ratio(cost.cpu, smallest.cpu),
        cost.memory as f64 / 1024.0,
    );
}

fn write_list(path: &Path, sandbox: &Sandbox, tokens: usize, reconcile: &str, overlap_cap: &str) {
    let at = path.display();
    fs::write(path.join("management-token"), sandbox.management_token()).unwrap();
    let tokens: String =
        (0..tokens).map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"telemetry\"]\n")).collect();
    let list = format!(
        "reconcile = \"{reconcile}\"\n[server]\nproduct = \"clustered\"\nurl = \"{}\"\n\
         management_token = {{ file = \"{at}/management-token\" }}\n[store]\npath = \"{at}/store\"\n\
         [deliver.socket]\npath = \"{at}/run/secrets.sock\"\n[deliver.files]\npath = \"{at}/run/secrets\"\n\
         [lifecycle]\noverlap = \"0s\"\noverlap_cap = \"{overlap_cap}\"\nprobe = {{ interval = \"20ms\" }}\n{tokens}",
        sandbox.url()
    );
    fs::write(path.join("tokens.toml"), list).unwrap();
}
