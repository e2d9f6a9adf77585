//! The command line beside a running daemon.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    process::Stdio,
};

use hyper::Method;
use influx_sandbox::{Effect, Fault};
use serde_json::Value;

use crate::{
    host::{Host, copy_program, wait_until},
    peers::missing,
};

fn ready(host: &Host, name: &str) {
    wait_until(name, || host.delivered(name).is_some(), || format!("{:?}", host.tokend(&["status"])));
}

#[test]
fn every_command_goes_through_the_daemon() {
    let host = Host::new();
    host.list("overlap = \"0s\"\noverlap_cap = \"1h\"\n[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n");
    let daemon = host.daemon();
    ready(&host, "t0");
    for arguments in
        [&["apply"][..], &["plan"], &["check"], &["strays"], &["status"], &["confirm"], &["forget", "t0"]]
    {
        let ran = host.tokend(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    }
    let before = host.delivered("t0").unwrap();
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let after = host.delivered("t0").unwrap();
    assert_ne!(before, after, "the command ends when the new value is there");
    assert_eq!(host.live("t0").len(), 2, "both work");
    daemon.wait_for("asked to rotate t0");
    assert_eq!(host.sandbox.tokens().len(), 2);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert!(!host.path("run/admin.sock").exists() && !host.path("run/secrets.sock").exists());
}

#[test]
fn what_makes_no_sense_is_said_as_it_is_without_a_daemon() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    let with: Vec<_> = commands().iter().map(|arguments| host.tokend(arguments)).collect();
    assert_eq!(daemon.stop().0, Some(0));
    for (arguments, with) in commands().iter().zip(with) {
        let without = host.tokend(arguments);
        assert_eq!((with.code, &with.stderr), (without.code, &without.stderr), "{arguments:?}");
        assert_ne!(with.code, Some(0), "{arguments:?}");
    }
    assert_eq!(host.sandbox.tokens().len(), 1);
}

/// With nothing else due a pass would come in a quarter of an hour.
#[test]
fn what_is_refused_is_told_without_waiting_for_a_pass() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    assert_eq!(host.tokend(&["apply"]).code, Some(0));
    host.sandbox.clear_requests();
    let ran = host.tokend(&["rotate", "t0", "unlisted"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("token unlisted: is not in the list"), "{ran:?}");
    assert!(host.sandbox.requests().is_empty(), "the server was asked meanwhile");
    assert_eq!(daemon.stop().0, Some(0));
}

/// Other servers, or another [lifecycle], have others look after them: those answer who asked before.
#[test]
fn a_command_that_a_change_of_the_list_overtakes_is_answered() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    // So that whoever begins anew has made fewer passes.
    for _ in 0..2 {
        host.apply();
    }
    host.list("grace = \"25h\"\n[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n");
    let mut apply = host.command(&["apply"]).stdout(Stdio::null()).spawn().unwrap();
    daemon.wait_for("list accepted");
    let mut code = None;
    let ended = || {
        code = apply.try_wait().unwrap().map(|status| status.code());
        code.is_some()
    };
    wait_until("its answer", ended, || daemon.log());
    assert_eq!(code, Some(Some(0)));
    assert_eq!(daemon.stop().0, Some(0));
}

fn commands() -> [&'static [&'static str]; 5] {
    [
        &["rotate", "nope"],
        &["confirm", "0123"],
        &["strays", "--revoke", "x"],
        &["forget", "nope"],
        &["rotate", "t0", "u1"],
    ]
}

