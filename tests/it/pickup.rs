//! Who may still hold a former value, as processes read it, keep it, end, and hand it on.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::{
    host::{Daemon, Host, wait_until},
    hostile::without_peer_pidfds,
};

const SOCKET: &str = "INFLUX_TOKEND_TEST_SOCKET";
const READ: &str = "has read";

/// What a [`Reader`] does: one read over its one connection for each line that it gets.
#[test]
fn a_reader_that_keeps_its_connection() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let mut stream = UnixStream::connect(socket).unwrap();
    for _line in std::io::stdin().lines() {
        stream.write_all(b"GET /v1/secret/t0 HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut secret = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut secret).unwrap();
        println!("{READ}");
    }
}

/// A process that reads over the socket when it is told to.
struct Reader {
    child: Child,
    ask: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
}

impl Reader {
    fn start(host: &Host) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "pickup::a_reader_that_keeps_its_connection", "--nocapture"])
            .env(SOCKET, host.path("run/secrets.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, told) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut reader = Self { child, ask, told };
        reader.read();
        reader
    }

    fn read(&mut self) {
        self.ask.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        // What the test program says of itself comes before.
        while !line.ends_with(&format!("{READ}\n")) {
            assert!(self.told.read_line(&mut line).unwrap() > 0, "{line}");
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(mut self) -> u32 {
        self.ask.take();
        assert!(self.child.wait().unwrap().success());
        self.pid()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn list(host: &Host, cap: &str) {
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
    host.list(&format!("overlap = \"0s\"\noverlap_cap = \"{cap}\"\n{token}"));
}

/// A host with a daemon that has minted its first token, and lets the old one live for an hour.
fn ready() -> (Host, Daemon) {
    ready_by(Host::daemon)
}

fn ready_by(start: impl Fn(&Host) -> Daemon) -> (Host, Daemon) {
    let host = Host::new();
    list(&host, "1h");
    let daemon = start(&host);
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    (host, daemon)
}

fn rotate(host: &Host) {
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn status(host: &Host) -> Value {
    host.status()["tokens"][0].clone()
}

/// Who is known to hold a former value of the first token, sorted; from which generation on all readers are known.
pub(crate) fn holders(host: &Host) -> (Vec<String>, Option<u64>) {
    let holders = &status(host)["holders"];
    let known = holders["known"].as_array().map(Vec::as_slice).unwrap_or_default();
    (
        known.iter().map(|holder| holder.as_str().unwrap().to_owned()).collect(),
        holders["complete_from"].as_u64(),
    )
}

/// That these are named and nobody else, each by a part of what is said.
fn assert_held(host: &Host, parts: &[String]) {
    let (known, _) = holders(host);
    assert_eq!(known.len(), parts.len(), "{known:?} {parts:?}");
    for part in parts {
        assert!(known.iter().any(|holder| holder.contains(part)), "{part:?}: {known:?}");
    }
}

fn has(reader: &Reader, generation: u64) -> String {
    format!("pid {}) has generation {generation}", reader.pid())
}

#[test]
fn who_holds_a_former_value_is_named_until_it_has_read_the_current_one() {
    let (host, daemon) = ready();
    let (mut reads_again, sleeps) = (Reader::start(&host), Reader::start(&host));
    let (ends_before, ends_after) = (Reader::start(&host), Reader::start(&host));
    let relay = host.secrets_by_socket_command(&["get", "t0"]).stdout(Stdio::null()).spawn().unwrap();
    let relayed = format!("pid {}) handed on generation 1", relay.id());
    assert!(relay.wait_with_output().unwrap().status.success());
    for reads_no_value in [&["list"][..], &["wait", "t0"]] {
        assert_eq!(host.secrets_by_socket(reads_no_value).code, Some(0));
    }
    assert_eq!(status(&host)["holders"], Value::Null, "there is no former value");
    ends_before.end();
    rotate(&host);
    let (asleep, again) = (has(&sleeps, 1), has(&reads_again, 1));
    assert_held(&host, &[asleep.clone(), again, has(&ends_after, 1), relayed.clone()]);
    assert_eq!(holders(&host).1, Some(1), "the first value was minted under this daemon");

    reads_again.read();
    let gone = format!("that has ended (pid {}) had generation 1", ends_after.end());
    assert_eq!(host.secrets_by_socket(&["get", "t0"]).code, Some(0), "a relay that has read the current one");
    assert_held(&host, &[asleep, gone, relayed]);
    let text = host.tokend(&["status"]).stdout;
    let lines = text.lines().filter(|line| line.starts_with("t0: ") && line.contains("generation 1"));
    assert_eq!(lines.count(), 3, "{text}");

    // The old value ends, and with it what is said of it.
    list(&host, "1ms");
    daemon.wait_for("overlap is over, revoked the former token");
    wait_until("nothing is retiring", || status(&host)["retiring"] == serde_json::json!([]), || daemon.log());
    assert_eq!(status(&host)["holders"], Value::Null);
    let before = daemon.log().matches("list accepted").count();
    list(&host, "1h");
    wait_until("the list", || daemon.log().matches("list accepted").count() > before, || daemon.log());
    rotate(&host);
    assert_held(&host, &[has(&reads_again, 2), "handed on generation 2".to_owned()]);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn before_linux_6_5_readers_are_known_by_their_numbers() {
    // The filter is the thread's, and of what it starts.
    let start =
        |host: &Host| std::thread::scope(|scope| scope.spawn(|| without_peer_pidfds(host)).join().unwrap());
    let (host, daemon) = ready_by(start);
    let (mut reads_again, ends) = (Reader::start(&host), Reader::start(&host));
    daemon.wait_for("the kernel is older than 6.5");
    rotate(&host);
    assert_held(&host, &[has(&reads_again, 1), has(&ends, 1)]);
    reads_again.read();
    assert_held(&host, &[format!("that has ended (pid {}) had generation 1", ends.end())]);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn what_was_current_when_a_daemon_began_others_may_have_read() {
    let (host, daemon) = ready();
    let reader = Reader::start(&host);
    assert_eq!(daemon.stop().0, Some(0));
    let daemon = host.daemon();
    daemon.wait_for("ready");
    rotate(&host);
    assert_eq!(holders(&host), (vec![], Some(2)), "the first may be held by whoever has read it before");
    let mut second = Reader::start(&host);
    rotate(&host);
    assert_held(&host, &[has(&second, 2)]);
    second.read();
    assert_eq!(holders(&host), (vec![], Some(2)));
    drop(reader);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn the_log_names_who_holds_a_former_value_once() {
    let (host, daemon) = ready();
    let reader = Reader::start(&host);
    rotate(&host);
    for _ in 0..3 {
        assert_eq!(host.tokend(&["apply"]).code, Some(0));
    }
    daemon.wait_for(&format!("a former value may still be held: {}", holders(&host).0[0]));
    drop(reader);
    let (code, log) = daemon.stop();
    assert_eq!((code, log.matches("a former value may still be held").count()), (Some(0), 1), "{log}");
}

/// The same host, where the list says that readers are seen: the old token would live for days.
fn proven() -> (Host, Daemon) {
    let host = Host::new();
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\npickup = \"proven\"\n";
    host.list(&format!("overlap = \"0s\"\nlifetime = \"9d\"\n{token}"));
    let daemon = host.daemon();
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    (host, daemon)
}

/// A pass after which nothing of the old token's end is left to do, if it can be ended.
fn live_after_a_pass(host: &Host) -> usize {
    host.apply();
    host.live("t0").len()
}

#[test]
fn the_old_token_ends_once_its_last_reader_has_read_the_new_one() {
    let (host, daemon) = proven();
    let (mut one, mut other) = (Reader::start(&host), Reader::start(&host));
    rotate(&host);
    assert_eq!(live_after_a_pass(&host), 2, "nobody has read the new one");
    one.read();
    assert_eq!(live_after_a_pass(&host), 2, "one of two has");
    other.read();
    wait_until("the end of the old one", || live_after_a_pass(&host) == 1, || daemon.log());
    host.assert_settled("t0");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn the_old_token_lives_while_a_former_reader_that_ended_or_a_relay_may_have_handed_it_on() {
    let (host, daemon) = proven();
    let reader = Reader::start(&host);
    rotate(&host);
    reader.end();
    assert_eq!(live_after_a_pass(&host), 2, "it has ended since");
    assert_eq!(daemon.stop().0, Some(0));

    let (host, daemon) = proven();
    assert_eq!(host.secrets_by_socket(&["get", "t0"]).code, Some(0));
    rotate(&host);
    assert_eq!(live_after_a_pass(&host), 2, "nobody knows who has it from a relay");
    assert_eq!(daemon.stop().0, Some(0));
}
