//! The secrets socket beside nginx, which serves the same bytes from a file over a Unix socket: keep-alive connections,
//! 50 secrets, access checks on. And what the daemon takes at rest with 100 tokens.
//!
//! `cargo bench --bench socket` (needs nginx on PATH)

#![expect(clippy::print_stdout, reason = "that is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set itself up fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use common::{millis, resident, stop, tokend, until_ready, write_list};
use influx_sandbox::{Options, Sandbox};

mod common;

const SECRETS: usize = 50;
const AT_REST: usize = 100;
/// Each measurement takes so long, and is made so often, ours and nginx's in turn.
const SPAN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;
const MAP: &str = "/v1/influx/data/tokens";
const ONE: &str = "/v1/secret/t7";

fn main() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = memory.path();
    fs::create_dir(path.join("run")).unwrap();
    let sandbox = Sandbox::start(Options::default()).unwrap();
    write_list(path, &sandbox, SECRETS);
    assert!(tokend(path, "apply").status().unwrap().success());
    let (_, daemon) = until_ready(path);
    let ours = path.join("run/secrets.sock");
    let nginx = Nginx::start(path, &ours);
    for (what, target) in [("kv-v2 map", MAP), ("one raw secret", ONE)] {
        for connections in [1, 16, 64] {
            compare(what, target, connections, &ours, &nginx.socket);
        }
    }
    drop(nginx);
    stop(daemon);
    at_rest(path, &sandbox);
}

fn compare(what: &str, target: &str, connections: usize, ours: &Path, nginx: &Path) {
    let (mut us, mut them) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        us.push(load(ours, target, connections));
        them.push(load(nginx, target, connections));
    }
    let (us, them) = (median(us), median(them));
    println!(
        "{what:<15} {connections:>3} connections: {:>8.0}/s, nginx {:>8.0}/s, {:.2} × (at least 0.9); \
         p99 {:>6.0} µs, nginx {:>6.0} µs, {:.2} × (at most 2)",
        us.rate,
        them.rate,
        us.rate / them.rate,
        us.p99,
        them.p99,
        us.p99 / them.p99
    );
}

#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    p99: f64,
}

/// By rate and by p99, each for itself.
fn median(measured: Vec<Measured>) -> Measured {
    let middle = |of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measured { rate: middle(|one| one.rate), p99: middle(|one| one.p99) }
}

fn load(socket: &Path, target: &str, connections: usize) -> Measured {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..connections).map(|_| scope.spawn(|| client(socket, target, &over))).collect();
        std::thread::sleep(SPAN);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let took = begun.elapsed();
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100].as_secs_f64() * 1e6;
    Measured { rate: times.len() as f64 / took.as_secs_f64(), p99 }
}

/// Every answer has the length of the first.
fn client(socket: &Path, target: &str, over: &AtomicBool) -> Vec<Duration> {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nx-vault-request: true\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; whole_answer(&mut stream).len()];
    let mut times = Vec::with_capacity(1 << 18);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_exact(&mut answer).unwrap();
        times.push(begun.elapsed());
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
    times
}

fn whole_answer(stream: &mut UnixStream) -> Vec<u8> {
    let mut answer = vec![];
    let mut buffer = [0; 65_536];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server closed");
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        if body.len() >= length.parse().unwrap() {
            return answer;
        }
    }
}

struct Nginx {
    child: Child,
    socket: PathBuf,
}

impl Nginx {
    /// Serves what our socket answers.
    fn start(path: &Path, ours: &Path) -> Self {
        let root = path.join("nginx");
        for target in [MAP, ONE] {
            let mut stream = UnixStream::connect(ours).unwrap();
            write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let answer = whole_answer(&mut stream);
            let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let file = root.join(&target[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &answer[body..]).unwrap();
        }
        let socket = root.join("socket");
        let (root, at) = (root.display(), socket.display());
        let configuration = format!(
            "user root; worker_processes auto; pid {root}/pid; error_log {root}/error.log; daemon off;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
             default_type application/json; open_file_cache max=100;\n\
             server {{ listen unix:{at}; root {root}; }} }}\n"
        );
        let file = path.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let child = Command::new("nginx").arg("-c").arg(&file).spawn().expect("nginx");
        while UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

/// A daemon that nobody asks anything.
fn at_rest(path: &Path, sandbox: &Sandbox) {
    write_list(path, sandbox, AT_REST);
    assert!(tokend(path, "apply").status().unwrap().success());
    let (ready, daemon) = until_ready(path);
    // The first pass, and the end of the threads that it had work for.
    std::thread::sleep(Duration::from_secs(15));
    let before = switches(daemon.id());
    std::thread::sleep(Duration::from_secs(20));
    println!(
        "at rest with {AT_REST} tokens: {} KiB resident (at most 12,288), {} wake-ups in 20 s (none); ready in {:.0} ms",
        resident(daemon.id()),
        switches(daemon.id()) - before,
        millis(ready)
    );
    stop(daemon);
}

/// How often the threads of a process were woken.
fn switches(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .map(|status| {
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        })
        .sum()
}
