//! With `--follow`: changes as they come, everything anew from time to time, and what systemd is told.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    time::Duration,
};

use influx_tokend::keys::{self, Key};
use rustix::process::Signal;

use crate::{
    host::{Daemon, PATIENCE, uninterrupted, wait_until},
    rings::{OWN, RING, Relayed, has_usual_quota},
    scripted::errors,
};

/// It follows, and looks at everything anew after this.
fn follow(relayed: &Relayed, recheck: &str) -> Daemon {
    Daemon::start(relayed.command(&["--follow", "--recheck", recheck]))
}

/// What somebody in systemd's place hears.
struct Heard(UnixDatagram);

impl Heard {
    fn at(relayed: &Relayed) -> Self {
        let path = relayed.reader.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = uninterrupted(|| self.0.recv(&mut buffer)).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// That nothing has been said that [`Self::next`] has not told.
    fn assert_silent(&self) {
        self.0.set_nonblocking(true).unwrap();
        assert!(self.0.recv(&mut [0; 4096]).is_err());
        self.0.set_nonblocking(false).unwrap();
    }
}

#[test]
fn it_is_ready_when_the_ring_is_full_follows_each_change_and_ends_at_sigterm() {
    let Some(relayed) = Relayed::new() else { return };
    let (server, heard) = (relayed.serve(), Heard::at(&relayed));
    let mut command = relayed.command(&["--follow"]);
    command.env("NOTIFY_SOCKET", relayed.reader.folder.path().join("notify"));
    let mut relay = Daemon::start(command);
    server.asks("/v1/changes").changes("e.1", &[("a", 1), ("b", 0)]);
    // A Telegraf that begins now finds the ring that it will be.
    let ring = relayed.owner.ring(RING);
    assert!(ring.is_some());
    heard.assert_silent();
    server.asks("/v1/secret/a").answer(200, "CANARY 1");
    assert_eq!(heard.next(), "STATUS=1 token in the ring \"telegraf\", 1 not ready\n");
    assert_eq!(heard.next(), "READY=1\n");
    let asked = server.asks("/v1/changes?cursor=e.1");
    relayed.owner.assert_has(&[("a", "CANARY 1")]);
    let key = relayed.owner.key("a");

    asked.changes("e.2", &[("a", 2)]);
    server.asks("/v1/secret/a").answer(200, "CANARY 2");
    let asked = server.asks("/v1/changes?cursor=e.2");
    relayed.owner.assert_has(&[("a", "CANARY 2")]);
    assert_eq!(relayed.owner.key("a"), key, "in place");
    // What it has no more value of has ended: nothing is to be written with that.
    asked.changes("e.3", &[("a", 0), ("b", 5)]);
    server.asks("/v1/secret/b").answer(200, "CANARY b");
    let asked = server.asks("/v1/changes?cursor=e.3");
    relayed.owner.assert_has(&[("b", "CANARY b")]);
    // The same generation, from a backup, with another value.
    asked.changes("e.4", &[("a", 3), ("b", 5)]);
    server.asks("/v1/secret/a").answer(200, "CANARY 3");
    server.asks("/v1/secret/b").answer(200, "CANARY b of a backup");
    let asked = server.asks("/v1/changes?cursor=e.4");
    relayed.owner.assert_has(&[("a", "CANARY 3"), ("b", "CANARY b of a backup")]);
    relay.signal(Signal::TERM);
    assert_eq!(relay.wait(), Some(0));
    drop(asked);
    server.assert_idle();
    relayed.owner.assert_has(&[("a", "CANARY 3"), ("b", "CANARY b of a backup")]);
    assert_eq!(relayed.owner.ring(RING), ring);
    let log = relay.log();
    assert!(!log.contains("CANARY"), "{log}");
    for said in ["following: token b is not ready", "following: token a is not ready"] {
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
    let out = "token a is out of the ring \"telegraf\": the daemon has no value of it any more\n";
    assert_eq!(log.matches(out).count(), 1, "{log}");
    // What is as it was is not told again.
    assert_eq!(heard.next(), "STATUS=2 tokens in the ring \"telegraf\"\n");
    assert_eq!(heard.next(), "STOPPING=1\n");
    heard.assert_silent();
}

#[test]
fn a_daemon_that_is_away_is_told_once_and_the_ring_stays() {
    let Some(relayed) = Relayed::new() else { return };
    let relay = follow(&relayed, "1h");
    relay.wait_for("following: the daemon cannot be reached");
    assert_eq!(relayed.owner.names_in(RING), [""; 0], "the ring is there, and empty");
    let server = relayed.serve();
    server.asks("/v1/changes").changes("e.1", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY 1");
    drop(server.asks("/v1/changes?cursor=e.1"));
    server.kill();
    wait_until("it is told", || relay.log().matches("cannot be reached").count() == 2, || relay.log());
    // Several more tries, in several ways in which a daemon is away.
    fs::remove_file(relayed.reader.socket()).unwrap();
    let server = relayed.serve();
    server.next().raw(b"");
    server.kill();
    let server = relayed.serve();
    assert_eq!(relayed.owner.value("a").as_deref(), Some("CANARY 1"));
    // Another run of it, which is not ready yet: the old value stays, until there is another.
    server.asks("/v1/changes").changes("f.0", &[("a", 0)]);
    let asked = server.asks("/v1/changes?cursor=f.0");
    relayed.owner.assert_has(&[("a", "CANARY 1")]);
    // All is read again, although no generation has changed.
    asked.changes("f.1", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY 2");
    // And where that comes as the answer to a cursor of the former one.
    server.asks("/v1/changes?cursor=f.1").changes("g.1", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY 3");
    let asked = server.asks("/v1/changes?cursor=g.1");
    relayed.owner.assert_has(&[("a", "CANARY 3")]);
    let (code, log) = relay.stop();
    drop(asked);
    let away = log.matches("following: the daemon cannot be reached").count();
    assert_eq!((code, away), (Some(0), 2), "{log}");
}

#[test]
fn what_has_been_altered_lost_or_left_is_put_right_at_the_next_look() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let relay = follow(&relayed, "300ms");
    let all = [("a", 1), ("b", 1), ("c", 1)];
    let put = |names: &[&str]| {
        for name in names {
            server.asks(&format!("/v1/secret/{name}")).answer(200, &format!("CANARY {name}"));
        }
    };
    server.asks("/v1/changes").changes("e.1", &all);
    put(&["a", "b", "c"]);
    // Nothing changes, and nobody answers: after its time it looks at everything all the same.
    let poll = server.asks("/v1/changes?cursor=e.1");
    let (a, b) = (relayed.owner.key("a").unwrap(), relayed.owner.key("b").unwrap());
    let ring = relayed.owner.ring(RING).unwrap();
    relayed.owner.does_as_owner(|| {
        keys::update(a, b"altered").unwrap();
        keys::set_permissions(a, 0x3f01_0000).unwrap();
        keys::unlink(b, ring).unwrap();
    });
    let asked = server.asks("/v1/changes");
    poll.until_gone();
    asked.changes("e.1", &all);
    put(&["a", "b", "c"]);
    let poll = server.asks("/v1/changes?cursor=e.1");
    relayed.owner.assert_has(&[("a", "CANARY a"), ("b", "CANARY b"), ("c", "CANARY c")]);
    assert_eq!(relayed.owner.key("a"), Some(a));
    // What this user may not read any more no change tells of.
    drop(poll);
    server.asks("/v1/changes").changes("e.2", &all[1..]);
    server.asks("/v1/secret/a").answer(403, &errors("a is not yours"));
    put(&["b", "c"]);
    let poll = server.asks("/v1/changes?cursor=e.2");
    relayed.owner.assert_has(&[("b", "CANARY b"), ("c", "CANARY c")]);
    // The ring is gone, and Telegraf, if it runs, goes on with what it has found before.
    relayed.owner.does_as_owner(|| keys::unlink(ring, Key::OF_USER).unwrap());
    drop(poll);
    server.asks("/v1/changes").changes("e.2", &all[1..]);
    put(&["b", "c"]);
    let poll = server.asks("/v1/changes?cursor=e.2");
    relayed.owner.assert_has(&[("b", "CANARY b"), ("c", "CANARY c")]);
    let (code, log) = relay.stop();
    drop(poll);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("token a is out of the ring \"telegraf\": a is not yours"), "{log}");
    let another = "warning: the ring \"telegraf\" is another one than before";
    assert_eq!(log.matches(another).count(), 1, "{log}");
}

#[test]
fn who_may_read_nothing_has_nothing_there_until_that_changes() {
    let Some(relayed) = Relayed::new() else { return };
    let (server, heard) = (relayed.serve(), Heard::at(&relayed));
    let mut command = relayed.command(&["--follow", "--recheck", "1h"]);
    command.env("NOTIFY_SOCKET", relayed.reader.folder.path().join("notify"));
    let relay = Daemon::start(command);
    // That is an answer: whoever waits for the keyring waits no longer.
    server.asks("/v1/changes").answer(403, &errors("add uid 7 to allow"));
    assert_eq!(heard.next(), "STATUS=add uid 7 to allow\n");
    assert_eq!(heard.next(), "READY=1\n");
    server.asks("/v1/changes").changes("e.1", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    drop(server.asks("/v1/changes?cursor=e.1"));
    relayed.owner.assert_has(&[("a", "CANARY")]);
    server.asks("/v1/changes").answer(403, &errors("add uid 7 to allow"));
    server.asks("/v1/changes").answer(403, &errors("add uid 7 to allow"));
    relayed.owner.assert_has(&[]);
    // One that is taken back between two questions: all is looked at again.
    server.asks("/v1/changes").changes("e.2", &[("a", 1), ("b", 1)]);
    server.asks("/v1/secret/a").answer(403, &errors("not a"));
    server.asks("/v1/secret/b").answer(200, "CANARY b");
    server.asks("/v1/changes").changes("e.3", &[("b", 1)]);
    server.asks("/v1/secret/b").answer(200, "CANARY b");
    let asked = server.asks("/v1/changes?cursor=e.3");
    relayed.owner.assert_has(&[("b", "CANARY b")]);
    let (code, log) = relay.stop();
    drop(asked);
    assert_eq!((code, log.matches("following: add uid 7 to allow").count()), (Some(0), 2), "{log}");
}

#[test]
fn what_the_kernel_does_not_take_is_told_once_and_tried_again() {
    let Some(relayed) = Relayed::new().filter(|_| has_usual_quota()) else { return };
    let (server, heard) = (relayed.serve(), Heard::at(&relayed));
    let mut command = relayed.command(&["--follow", "--recheck", "100ms"]);
    command.env("NOTIFY_SOCKET", relayed.reader.folder.path().join("notify"));
    let relay = Daemon::start(command);
    let large = "x".repeat(9_000);
    let three = [("a", 1), ("b", 1), ("c", 1)];
    for round in 0..3 {
        server.asks("/v1/changes").changes("e.1", &three);
        for name in ["a", "b", "c"] {
            server.asks(&format!("/v1/secret/{name}")).answer(200, &large);
        }
        let poll = server.asks("/v1/changes?cursor=e.1");
        if round == 0 {
            let status = heard.next();
            let said = "STATUS=2 tokens in the ring \"telegraf\", 1 not taken by the kernel: cannot put token c into";
            assert!(status.starts_with(said), "{status}");
            assert_eq!(heard.next(), "READY=1\n");
        }
        drop(poll);
    }
    relayed.owner.assert_has(&[("a", &large), ("b", &large)]);
    // One goes, and so there is room.
    server.asks("/v1/changes").changes("e.2", &three[1..]);
    server.asks("/v1/secret/a").answer(404, "");
    for name in ["b", "c"] {
        server.asks(&format!("/v1/secret/{name}")).answer(200, &large);
    }
    // The kernel counts what has gone a moment longer, perhaps.
    wait_until(
        "c has its place",
        || {
            match server.try_next() {
                Some(asked) if asked.target() == "/v1/changes" => asked.changes("e.2", &three[1..]),
                Some(asked) if asked.target().starts_with("/v1/secret/") => asked.answer(200, &large),
                _ => {}
            }
            relayed.owner.value("c").is_some()
        },
        || relay.log(),
    );
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("warning: cannot put token c into the ring").count(), 1, "{log}");
    assert_eq!(log.matches("hint: raise `kernel.keys.maxkeys`").count(), 1, "{log}");
}

/// Strikes while it works, wherever that happens to be, and looks whether the next one puts all right.
#[test]
fn whenever_it_is_killed_the_next_one_finds_nothing_that_it_cannot_mend() {
    let Some(relayed) = Relayed::new() else { return };
    let names: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    for round in 0..24_u64 {
        let server = relayed.serve();
        let mut relay = follow(&relayed, "1h");
        // Half of the names come and go.
        let there = |n: usize| n.is_multiple_of(2) || round.is_multiple_of(2);
        let named: Vec<&String> =
            names.iter().enumerate().filter(|(n, _)| there(*n)).map(|(_, name)| name).collect();
        let changed: Vec<(&str, u64)> = named.iter().map(|name| (name.as_str(), round + 1)).collect();
        let value = format!("CANARY {round}");
        server.asks("/v1/changes").changes("e.1", &changed);
        // After so many answers; in the last rounds it comes to the end.
        let mut answers = if round < 20 { round * 3 % 37 + 1 } else { u64::MAX };
        let mut is_done = false;
        while answers > 0 && !is_done {
            let asked = server.next();
            answers -= 1;
            match asked.target().strip_prefix("/v1/secret/").map(str::to_owned) {
                Some(name) if named.iter().any(|named| **named == name) => asked.answer(200, &value),
                Some(_) => asked.answer(404, ""),
                None => is_done = true,
            }
        }
        relay.signal(Signal::KILL);
        assert_eq!(relay.wait(), None);
        server.kill();
        assert!(!relay.log().contains("CANARY") && !relay.log().contains("warning"), "{}", relay.log());
        if is_done {
            let wanted: Vec<(&str, &str)> =
                named.iter().map(|name| (name.as_str(), value.as_str())).collect();
            relayed.owner.assert_has(&wanted);
        }
        assert!(relayed.owner.names_in(OWN).len() <= names.len());
    }
}

#[test]
fn a_terminal_ends_it_too_and_it_ends_before_it_has_begun() {
    let Some(relayed) = Relayed::new() else { return };
    let mut relay = follow(&relayed, "1h");
    relay.wait_for("cannot be reached");
    relay.signal(Signal::INT);
    assert_eq!(relay.wait(), Some(0));
    // While it waits for an answer that does not come.
    let server = relayed.serve();
    let mut relay = follow(&relayed, "1h");
    let asked = server.asks("/v1/changes");
    let begun = std::time::Instant::now();
    relay.signal(Signal::TERM);
    assert_eq!(relay.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "it waits for nobody");
    asked.until_gone();
}
