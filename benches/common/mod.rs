//! A daemon to measure, and what the system says of it.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up fails")]
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use influx_sandbox::Sandbox;

pub(crate) fn tokend(path: &Path, command: &str) -> Command {
    let mut tokend = Command::new(env!("CARGO_BIN_EXE_influx-tokend"));
    tokend.arg("--config").arg(path.join("tokens.toml")).args(["--log", "error", command]);
    tokend.stdin(Stdio::null()).stdout(Stdio::null());
    tokend
}

#[expect(clippy::zombie_processes, reason = "`stop` waits for it")]
pub(crate) fn until_ready(path: &Path) -> (Duration, Child) {
    let name = path.join("notify.sock");
    let _stale = fs::remove_file(&name);
    let socket = UnixDatagram::bind(&name).unwrap();
    let begun = Instant::now();
    let daemon = tokend(path, "run").env("NOTIFY_SOCKET", &name).spawn().unwrap();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        if String::from_utf8_lossy(&buffer[..length]).contains("READY=1") {
            return (begun.elapsed(), daemon);
        }
    }
}

pub(crate) fn stop(mut daemon: Child) {
    let pid = rustix::process::Pid::from_raw(daemon.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().unwrap().success());
}

/// User and system time of a process, to the kernel's tick.
pub(crate) fn cpu(pid: u32) -> Duration {
    times(&pid.to_string(), 11)
}

/// The same of all processes that were started from here and waited for.
pub(crate) fn children_cpu() -> Duration {
    times("self", 13)
}

/// How long each thread of a process has been running, to the nanosecond (the kernel's sched-stats.rst).
pub(crate) fn running_times(pid: u32) -> BTreeMap<PathBuf, Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    // One that ends meanwhile is none any more.
    let of = |task: PathBuf| {
        let stat = fs::read_to_string(task.join("schedstat")).ok()?;
        Some((task, Duration::from_nanos(stat.split(' ').next()?.parse().ok()?)))
    };
    tasks.filter_map(of).collect()
}

/// Two neighbouring times of proc_pid_stat(5), counted from the state.
fn times(process: &str, at: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[at..at + 2].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

pub(crate) fn resident(pid: u32) -> u64 {
    of_status(pid, "VmRSS")
}

/// A number of proc_pid_status(5); none of a process that is ending.
pub(crate) fn of_status(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |number| number.parse().unwrap())
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A list of so many tokens, delivered from memory alone.
pub(crate) fn write_list(path: &Path, sandbox: &Sandbox, tokens: usize) {
    let at = path.display();
    fs::write(path.join("management-token"), sandbox.management_token()).unwrap();
    let tokens: String =
        (0..tokens).map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"telemetry\"]\n")).collect();
    let list = format!(
        "[server]\nproduct = \"clustered\"\nurl = \"{}\"\n\
         management_token = {{ file = \"{at}/management-token\" }}\n[store]\npath = \"{at}/store\"\n\
         [deliver.socket]\npath = \"{at}/run/secrets.sock\"\n[lifecycle]\nprobe = false\n{tokens}",
        sandbox.url()
    );
    fs::write(path.join("tokens.toml"), list).unwrap();
}