#[test]
fn an_import_goes_through_the_daemon() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    let id = host.sandbox.add_token("made by hand", &[("write", "telemetry")]);
    let token = host.sandbox.tokens().into_iter().find(|token| token.id == id).unwrap();
    let import = |id: &str, secret: &str| {
        let mut command = host.command(&["import", "t0"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        write!(child.stdin.take().unwrap(), "{id}\n{secret}\n").unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, told) = import(&id, "canary-wrong");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is not accepted") && !told.contains("canary"), "{told}");
    let (code, told, stderr) = import(&id, &token.secret);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(told.contains(&format!("imported {id} on default as t0: write telemetry")), "{told}");
    assert_eq!(host.delivered("t0").unwrap(), token.secret);
    let holders = &host.status()["tokens"][0]["holders"];
    assert_eq!(
        holders["complete_from"], 3,
        "who has had the imported one, the second, is not known: {holders}"
    );
    let (_, log) = daemon.stop();
    assert!(!log.contains(&token.secret) && !log.contains("canary"), "{log}");
}

#[test]
fn status_tells_what_only_the_daemon_knows() {
    let mut host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    let read = host.secrets_by_socket(&["get", "t0"]);
    assert_eq!(read.stdout, host.delivered("t0").unwrap());
    let told = host.status();
    let token = &told["tokens"][0];
    assert_eq!((&token["state"], &token["waits"]), (&"ready".into(), &Value::Null));
    assert!(token["probes"][0]["accepted_at"].is_string(), "{token}");
    assert_eq!(token["last_read"]["generation"], 1);
    assert!(token["last_read"]["by"].as_str().unwrap().contains("uid "), "{token}");
    assert_eq!(told["servers"][0]["error"], Value::Null);
    let text = host.tokend(&["status"]).stdout;
    assert!(text.contains("t0: generation 1 last read ") && text.contains("s ago by "), "{text}");
    // A list with faults, and a server that is away.
    host.write("tokens.toml", "[[token]]\nname = \"t-0\"\n");
    daemon.wait_for("the last accepted one stays in force");
    host.write(
        "tokens.toml",
        &host.list_text(&host.sandbox.url(), "[[token]]\nname = \"t0\"\nwrite = [\"nope\"]\n"),
    );
    daemon.wait_for("list accepted");
    host.sandbox.stop();
    let _failed = host.tokend(&["apply"]);
    let told = host.status();
    assert!(told["servers"][0]["error"].as_str().unwrap().contains("cannot connect"), "{told}");
    assert!(told["servers"][0]["since"].is_string(), "{told}");
    let text = host.tokend(&["status"]).stdout;
    assert!(
        text.contains("server default: ") && text.contains("(since ") && text.contains("  hint: "),
        "{text}"
    );
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn status_says_why_a_name_waits() {
    let host = Host::new();
    host.list("[[token]]\nname = \"t\"\nwrite = [\"nope\"]\n");
    let daemon = host.daemon();
    daemon.wait_for("the server has no database \"nope\"");
    let told = host.status();
    assert_eq!(told["tokens"][0]["waits"], "the server has no database \"nope\"");
    let asked = host.secrets_by_socket(&["get", "t"]);
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(asked.stderr.contains("token t is not ready: the server has no database \"nope\""), "{asked:?}");
    daemon.wait_for("and not ready: the server has no database \"nope\"");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_stop_answers_who_waits() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    // The new one is refused for as long as this lasts.
    let refused = Effect::Status { status: 401, headers: vec![], body: String::new() };
    host.sandbox.fault(Fault::on(Some(Method::POST), "/api/v2/write", refused));
    let child =
        host.command(&["rotate", "t0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    daemon.wait_for("minted and sealed");
    wait_until("the second mint", || host.sandbox.tokens().len() == 2, || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("the daemon stops: rotate was not seen to its end"), "{told}");
}

#[test]
fn only_root_and_the_daemons_user_change_anything() {
    if !rustix::process::geteuid().is_root() {
        return missing("the right to be another user");
    }
    let host = Host::new();
    host.list_of(1);
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = host.daemon();
    ready(&host, "t0");
    let socket = host.path("run/admin.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert!(matches!(mode, 0o600 | 0o660), "{mode:o}");
    // As somebody of the group: let in by the socket's file, no more.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let program = host.path("influx-tokend");
    copy_program(env!("CARGO_BIN_EXE_influx-tokend"), &program);
    let as_other = |arguments: &[&str]| {
        let output = host.command_of(&program, arguments).uid(1234).gid(1234).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(as_other(&["status"]), (Some(0), String::new()));
    assert_eq!(as_other(&["plan"]).0, Some(0));
    for arguments in [&["apply"][..], &["rotate", "t0"], &["strays"], &["confirm"], &["forget", "t0"]] {
        let (code, told) = as_other(arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(told.contains("is for root and the user that the daemon runs as"), "{told}");
    }
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, told) = as_other(&["status"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is for root and the group influx-tokend-admin"), "{told}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn nonsense_on_the_admin_socket_is_answered_and_ends_nothing() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    ready(&host, "t0");
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(host.path("run/admin.sock")).unwrap();
        let _cut = stream.write_all(bytes);
        let mut answer = String::new();
        let _cut = stream.read_to_string(&mut answer);
        answer
    };
    assert!(say(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").starts_with("HTTP/1.1 404 "));
    let post = |body: &str| {
        say(format!("POST /v1/command HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .as_bytes())
    };
    for body in ["", "{", "\"unheard_of\"", "{\"import\":{\"secret\":\"canary\"}}"] {
        let answer = post(body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body}: {answer}");
        assert!(answer.contains("of another version") && !answer.contains("canary"), "{answer}");
    }
    assert!(post(&"x".repeat(2 << 20)).starts_with("HTTP/1.1 400 "));
    assert!(!say(&[0xff; 4000]).contains("200"));
    assert_eq!(host.tokend(&["status"]).code, Some(0));
    assert_eq!(daemon.stop().0, Some(0));
}
