//! A minted secret that cannot be sealed (rule 1).

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hyper::Method;
use influx_sandbox::{Effect, Event, Fault};

use crate::{
    host::{Daemon, Host, wait_until},
    peers::{find, missing},
};

/// A daemon whose mint is under way: its intent is sealed, its answer is not there yet.
fn at_the_mint(host: &Host) -> Daemon {
    host.list_of(1);
    host.sandbox.fault(Fault::on(
        Some(Method::POST),
        "/api/v0/tokens",
        Effect::Delay(Duration::from_millis(900)),
    ));
    let events = host.sandbox.events();
    let daemon = host.daemon();
    let is_it = |event: &Event| matches!(event, Event::Received { what } if what == "POST /api/v0/tokens");
    assert!(events.iter().any(|event| is_it(&event)));
    daemon
}

/// Makes system calls of a running process fail.
fn inject(daemon: &Daemon, how: &str) -> Option<Child> {
    let strace = find("strace", "STRACE")?;
    let pid = daemon.pid().as_raw_pid().to_string();
    let mut child = Command::new(strace)
        .args(["-f", "-p", &pid, "-e", "trace=fsync", "-e", how])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says when it holds the process.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("attached")) {
        end(child);
        missing("the right to trace another process");
        return None;
    }
    std::thread::spawn(move || lines.for_each(drop));
    Some(child)
}

fn end(mut child: Child) {
    let _ended = child.kill();
    child.wait().unwrap();
}

/// The first fsync of each thread fails: whether the second try meets another such thread is chance, and both ends
/// are good ones.
#[test]
fn a_disk_that_fails_now_and_then_loses_nothing() {
    let host = Host::new();
    let daemon = at_the_mint(&host);
    let Some(strace) = inject(&daemon, "inject=fsync:error=EIO:when=1") else { return };
    daemon.wait_for("cannot seal, retrying");
    let settled = || {
        let log = daemon.log();
        log.contains("minted and sealed") || log.contains("could not seal it and revoked it again")
    };
    wait_until("the second try", settled, || daemon.log());
    end(strace);
    assert_eq!(daemon.stop().0, Some(0));
    host.sandbox.clear_faults();
    host.apply();
    host.assert_settled("t0");
}

#[test]
fn a_disk_that_fails_twice_has_the_token_ended_at_once() {
    let host = Host::new();
    let daemon = at_the_mint(&host);
    let Some(strace) = inject(&daemon, "inject=fsync:error=EIO") else { return };
    daemon.wait_for("could not seal it and revoked it again");
    assert_eq!(host.live("t0").len(), 0);
    assert!(host.delivered("t0").is_none());
    assert!(daemon.log().contains("Input/output error"), "{}", daemon.log());
    end(strace);
    assert_eq!(daemon.stop().0, Some(0));
    host.sandbox.clear_faults();
    host.apply();
    host.assert_settled("t0");
}

#[test]
fn a_full_disk_has_the_token_ended_at_once() {
    let host = Host::new();
    let Some(_mounted) = mount_store(&host) else { return };
    let store = host.path("store");
    let daemon = at_the_mint(&host);
    let filler = store.join("filler");
    // Until nothing more fits.
    let filled = fs::write(&filler, vec![0; 1 << 20]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    daemon.wait_for("could not seal it and revoked it again");
    assert!(daemon.log().contains("No space left on device"), "{}", daemon.log());
    assert_eq!(host.live("t0").len(), 0);
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(filler).unwrap();
    host.sandbox.clear_faults();
    host.apply();
    host.assert_settled("t0");
    let leftovers = fs::read_dir(store.join("tokens")).unwrap().count();
    assert_eq!(leftovers, 1, "nothing half-written is left");
}

/// A small file system of its own for the store.
fn mount_store(host: &Host) -> Option<Unmount> {
    mount(&host.path("store"), "size=128k,mode=0700")
}

/// A file system in memory at this folder.
pub(crate) fn mount(folder: &Path, options: &str) -> Option<Unmount> {
    fs::create_dir_all(folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(folder)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        missing("the right to mount");
        return None;
    }
    Some(Unmount(folder.to_owned()))
}

/// Takes it away again.
pub(crate) struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _done = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_store_that_cannot_be_written_mints_nothing() {
    let host = Host::new();
    let Some(_mounted) = mount_store(&host) else { return };
    host.list_of(1);
    host.apply();
    let remount = |how: &str| {
        let status = Command::new("mount").args(["-o", how]).arg(host.path("store")).status().unwrap();
        assert!(status.success());
    };
    host.list_of(2);
    remount("remount,ro");
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert!(ran.stderr.contains("hint: mount its file system writable"), "{ran:?}");
    assert_eq!(host.tokend(&["status"]).code, Some(0), "it can still be looked at");
    assert_eq!(host.sandbox.tokens().len(), 1, "without a sealed intent nothing is minted");
    remount("remount,rw");
    host.apply();
    host.assert_settled("t1");
}

#[test]
fn a_store_that_fills_up_mints_nothing_more() {
    let host = Host::new();
    let Some(_mounted) = mount_store(&host) else { return };
    host.list_of(1);
    host.apply();
    let filler = host.path("store/filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "full");
    host.list_of(2);
    let ran = host.tokend(&["apply"]);
    assert_eq!(host.sandbox.tokens().len(), 1, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    fs::remove_file(filler).unwrap();
    host.apply();
    host.assert_settled("t1");
}
