//! What the daemon costs with 1,000 tokens, each figure beside the floor that it is measured against in the same run.
//!
//! `cargo bench --bench first_look`

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up fails")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use common::{cpu, millis, resident, stop, tokend, until_ready};
use influx_sandbox::{Options, Sandbox};

mod common;

/// So many tokens.
const TOKENS: usize = 1000;
/// Every answer of the server takes this long in the first run.
const LATENCY: Duration = Duration::from_millis(20);
/// So many mints are under way at once.
const MINTS: u32 = 8;
/// So many passes with nothing to do are measured.
const PASSES: usize = 20;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path();
    // Delivered files belong on tmpfs.
    std::os::unix::fs::symlink(memory.path(), path.join("run")).unwrap();
    let sandbox = Sandbox::start(Options { latency: LATENCY, ..Options::default() }).unwrap();
    write_list(path, &sandbox, "15m");

    let first = timed(|| apply(path));
    let network = LATENCY * u32::try_from(TOKENS).unwrap() / MINTS;
    let disk = disk_floor(path);
    row("first run", first, "network floor (latency × requests ÷ 8)", network);
    row("", first, "disk floor (as many fsynced writes, bare)", disk);
    println!(
        "first run / larger floor: {:.2} (at most 2)",
        first.as_secs_f64() / network.max(disk).as_secs_f64()
    );

    let (ready, daemon) = until_ready(path);
    stop(daemon);
    println!("start with {TOKENS} sealed tokens until READY: {:.0} ms (at most 500)", millis(ready));

    drop(sandbox);
    no_op(path);
}

/// A running daemon that has nothing to do: 500 foreign tokens and as many revoked ones are listed too.
fn no_op(path: &Path) {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    for n in 0..500 {
        sandbox.add_token(&format!("somebody's token {n}"), &[("write", "telemetry")]);
        sandbox.revoke(&sandbox.add_token(&format!("former token {n}"), &[("write", "telemetry")]));
    }
    fs::remove_dir_all(path.join("store")).unwrap();
    fs::remove_dir_all(path.join("run/secrets")).unwrap();
    fs::remove_dir_all(path.join("run/daemon")).unwrap();
    write_list(path, &sandbox, "10s");
    apply(path);
    let (_, daemon) = until_ready(path);
    let lists = || sandbox.requests().iter().filter(|request| request.path == "/api/v0/tokens").count();
    while lists() < 3 {
        std::thread::sleep(Duration::from_millis(100));
    }
    sandbox.clear_requests();
    let before = cpu(daemon.id());
    while lists() < PASSES {
        std::thread::sleep(Duration::from_millis(100));
    }
    let spent = cpu(daemon.id()) - before;
    let requests = sandbox.requests().len();
    println!(
        "pass with nothing to do: {:.1} ms of CPU (at most 20), {:.2} requests (exactly 1)",
        millis(spent) / PASSES as f64,
        requests as f64 / lists() as f64,
    );
    println!("resident: {} KiB", resident(daemon.id()));
    stop(daemon);
}

fn write_list(path: &Path, sandbox: &Sandbox, reconcile: &str) {
    let at = path.display();
    fs::write(path.join("management-token"), sandbox.management_token()).unwrap();
    let tokens: String =
        (0..TOKENS).map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"telemetry\"]\n")).collect();
    let list = format!(
        "reconcile = \"{reconcile}\"\n[server]\nproduct = \"clustered\"\nurl = \"{}\"\n\
         management_token = {{ file = \"{at}/management-token\" }}\n[store]\npath = \"{at}/store\"\n\
         [deliver.socket]\npath = \"{at}/run/secrets.sock\"\n[deliver.files]\npath = \"{at}/run/secrets\"\n\
         [lifecycle]\nprobe = false\n{tokens}",
        sandbox.url()
    );
    fs::write(path.join("tokens.toml"), list).unwrap();
}

fn apply(path: &Path) {
    assert!(tokend(path, "apply").status().unwrap().success());
}

/// What the same number of durable writes takes: three seals per token (intent, next, current), each a new file,
/// fsynced, renamed, and its folder fsynced, by eight threads as the daemon has eight mints under way.
fn disk_floor(path: &Path) -> Duration {
    let folder = path.join("floor");
    fs::create_dir(&folder).unwrap();
    let bytes = [0_u8; 1000];
    timed(|| {
        std::thread::scope(|scope| {
            for thread in 0..MINTS as usize {
                let folder = &folder;
                scope.spawn(move || {
                    for n in (thread..TOKENS * 3).step_by(MINTS as usize) {
                        let (new, name) =
                            (folder.join(format!(".{n}")), folder.join((n % TOKENS).to_string()));
                        let mut file = fs::File::create(&new).unwrap();
                        file.write_all(&bytes).unwrap();
                        file.sync_all().unwrap();
                        fs::rename(new, name).unwrap();
                        fs::File::open(folder).unwrap().sync_all().unwrap();
                    }
                });
            }
        });
    })
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn row(what: &str, took: Duration, floor: &str, limit: Duration) {
    println!(
        "{what:<12} {:>8.0} ms   {floor:<45} {:>8.0} ms   {:.2} ×",
        millis(took),
        millis(limit),
        took.as_secs_f64() / limit.as_secs_f64()
    );
}
