//! The daemon: reload, outage, signals, readiness.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use hyper::Method;
use influx_sandbox::{Effect, Fault};
use rustix::process::Signal;

use crate::host::{Daemon, Host, files_below, uninterrupted, wait_until};

fn delivered(host: &Host, name: &str) {
    wait_until(name, || host.delivered(name).is_some(), || format!("{:?}", host.tokend(&["status"])));
}

#[test]
fn it_follows_the_list_however_it_is_saved() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    delivered(&host, "t0");
    // Written in place.
    host.list_of(2);
    delivered(&host, "t1");
    // Renamed into place, as most editors do.
    let token = |n: usize| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"telemetry\"]\n");
    let list = |count: usize| host.list_text(&host.sandbox.url(), &(0..count).map(token).collect::<String>());
    host.write("tokens.toml.new", &list(3));
    fs::rename(host.path("tokens.toml.new"), host.path("tokens.toml")).unwrap();
    delivered(&host, "t2");
    // A link that leads elsewhere.
    host.write("elsewhere.toml", &list(4));
    fs::remove_file(host.path("tokens.toml")).unwrap();
    std::os::unix::fs::symlink("elsewhere.toml", host.path("tokens.toml")).unwrap();
    delivered(&host, "t3");
    host.write("elsewhere.toml", &list(5));
    delivered(&host, "t4");
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(host.sandbox.tokens().len(), 5, "each was minted once");
}

#[test]
fn a_list_with_faults_changes_nothing_also_after_a_restart() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    delivered(&host, "t0");
    let broken = host.list_text(&host.sandbox.url(), "[[token]]\nname = \"t-1\"\nwrite = [\"telemetry\"]\n");
    host.write("tokens.toml", &broken);
    daemon.wait_for("the last accepted one stays in force");
    assert!(daemon.log().contains("call it \"t_1\""), "{}", daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    let daemon = host.daemon();
    delivered(&host, "t0");
    host.list_of(2);
    delivered(&host, "t1");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_list_without_tokens_is_taken_for_a_slip() {
    let host = Host::new();
    host.list("");
    assert_eq!(host.tokend(&["apply"]).code, Some(0), "with an empty store it is valid");
    host.list_of(1);
    host.apply();
    host.list("");
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("refused as a probable mistake"), "{ran:?}");
    let daemon = host.daemon();
    daemon.wait_for("refused as a probable mistake");
    delivered(&host, "t0");
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t0");
}

