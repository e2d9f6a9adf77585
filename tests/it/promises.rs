//! What holds whatever happens: no secret gets out (rule 18), nothing is left half-written (rule 19), no program is
//! started, and no fault ends the daemon (rule 22).

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use hyper::Method;
use influx_sandbox::{Effect, Fault};
use rustix::process::Signal;

use crate::{
    host::{Daemon, Host, copy_program, wait_until},
    peers::{find, missing},
};

const TOKEN: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";

fn delivered(host: &Host, daemon: &Daemon, name: &str) {
    wait_until(name, || host.delivered(name).is_some(), || daemon.log());
}

/// An ordinary user's process shows whether it may be dumped: what may not belongs to root in /proc (proc(5)).
#[test]
fn neither_program_can_be_dumped() {
    const USER: u32 = 12_347;
    if !rustix::process::geteuid().is_root() {
        return missing("the right to be another user");
    }
    let host = Host::new();
    host.list_of(1);
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    for path in ["run", "management-token", "tokens.toml"] {
        chown(host.path(path), Some(USER), None).unwrap();
    }
    for folder in ["store", "home"] {
        fs::create_dir(host.path(folder)).unwrap();
        chown(host.path(folder), Some(USER), None).unwrap();
    }
    let as_user = |program: &str, arguments: &[&str]| {
        let copy = host.path(Path::new(program).file_name().unwrap().to_str().unwrap());
        copy_program(program, &copy);
        let mut command = Command::new(copy);
        command
            .args(arguments)
            .uid(USER)
            .current_dir("/")
            .env("HOME", host.path("home"))
            .stdout(Stdio::null());
        Daemon::start(command)
    };
    let list = host.path("tokens.toml");
    let daemon = as_user(env!("CARGO_BIN_EXE_influx-tokend"), &["--config", list.to_str().unwrap(), "run"]);
    delivered(&host, &daemon, "t0");
    let socket = host.path("run/secrets.sock");
    let reader = as_user(
        env!("CARGO_BIN_EXE_influx-secrets"),
        &["--socket", socket.to_str().unwrap(), "wait", "--timeout", "60s", "t1"],
    );
    // Any other program of theirs.
    let other = Daemon::start({
        let mut sleep = Command::new("sleep");
        sleep.arg("60").uid(USER).current_dir("/");
        sleep
    });
    let in_proc = |process: &Daemon, file: &str| format!("/proc/{}/{file}", process.pid().as_raw_pid());
    let owner = |process: &Daemon| fs::metadata(in_proc(process, "environ")).unwrap().uid();
    let is_program = |process: &Daemon, name: &str| {
        fs::read_to_string(in_proc(process, "comm")).is_ok_and(|comm| name.starts_with(comm.trim()))
    };
    wait_until(
        "the others",
        || is_program(&reader, "influx-secrets") && is_program(&other, "sleep"),
        || reader.log(),
    );
    assert_eq!(owner(&other), USER, "what may be dumped is seen to be");
    for process in [&daemon, &reader] {
        wait_until("no dump", || owner(process) == 0, || format!("owner {}", owner(process)));
        let limits = fs::read_to_string(in_proc(process, "limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    }
}

/// A server, or a proxy before it, may repeat in an answer what it was sent, or answer in a way that cannot be read.
#[test]
fn an_answer_with_a_secret_in_it_is_not_repeated() {
    const MINTED: &str = "apiv1_canary-91f3";
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let management = host.sandbox.management_token();
    let repeated = format!("{{\"message\":\"no {management}\"}}");
    let unreadable = format!("{{\"id\":7,\"accessToken\":\"{MINTED}\"}}");
    let cut = format!("{{\"accessToken\":\"{MINTED}");
    let page = format!("<html>{management} {MINTED}");
    let mut command = host.command(&["--log", "trace", "run"]);
    command.current_dir(host.folder.path());
    let daemon = Daemon::start(command);
    daemon.wait_for("ready");
    // So that there is something to mint.
    host.list_of(2);
    let mut said = String::new();
    for (method, status, body) in [
        (Method::GET, 403, &repeated),
        (Method::GET, 500, &page),
        (Method::GET, 200, &unreadable),
        (Method::GET, 200, &cut),
        (Method::POST, 400, &repeated),
        (Method::POST, 200, &unreadable),
        (Method::POST, 200, &cut),
        (Method::POST, 200, &page),
    ] {
        let effect = Effect::Status { status, headers: vec![], body: body.clone() };
        host.sandbox.fault(Fault::on(Some(method), "/api/v0/tokens", effect));
        for arguments in
            [&["apply"][..], &["rotate", "t0"], &["plan"], &["check"], &["status", "--output", "json"]]
        {
            let ran = host.tokend(&[&["--log", "trace"], arguments].concat());
            said += &(ran.stdout + &ran.stderr);
        }
        host.sandbox.clear_faults();
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    for told in ["403", "500", "is not what the API describes", "ends too early", "400"] {
        assert!(said.contains(told), "{told} is told: {said}");
    }
    for (place, text) in [("output", &said), ("log", &log)] {
        for secret in [management.as_str(), MINTED] {
            assert!(!text.contains(secret), "a secret in the {place}: {text}");
        }
    }
}

#[test]
fn secrets_that_lie_on_a_disk_are_warned_of() {
    const WARNING: &str = "delivered secrets lie on a disk in clear";
    let in_memory = |path: &Path| {
        let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(path).output().unwrap().stdout;
        ["tmpfs", "ramfs"].contains(&String::from_utf8_lossy(&kind).trim())
    };
    let (disk, memory) = (PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from("/dev/shm"));
    if in_memory(&disk) || !in_memory(&memory) {
        return missing("a disk, and a file system in memory beside it");
    }
    for (place, warns) in [(disk, true), (memory, false)] {
        let host = Host::new();
        let folder = tempfile::tempdir_in(place).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir(host.path("run")).unwrap();
        symlink(folder.path(), host.path("run")).unwrap();
        host.list_of(1);
        let daemon = host.daemon();
        delivered(&host, &daemon, "t0");
        let (_, log) = daemon.stop();
        assert_eq!(log.contains(WARNING), warns, "{log}");
    }
}

#[test]
fn a_start_removes_what_a_former_one_left_half_written_and_nothing_else() {
    let host = Host::new();
    host.list_of(1);
    host.apply();
    let ours = [
        "store/.instance.0123456789abcdef",
        "store/.list.0123456789abcdef",
        "store/tokens/.t0.age.0123456789abcdef",
        "run/secrets/.t0.0123456789abcdef.tmp",
        "run/daemon/.generations.0123456789abcdef.tmp",
    ];
    let others =
        ["store/notes", "store/tokens/.swp", "run/secrets/.x.tmp", "run/daemon/.t0.tmp", "run/other"];
    for file in ours.iter().chain(&others) {
        host.write(file, "half");
    }
    let daemon = host.daemon();
    daemon.wait_for("ready");
    for file in ours {
        assert!(!host.path(file).exists(), "{file} is left");
    }
    for file in others {
        assert!(host.path(file).exists(), "{file} is gone");
    }
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t0");
}

/// Tells every program that a daemon starts.
fn starts_of(daemon: &Daemon) -> Option<(Child, PathBuf, tempfile::TempDir)> {
    let strace = find("strace", "STRACE")?;
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let pid = daemon.pid().as_raw_pid().to_string();
    let mut command = Command::new(strace);
    command
        .args(["-f", "-p", &pid, "-e", "trace=execve,execveat,fork,vfork", "-e", "signal=none", "-o"])
        .arg(&seen);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // It says when it holds the process.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("attached")) {
        let _ended = child.kill();
        child.wait().unwrap();
        missing("the right to trace another process");
        return None;
    }
    std::thread::spawn(move || lines.for_each(drop));
    Some((child, seen, folder))
}

/// That the one program that a list may name is seen shows that others would be.
#[test]
fn no_change_starts_a_program_but_the_management_tokens() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    delivered(&host, &daemon, "t0");
    let Some((mut strace, seen, _folder)) = starts_of(&daemon) else { return };
    let started = || fs::read_to_string(&seen).unwrap();
    host.list_of(2);
    delivered(&host, &daemon, "t1");
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    host.list_of(1);
    daemon.wait_for("t1: left the list");
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    daemon.signal(Signal::HUP);
    host.write("tokens.toml", "nonsense");
    daemon.wait_for("the last accepted one stays in force");
    host.sandbox.fault(Fault::status(Method::GET, "/api/v0/tokens", 500));
    host.list_of(3);
    daemon.wait_for("list tokens: 500");
    host.sandbox.clear_faults();
    assert_eq!(started(), "", "what is started is seen at once");

    let list = host.list_text(&host.sandbox.url(), TOKEN);
    let file = host.path("management-token").display().to_string();
    let from_file = format!("{{ file = \"{file}\" }}");
    assert!(list.contains(&from_file));
    host.write(
        "tokens.toml",
        &list.replace(&from_file, &format!("{{ command = [\"/bin/cat\", \"{file}\"] }}")),
    );
    wait_until("the command", || started().contains("execve(\"/bin/cat\""), started);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    strace.wait().unwrap();
    let all = started();
    let others: Vec<&str> =
        all.lines().filter(|line| line.contains("execve") && !line.contains("/bin/cat")).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Each in its turn, and after each of them the next change is taken as if nothing had been.
#[test]
fn no_fault_ends_the_daemon() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    delivered(&host, &daemon, "t0");
    let list = host.path("tokens.toml");
    let good = fs::read_to_string(&list).unwrap();
    let (url, bad_pem) = (host.sandbox.url(), host.path("ca.pem"));
    host.write("ca.pem", "no certificate");
    let with_certificates = |path: &Path| {
        let server = format!("url = \"https://127.0.0.1:9\"\nca_file = \"{}\"", path.display());
        good.replace(&format!("url = \"{url}\""), &server)
    };
    let record = host.path("store/tokens/t0.age");
    let faults: [(&str, &dyn Fn(), &str); 9] = [
        ("a list that is none", &|| host.write("tokens.toml", "x = "), "not TOML"),
        ("a list that is no text", &|| fs::write(&list, b"\xff").unwrap(), "is not UTF-8"),
        ("a list with nothing in it", &|| host.write("tokens.toml", ""), "refused as a probable mistake"),
        ("certificates that are none", &|| fs::write(&list, with_certificates(&bad_pem)).unwrap(), "ca.pem"),
        (
            "no certificates",
            &|| fs::write(&list, with_certificates(&host.path("none.pem"))).unwrap(),
            "none.pem",
        ),
        (
            "a server that talks nonsense",
            &|| {
                host.sandbox.fault(Fault::on(None, "/api/v0/tokens", Effect::HalfBody));
                host.write("tokens.toml", &good.replace("[lifecycle]", "[lifecycle]\ngrace = \"25h\""));
            },
            "list tokens: ",
        ),
        (
            "a store that is gone",
            &|| {
                fs::rename(host.path("store"), host.path("store.away")).unwrap();
                host.write("tokens.toml", &format!("{good}[[token]]\nname = \"new\"\nwrite = [\"a\"]\n"));
            },
            "the list is not taken over",
        ),
        (
            "delivered files that cannot be",
            &|| {
                fs::remove_dir_all(host.path("run/secrets")).unwrap();
                host.write("run/secrets", "in the way");
                host.write("tokens.toml", &good.replace("[lifecycle]", "[lifecycle]\ngrace = \"26h\""));
            },
            "run/secrets",
        ),
        (
            "a record that is none",
            &|| {
                fs::write(&record, "nonsense").unwrap();
                assert_ne!(host.tokend(&["rotate", "t0"]).code, Some(0));
            },
            "t0",
        ),
    ];
    let mend = || {
        host.sandbox.clear_faults();
        let _was_there = fs::rename(host.path("store.away"), host.path("store"));
        let _was_in_the_way = fs::remove_file(host.path("run/secrets"));
    };
    for (round, (what, make, told)) in faults.into_iter().enumerate() {
        let said = daemon.log().len();
        make();
        wait_until(what, || daemon.log()[said..].contains(told), || daemon.log());
        assert_eq!(host.secrets_by_socket(&["get", "t0"]).code, Some(0), "{what}: {}", daemon.log());
        mend();
        let name = format!("after{round}");
        host.write("tokens.toml", &format!("{good}[[token]]\nname = \"{name}\"\nwrite = [\"a\"]\n"));
        delivered(&host, &daemon, &name);
    }
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
}
