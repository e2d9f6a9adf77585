//! The secrets socket under callers who mean no good, and on kernels that know less.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::geteuid;

use crate::{
    host::{Daemon, Host, copy_program, wait_until},
    peers::missing,
};

/// Nobody's uid.
const STRANGER: u32 = 70_123;
const SOCKET: &str = "INFLUX_TOKEND_TEST_SOCKET";
/// So many at once.
const HOSTILE: usize = 200;

fn ask(socket: &Path, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Closed with something unread: what came before counts.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
        outcome => _ = outcome?,
    }
    Ok(answer)
}

fn get(socket: &Path, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    String::from_utf8(ask(socket, request.as_bytes()).unwrap()).unwrap()
}

/// This test program once more, as somebody else: only what `test` does.
fn as_stranger(host: &Host, test: &str) -> Child {
    let program = host.path("stranger");
    copy_program(std::env::current_exe().unwrap(), &program);
    Command::new(program)
        .args(["--exact", &format!("hostile::{test}"), "--nocapture"])
        .env(SOCKET, host.path("run/secrets.sock"))
        .current_dir("/")
        .uid(STRANGER)
        .gid(STRANGER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn open_to_all(host: &Host) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(host.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What each of the hostile ones does, over and over.
fn be_hostile(socket: &Path, kind: usize, until: Instant) {
    let endless = vec![b'x'; 1 << 20];
    while Instant::now() < until {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let _limit = stream.set_read_timeout(Some(Duration::from_millis(300)));
        let mut buffer = [0; 4096];
        // Whether any of it fails is the daemon's affair.
        let _outcome = match kind % 6 {
            0 => stream.write_all(b"GET / HTTP/1.1\r\nx: ").and_then(|()| stream.write_all(&endless)),
            1 => (0..20).try_for_each(|_| {
                std::thread::sleep(Duration::from_millis(50));
                stream.write_all(b"G")
            }),
            2 => stream.write_all(&"GET /v1/json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200).into_bytes()),
            3 => stream.write_all(&[0xff; 4096]),
            4 => stream.read(&mut buffer).map(drop),
            _ => stream
                .write_all(b"PUT /v1/secret/t0 HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
                .and_then(|()| stream.write_all(&endless)),
        };
        let _answer = stream.read(&mut buffer);
    }
}

#[test]
fn two_hundred_hostile_clients_hold_nobody_up() {
    if let Some(socket) = std::env::var_os(SOCKET) {
        let (socket, until) = (PathBuf::from(socket), Instant::now() + Duration::from_secs(60));
        for kind in 0..HOSTILE {
            let socket = socket.clone();
            std::thread::spawn(move || be_hostile(&socket, kind, until));
        }
        println!("begun");
        let _until_told = std::io::stdin().read(&mut [0]);
        return;
    }
    if !geteuid().is_root() {
        return missing("the right to be another user");
    }
    let host = Host::new();
    host.list_of(50);
    open_to_all(&host);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let socket = host.path("run/secrets.sock");
    let quiet = resident(&daemon);
    let mut hostile = as_stranger(&host, "two_hundred_hostile_clients_hold_nobody_up");
    let mut said = hostile.stdout.take().unwrap();
    let mut begun = String::new();
    while !begun.contains("begun") {
        let mut buffer = [0; 256];
        let length = said.read(&mut buffer).unwrap();
        assert!(length > 0, "{begun}");
        begun += &String::from_utf8_lossy(&buffer[..length]);
    }
    // They have become noticed.
    daemon.wait_for(&format!("uid {STRANGER} asked for tokens, and may read none of them"));
    let mut slowest = Duration::ZERO;
    let mut all = vec![];
    for _ in 0..300 {
        let asked = Instant::now();
        let answer = get(&socket, "/v1/influx/data/tokens");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("apiv1_").count() == 50, "{answer}");
        slowest = slowest.max(asked.elapsed());
        all.push(asked.elapsed());
    }
    all.sort_unstable();
    let grown = resident(&daemon).saturating_sub(quiet);
    println!(
        "300 answers beside {HOSTILE} hostile clients: median {:.1?}, slowest {slowest:.1?}; {grown} KiB more",
        all[150]
    );
    drop(hostile.stdin.take());
    hostile.wait().unwrap();
    assert!(grown < 32 << 10, "{grown} KiB more memory");
    let lines = daemon.log().lines().count();
    assert!(lines < 100, "{lines} lines of log");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_request_that_is_none_is_answered_or_closed_and_costs_nothing() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let socket = host.path("run/secrets.sock");
    let status = |request: &[u8]| -> String {
        let answer = ask(&socket, request).unwrap_or_default();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let huge = format!("GET /v1/json HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET /v1/json HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(1 << 16));
    for (request, expected) in [
        (huge.as_bytes(), &["431", ""][..]),
        (many.as_bytes(), &["431"]),
        (long.as_bytes(), &["414", "431", ""]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", &["400", ""]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["400", ""]),
        (b"GET /v1/json HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", &["400"]),
    ] {
        let got = status(request);
        assert!(expected.contains(&got.as_str()), "{got:?} for {:?}", &request[..request.len().min(60)]);
    }
    // Several requests at once are answered in turn.
    let two = b"GET /v1/secret/t0 HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = String::from_utf8(ask(&socket, two).unwrap()).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_stranger_gets_nothing_and_a_reader_what_is_its_own() {
    if let Some(socket) = std::env::var_os(SOCKET) {
        let answer = get(Path::new(&socket), "/v1/influx/data/tokens");
        println!("{}", answer.replace("\r\n", "\n"));
        return;
    }
    if !geteuid().is_root() {
        return missing("the right to be another user");
    }
    readers_and_strangers(Host::daemon);
    // And on a kernel before 6.5.
    let log = readers_and_strangers(|host| {
        std::thread::scope(|scope| scope.spawn(|| without_peer_pidfds(host)).join().unwrap())
    });
    assert!(log.contains("the kernel is older than 6.5"), "{log}");
}

/// A daemon that is told that there is no `SO_PEERPIDFD`. The filter is the thread's, and of what it starts.
pub(crate) fn without_peer_pidfds(host: &Host) -> Daemon {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let is = |argument, value: i32| {
        SeccompCondition::new(argument, Dword, Eq, u64::from(value.unsigned_abs())).unwrap()
    };
    let rule = SeccompRule::new(vec![is(1, libc::SOL_SOCKET), is(2, libc::SO_PEERPIDFD)]).unwrap();
    let filter = SeccompFilter::new(
        [(libc::SYS_getsockopt, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOPROTOOPT.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    host.daemon()
}

fn readers_and_strangers(start: impl Fn(&Host) -> Daemon) -> String {
    let host = Host::new();
    let token = |name: &str, users: &str| {
        format!("[[token]]\nname = \"{name}\"\nwrite = [\"a\"]\nallow = {{ users = [{users}] }}\n")
    };
    host.list(&(token("mine", &format!("\"{STRANGER}\"")) + &token("theirs", "")));
    open_to_all(&host);
    let daemon = start(&host);
    wait_until(
        "both",
        || host.delivered("mine").is_some() && host.delivered("theirs").is_some(),
        || daemon.log(),
    );
    let asked = || {
        let output = as_stranger(&host, "a_stranger_gets_nothing_and_a_reader_what_is_its_own")
            .wait_with_output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let answer = asked();
    let mine = host.delivered("mine").unwrap();
    assert!(answer.contains(&format!("{{\"mine\":\"{mine}\",\"theirs\":false}}")), "{answer}");
    // In the same life of the daemon.
    host.list(&(token("mine", "") + &token("theirs", "")));
    daemon.wait_for("list accepted");
    wait_until("it is a stranger", || asked().contains("HTTP/1.1 403 "), asked);
    let answer = asked();
    assert!(!answer.contains("mine") && !answer.contains(&mine), "{answer}");
    daemon.wait_for("asked for tokens, and may read none of them");
    assert!(
        daemon.log().contains(&format!("add users = [\"{STRANGER}\"] to a token's `allow`")),
        "{}",
        daemon.log()
    );
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    log
}