#[test]
fn what_is_sealed_is_delivered_with_the_server_away_or_refusing() {
    let mut host = Host::new();
    host.list_of(2);
    host.apply();
    for name in ["t0", "t1"] {
        fs::remove_file(host.path("run/secrets").join(name)).unwrap();
    }
    host.sandbox.set_management_token("another");
    let daemon = host.daemon();
    delivered(&host, "t0");
    delivered(&host, "t1");
    daemon.wait_for("list tokens: 401: unauthorized");
    daemon.wait_for("hint: the management token is unknown there");
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_dir_all(host.path("run/secrets")).unwrap();
    host.sandbox.stop();
    let daemon = host.daemon();
    delivered(&host, "t0");
    delivered(&host, "t1");
    daemon.wait_for("cannot connect");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_name_that_left_the_list_stays_delivered() {
    let host = Host::new();
    host.list_of(2);
    let daemon = host.daemon();
    delivered(&host, "t1");
    host.list_of(1);
    daemon.wait_for("token t1: left the list, its token is delivered until");
    host.assert_settled("t1");
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t1");
}

#[test]
fn a_delivered_file_that_was_altered_is_put_back_and_a_reader_that_is_not_allowed_any_more_is_dropped() {
    let host = Host::new();
    let list = |users: &str| {
        host.list(&format!("[[token]]\nname = \"t\"\nwrite = [\"a\"]\nallow = {{ users = [{users}] }}\n"));
    };
    list("\"1234\"");
    let daemon = host.daemon();
    delivered(&host, "t");
    assert!(host.has_reader("t", 1234));
    fs::write(host.path("run/secrets/t"), "altered").unwrap();
    daemon.signal(Signal::HUP);
    list("");
    wait_until("the reader is gone", || !host.has_reader("t", 1234), || daemon.log());
    host.assert_settled("t");
    assert_eq!(daemon.stop().0, Some(0));
}

/// The state of every file of store and deliveries, but for the lock, which says who holds it.
fn files(host: &Host) -> Vec<(PathBuf, u64, i64, i64)> {
    let of = |path: PathBuf| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        (path, metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    let all = ["store", "run"].into_iter().flat_map(|folder| files_below(&host.path(folder)));
    let mut files: Vec<_> = all.filter(|path| !path.ends_with("lock")).map(of).collect();
    files.sort();
    files
}

#[test]
fn a_pass_with_nothing_to_do_asks_for_the_list_alone_writes_nothing_and_sees_what_others_altered() {
    const TOKENS: usize = 500;
    let host = Host::new();
    // Elsewhere files are looked into each time.
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return crate::peers::missing("a file system in memory");
    };
    fs::remove_dir(host.path("run")).unwrap();
    symlink(memory.path(), host.path("run")).unwrap();
    host.list_of(TOKENS);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("\"20ms\"", "\"10ms\""));
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let passes = |count: usize| (0..count).for_each(|_| _ = host.apply());
    passes(3);
    let before = files(&host);
    assert!(before.len() > 2 * TOKENS, "{} files", before.len());
    host.sandbox.clear_requests();
    passes(4);
    let requests = host.sandbox.requests();
    let others: Vec<_> = requests
        .iter()
        .filter(|request| request.method != "GET" || request.path != "/api/v0/tokens")
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!((4..=8).contains(&requests.len()), "{}", requests.len());
    assert_eq!(files(&host), before, "nothing was written");

    let at = |name: &str| host.path("run/secrets").join(name);
    let altered = host.delivered("t7").unwrap().replace(['0', '1', '2'], "3");
    fs::write(at("t7"), altered).unwrap();
    fs::set_permissions(at("t8"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(at("t9")).unwrap();
    fs::rename(at("t11"), at("t10")).unwrap();
    let is_right = |name: &str| {
        let mode = fs::metadata(at(name)).map(|metadata| metadata.mode() & 0o7777);
        mode.is_ok_and(|mode| mode == 0o600)
            && host.delivered(name) == Some(host.live(name)[0].secret.clone())
    };
    passes(1);
    for name in ["t7", "t8", "t9", "t10", "t11"] {
        wait_until(name, || is_right(name), || daemon.log());
    }
    let untouched = |files: Vec<(PathBuf, u64, i64, i64)>| -> Vec<_> {
        let is_altered = |path: &Path| ["t7", "t8", "t9", "t10", "t11"].iter().any(|name| path == at(name));
        files.into_iter().filter(|(path, ..)| !is_altered(path)).collect()
    };
    assert_eq!(untouched(files(&host)), untouched(before), "nothing else was written");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn sigterm_awaits_the_mint_that_is_under_way_and_begins_no_other() {
    let host = Host::new();
    host.list_of(30);
    host.sandbox.fault(Fault::on(
        Some(Method::POST),
        "/api/v0/tokens",
        Effect::Delay(Duration::from_millis(400)),
    ));
    let daemon = host.daemon();
    wait_until(
        "the first mints",
        || host.sandbox.requests().iter().any(|request| request.method == "POST"),
        || daemon.log(),
    );
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let minted = host.sandbox.tokens().len();
    assert!((1..=8).contains(&minted), "{minted} minted");
    assert_eq!(log.matches("minted and sealed").count(), minted, "{log}");
    host.sandbox.clear_faults();
    host.apply();
    assert_eq!(host.sandbox.tokens().len(), 30, "what was under way was sealed, nothing is minted twice");
}

#[test]
fn the_supervisor_is_told() {
    let host = Host::new();
    host.list_of(1);
    let (mut command, socket) = host.supervised();
    socket.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
    command.env("WATCHDOG_USEC", "200000");
    let daemon = Daemon::start(command);
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    while !["READY=1", "STATUS=1 of 1 tokens ready", "WATCHDOG=1"].iter().all(|word| heard.contains(word)) {
        let length =
            uninterrupted(|| socket.recv(&mut buffer)).unwrap_or_else(|error| panic!("{error}: {heard}"));
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        heard.push('\n');
    }
    host.sandbox.set_management_token("another");
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.stop().0, Some(0));
    while let Ok(length) = uninterrupted(|| socket.recv(&mut buffer)) {
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if heard.contains("STOPPING=1") {
            break;
        }
    }
    assert!(heard.contains("STOPPING=1"), "{heard}");
}

#[test]
fn creates_that_fail_for_a_while_are_tried_again() {
    let host = Host::new();
    host.list_of(3);
    host.sandbox.fault(Fault::status(Method::POST, "/api/v0/tokens", 500));
    let daemon = host.daemon();
    daemon.wait_for("mint token: 500: on demand");
    host.sandbox.clear_faults();
    assert_eq!(daemon.stop().0, Some(0));
    // The next try of a daemon is in half a minute; a new process tries at once.
    let daemon = host.daemon();
    for name in ["t0", "t1", "t2"] {
        delivered(&host, name);
    }
    assert_eq!(daemon.stop().0, Some(0));
    for name in ["t0", "t1", "t2"] {
        host.assert_settled(name);
    }
}

/// Nothing has come of it yet: its answer is awaited neither by a stop nor by whoever looks after the server anew.
#[test]
fn a_list_that_is_not_answered_delays_neither_a_stop_nor_a_change_of_the_list() {
    let host = Host::new();
    let patient = |list: &str| {
        let text = host.list_text(&host.sandbox.url(), list);
        host.write("tokens.toml", &text.replace("timeout = \"1s\"", "timeout = \"20s\""));
    };
    let silence = || Fault::on(Some(Method::GET), "/api/v0/tokens", Effect::Silence);
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
    patient(token);
    host.sandbox.fault(silence().times(1));
    let begun = Instant::now();
    let daemon = host.daemon();
    wait_until("the question", || host.list_is_open(), || daemon.log());
    patient(&format!("grace = \"25h\"\n{token}"));
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    host.sandbox.fault(silence());
    daemon.wait_for("promoted");
    let mut apply = host.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("another question", || host.list_is_open(), || daemon.log());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "after {:?}\n{log}", begun.elapsed());
    assert_eq!(apply.wait().unwrap().code(), Some(1), "it was not seen to its end");
}
