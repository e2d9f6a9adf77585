//! `influx-secrets watch`: a run for each change, and a read only after one that succeeded.

use std::fs;

use crate::{
    host::wait_until,
    scripted::{Reader, Running, Scripted},
};

/// What COMMAND has done so far: a line each time.
fn runs(reader: &Reader) -> usize {
    fs::read_to_string(reader.folder.path().join("runs")).unwrap_or_default().lines().count()
}

fn watch(reader: &Reader, script: &str) -> Running {
    reader.start(&["watch", "a", "--", "sh", "-c", script, "sh", "given; $(not a shell)"])
}

/// The start: what there is, then the read.
fn begin(server: &Scripted, generation: u64) {
    server.asks("/v1/changes").changes("e.1", &[("a", generation), ("b", 9)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
}

#[test]
fn it_reads_at_the_start_and_runs_once_per_change() {
    let reader = Reader::new();
    let server = reader.serve();
    // Its input is empty, its arguments come as they are, and neither they nor its environment tell a secret.
    let script = "test -z \"$(cat)\" && test \"$1\" = 'given; $(not a shell)' && env >>seen && echo >>runs";
    let watch = watch(&reader, script);
    begin(&server, 1);
    // Another name's change, and the end of the server's time, are none of its business.
    server.asks("/v1/changes?cursor=e.1").changes("e.2", &[("b", 10)]);
    server.asks("/v1/changes?cursor=e.2").changes("e.3", &[("a", 2)]);
    // It has run when it asks again, and reads only when nothing has changed meanwhile.
    let asked = server.asks("/v1/changes");
    assert_eq!(runs(&reader), 1);
    asked.changes("e.5", &[("a", 4), ("b", 10)]);
    let asked = server.asks("/v1/changes");
    assert_eq!(runs(&reader), 2, "two changes during one run are one");
    asked.changes("e.5", &[("a", 4), ("b", 10)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    server.asks("/v1/changes?cursor=e.5").until_killed(watch, |ran| {
        assert!(ran.stderr.contains("token a has a new secret (generation 2): running \"sh\""), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
        assert!(!format!("{ran:?}").contains("CANARY"), "{ran:?}");
    });
    assert_eq!(runs(&reader), 2);
    assert!(!fs::read_to_string(reader.folder.path().join("seen")).unwrap().contains("CANARY"));
    server.assert_idle();
}

#[test]
fn a_command_that_fails_is_run_again_before_anything_is_read() {
    let reader = Reader::new();
    let server = reader.serve();
    let watch = watch(&reader, "echo >>runs; test $(wc -l <runs) = 2 || exit 7");
    begin(&server, 1);
    server.asks("/v1/changes?cursor=e.1").changes("e.2", &[("a", 2)]);
    // The first run fails, and nothing is asked for before the second, which does not.
    let asked = server.asks("/v1/changes");
    assert_eq!(runs(&reader), 2);
    asked.changes("e.2", &[("a", 2)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    server.asks("/v1/changes?cursor=e.2").until_killed(watch, |ran| {
        assert!(ran.stderr.contains("warning: \"sh\" ended with exit code 7; again in 1s"), "{ran:?}");
    });
}

#[test]
fn a_command_that_is_not_there_is_told() {
    let reader = Reader::new();
    let server = reader.serve();
    let log = reader.folder.path().join("log");
    let mut command = reader.command(&["watch", "a", "--", "./reload"]);
    let watch = Running::spawn(command.stderr(fs::File::create(&log).unwrap()));
    begin(&server, 1);
    server.asks("/v1/changes?cursor=e.1").changes("e.2", &[("a", 2)]);
    let said = || fs::read_to_string(&log).unwrap();
    wait_until(
        "a warning",
        || said().contains("warning: \"./reload\" cannot be started: No such file"),
        said,
    );
    let reload = reader.folder.path().join("new");
    fs::write(&reload, "#!/bin/sh\necho >>runs\n").unwrap();
    fs::set_permissions(&reload, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::rename(reload, reader.folder.path().join("reload")).unwrap();
    server.asks("/v1/changes").changes("e.2", &[("a", 2)]);
    assert_eq!(runs(&reader), 1);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    drop(watch);
}

#[test]
fn a_daemon_that_is_away_is_told_once_and_its_return_is_no_change() {
    let reader = Reader::new();
    let server = reader.serve();
    let watch = watch(&reader, "echo >>runs");
    begin(&server, 3);
    drop(server.asks("/v1/changes?cursor=e.1"));
    server.kill();
    let server = reader.serve();
    server.asks("/v1/changes").changes("f.1", &[("a", 3)]);
    server.asks("/v1/changes?cursor=f.1").changes("f.2", &[("a", 0)]);
    server.asks("/v1/changes?cursor=f.2").changes("f.3", &[("a", 3)]);
    server.asks("/v1/changes?cursor=f.3").until_killed(watch, |ran| {
        assert_eq!(ran.stderr.matches("the daemon cannot be reached").count(), 1, "{ran:?}");
        assert_eq!(ran.stderr.matches("watching: token a is not ready").count(), 1, "{ran:?}");
    });
    assert_eq!(runs(&reader), 0);
}

#[test]
fn the_first_secret_of_a_token_is_a_change_and_a_read_that_fails_is_made_again() {
    let reader = Reader::new();
    let server = reader.serve();
    let watch = watch(&reader, "echo >>runs");
    server.asks("/v1/changes").answer(403, "");
    server.asks("/v1/changes").changes("e.1", &[("a", 0)]);
    server.asks("/v1/changes?cursor=e.1").changes("e.2", &[("a", 1)]);
    server.asks("/v1/changes").changes("e.2", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(503, "");
    server.asks("/v1/changes").changes("e.2", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    server.asks("/v1/changes?cursor=e.2").until_killed(watch, |ran| {
        for said in ["this user may read no token", "token a is not ready\n"] {
            assert!(ran.stderr.contains(said), "{ran:?}");
        }
    });
    assert_eq!(runs(&reader), 1);
}
