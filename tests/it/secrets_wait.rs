//! `influx-secrets wait`: what it waits for, what it says of it, and how it ends.

use crate::{
    host::{Ran, wait_until},
    scripted::{Reader, errors},
};

fn waiting(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("influx-secrets: waiting: "));
    lines.collect()
}

#[test]
fn what_is_ready_is_not_waited_for() {
    let reader = Reader::new();
    let server = reader.serve();
    for arguments in [&["wait"][..], &["wait", "a"], &["wait", "--timeout", "0s", "a", "b"]] {
        let wait = reader.start(arguments);
        server.asks("/v1/changes").changes("e.1", &[("a", 1), ("b", 2)]);
        let ran = wait.end();
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""));
    }
    let wait = reader.start(&["wait", "a"]);
    server.asks("/v1/changes").changes("e.1", &[("a", 1), ("b", 0)]);
    assert_eq!(wait.end().code, Some(0), "only what is named");
    server.assert_idle();
}

#[test]
fn a_long_poll_brings_what_becomes_ready() {
    let reader = Reader::new();
    let server = reader.serve();
    let wait = reader.start(&["wait"]);
    server.asks("/v1/changes").changes("e.1", &[("a", 0), ("b", 0)]);
    server.asks("/v1/changes?cursor=e.1").changes("e.2", &[("a", 1)]);
    // The server's time is up: nothing has changed.
    server.asks("/v1/changes?cursor=e.2").changes("e.2", &[]);
    server.asks("/v1/changes?cursor=e.2").changes("e.3", &[("b", 1)]);
    let ran = wait.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(waiting(&ran), ["tokens a, b are not ready", "token b is not ready"]);
}

#[test]
fn the_daemon_and_its_list_may_come_late_and_it_may_restart() {
    let reader = Reader::new();
    let socket = reader.socket();
    let wait = reader.start(&["wait", "a"]);
    let server = reader.serve();
    server.asks("/v1/changes").answer(403, &errors("add uid 7 to allow"));
    server.asks("/v1/changes").answer(403, &errors("add uid 7 to allow"));
    server.asks("/v1/changes").changes("e.1", &[("b", 1)]);
    // Not known: what this user may read now says nothing of what a list may bring.
    server.asks("/v1/changes").changes("e.2", &[("a", 0), ("b", 1)]);
    drop(server.asks("/v1/changes?cursor=e.2"));
    server.kill();
    let server = reader.serve();
    server.asks("/v1/changes").raw(b"HTTP/1.1 200 OK\r\ncontent-le");
    server.asks("/v1/changes").answer(500, "");
    server.asks("/v1/changes").changes("f.1", &[("a", 0)]);
    server.asks("/v1/changes?cursor=f.1").changes("f.2", &[("a", 4)]);
    let ran = wait.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut said = waiting(&ran);
    let away = |line: &&str| line.starts_with(&format!("the daemon cannot be reached at {socket:?}: "));
    assert!(said.iter().any(|line| line.ends_with("it closed the connection without an answer")), "{ran:?}");
    said.retain(|line| !away(line));
    assert_eq!(said.len(), 6, "{ran:?}");
    assert_eq!(said[0], "add uid 7 to allow");
    assert_eq!(said[1], "token a is not known, or not for this user");
    assert_eq!(said[2], "token a is not ready");
    assert!(said[3].ends_with("it closed the connection within the head of its answer"), "{ran:?}");
    assert!(said[4].ends_with("answered with status 500"), "{ran:?}");
    assert_eq!(said[5], "token a is not ready");
}

#[test]
fn at_the_end_of_the_time_it_says_what_is_missing() {
    let reader = Reader::new();
    let ran = reader.run(&["wait", "--timeout", "10ms"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(5), ""), "{ran:?}");
    assert!(ran.stderr.contains("error: waited 10ms in vain: the daemon cannot be reached at "), "{ran:?}");
    assert!(ran.stderr.contains("hint: the daemon is not running, or its socket is elsewhere"), "{ran:?}");

    let server = reader.serve();
    let wait = reader.start(&["wait", "--timeout", "2s", "a", "b"]);
    server.asks("/v1/changes").changes("e.1", &[("a", 0), ("b", 1)]);
    // A long poll that is not answered in our time.
    server.asks("/v1/changes?cursor=e.1").until_gone();
    let ran = wait.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(waiting(&ran), ["token a is not ready"]);
    assert!(ran.stderr.contains("error: waited 2s in vain: token a is not ready\n"), "{ran:?}");
    assert!(ran.stderr.contains("hint: `influx-tokend status` shows what it waits for"), "{ran:?}");

    let wait = reader.start(&["wait", "--timeout", "10ms"]);
    server.asks("/v1/changes").changes("e.1", &[]);
    let ran = wait.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("this user may read no token\n") && ran.stderr.contains("`allow`"),
        "{ran:?}"
    );
    let ran = reader.run(&["wait", "edge-writer"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("call it \"edge_writer\""), "{ran:?}");
}

#[test]
fn a_server_that_answers_at_once_for_ever_does_not_keep_it_busy() {
    let reader = Reader::new();
    let server = reader.serve();
    let mut wait = reader.start(&["wait", "--timeout", "2s", "a"]);
    server.asks("/v1/changes").changes("e.1", &[("a", 0)]);
    let mut questions = 1;
    let mut ended = None;
    wait_until(
        "the end of the time",
        || {
            while let Some(asked) = server.try_next() {
                questions += 1;
                asked.changes("e.1", &[]);
            }
            ended = ended.take().or_else(|| wait.try_end());
            ended.is_some()
        },
        String::new,
    );
    assert_eq!(ended, Some(1));
    // 250 ms, 500 ms, 1 s: a handful in two seconds, where a busy loop would ask thousands of times.
    assert!((3..=8).contains(&questions), "{questions} questions");
}
