//! `influx-secrets`, over the socket: what is asked, and what becomes of every answer.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::{
    host::{Ran, copy_program},
    scripted::{Reader, answer, errors},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// That it failed like this, printed nothing, and said all of this.
fn assert_failed(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
    for said in said {
        assert!(ran.stderr.contains(said), "{said:?}: {ran:?}");
    }
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines.len() <= 2 && lines[0].starts_with("influx-secrets: error: "), "{ran:?}");
    assert!(lines.iter().all(|line| !line.ends_with('.')), "{ran:?}");
}

#[test]
fn get_is_one_request_and_prints_the_secret_to_the_byte() {
    let reader = Reader::new();
    let server = reader.serve();
    let get = reader.start(&["get", "t0"]);
    let asked = server.next();
    assert_eq!(
        asked.request,
        format!(
            "GET /v1/secret/t0 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             user-agent: influx-secrets/{VERSION}\r\nx-influx-secrets: relay\r\n\r\n"
        )
    );
    asked.answer(200, "canary é");
    let ran = get.end();
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "canary é", ""));
    server.assert_idle();
}

#[test]
fn the_socket_is_the_option_s_else_the_environment_s() {
    let reader = Reader::new();
    let server = reader.serve();
    let mut command = reader.command(&["get", "t0", "--socket", reader.socket().to_str().unwrap()]);
    let get = command.env("INFLUX_SECRETS_SOCKET", "/nowhere").spawn().unwrap();
    server.asks("/v1/secret/t0").answer(200, "canary");
    assert!(get.wait_with_output().unwrap().status.success());
    let mut command = reader.command(&["get", "t0"]);
    command.env("INFLUX_SECRETS_SOCKET", "").env("HOME", reader.folder.path());
    let ran = crate::host::ran(command.env("XDG_RUNTIME_DIR", "/nowhere/run").output().unwrap());
    assert_failed(&ran, 5, &["there is no such socket"]);
    assert!(!ran.stderr.contains(reader.socket().to_str().unwrap()), "empty is none: {ran:?}");
    let ran = reader.run(&["--socket", "/s", "--store", "/t", "get", "t0"]);
    assert_failed(&ran, 2, &["--socket asks the daemon", "hint: leave out the one or the others"]);
}

#[test]
fn a_person_at_a_terminal_gets_a_newline() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("no script on PATH: not shown what a terminal gets");
        return;
    }
    let reader = Reader::new();
    let server = reader.serve();
    let command = format!(
        "{} --socket {} get t0",
        env!("CARGO_BIN_EXE_influx-secrets"),
        reader.socket().to_str().unwrap()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(std::process::Stdio::null());
    let running = script.stdout(std::process::Stdio::piped()).spawn().unwrap();
    server.next().answer(200, "canary");
    let shown = String::from_utf8(running.wait_with_output().unwrap().stdout).unwrap();
    assert!(shown.contains("canary\r\n"), "{shown:?}");
}

#[test]
fn every_status_has_its_sentence_its_hint_and_its_code() {
    let reader = Reader::new();
    let because = errors("add \"ann\" to allow\u{1b}[31m");
    for (status, body, said) in [
        (403, because.as_str(), &["error: add \"ann\" to allow[31m\n", "hint: the token's `allow`"][..]),
        (403, "", &["token t0 is not for this user\n"]),
        (404, "{}", &["the daemon has no token \"t0\"\n", "hint: `influx-secrets list` shows the names"]),
        (404, &errors("unknown"), &["error: unknown\n"]),
        (
            503,
            &errors("none accepted yet"),
            &["error: none accepted yet\n", "hint: `influx-secrets wait t0`"],
        ),
        (500, &errors("oh"), &["answered with status 500: oh", "hint: try again"]),
        (204, "", &["answered with status 204"]),
        (301, "canary", &["answered with status 301"]),
    ] {
        for arguments in [&["get", "t0"][..], &["resolve", "@{influx:t0}"]] {
            let ran = reader.run_with(arguments, answer(status, body).as_bytes());
            assert_failed(&ran, 1, said);
            assert!(!ran.stderr.contains("canary"), "{ran:?}");
        }
    }
    for (status, said) in
        [(403, "error: no\n"), (404, "it answered with status 404\n"), (503, "answered with status 503: no")]
    {
        let ran = reader.run_with(&["list"], answer(status, &errors("no")).as_bytes());
        assert_failed(&ran, 1, &[said, "hint: "]);
    }
}

#[test]
fn nonsense_is_told_with_the_socket_and_what_was_expected() {
    let reader = Reader::new();
    let head = "HTTP/1.1 200 OK\r\n";
    for (bytes, said) in [
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "answered with something else than HTTP/1.1"),
        (format!("{head}\r\ncanary"), "answered without content-length"),
        (format!("{head}content-length: many\r\n\r\ncanary"), "answered with a content-length that is none"),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\n6\r\ncanary\r\n0\r\n\r\n"),
            "answered with transfer-encoding, expected a plain body and its content-length",
        ),
        (format!("{head}content-len"), "closed the connection within the head of its answer"),
        (format!("{head}content-length: 9\r\n\r\ncanary"), "closed the connection after 6 of 9 bytes"),
        (format!("{head}content-length: 0\r\n\r\n"), "answered with an empty secret"),
        (format!("{head}content-length: 65537\r\n\r\n"), "answered with 65537 bytes, expected at most 65536"),
        (format!("{head}content-length: {}\r\n\r\n", u128::MAX), "a content-length that is none"),
        (format!("{head}x: {}\r\n\r\n", "x".repeat(17 << 10)), "a head of more than 16 KiB"),
    ] {
        let ran = reader.run_with(&["get", "t0"], bytes.as_bytes());
        assert_failed(&ran, 1, &[said, &format!("{:?} is no secrets socket", reader.socket()), "hint: "]);
        assert!(!ran.stderr.contains("canary"), "{ran:?}");
    }
    let mut binary = answer(200, "ab").into_bytes();
    *binary.last_mut().unwrap() = 0xff;
    assert_failed(&reader.run_with(&["get", "t0"], &binary), 1, &["answered with a secret that is no text"]);
    for body in
        ["", "[]", "{}", "{\"cursor\":\"a\",\"changed\":{}}", "{\"cursor\":\"a.1\",\"changed\":{\"a-b\":1}}"]
    {
        let ran = reader.run_with(&["list"], answer(200, body).as_bytes());
        assert_failed(&ran, 1, &["answered with something else than cursor and changes", "hint: "]);
    }
    let long = answer(200, "").replace("content-length: 0", "content-length: 16777217");
    assert_failed(&reader.run_with(&["list"], long.as_bytes()), 1, &["expected at most 16777216"]);
}

#[test]
fn a_large_secret_and_a_large_head_come_whole() {
    let reader = Reader::new();
    let secret = "x".repeat(64 << 10);
    assert_eq!(reader.run_with(&["get", "t0"], answer(200, &secret).as_bytes()).stdout, secret);
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 6\r\n\r\n", "x".repeat(15 << 10));
    assert_eq!(reader.run_with(&["get", "t0"], format!("{head}canary").as_bytes()).stdout, "canary");
}

#[test]
fn a_daemon_that_is_not_there_is_code_5() {
    let reader = Reader::new();
    let missing = ["there is no such socket", "hint: the daemon is not running, or its socket is elsewhere"];
    for arguments in [&["get", "t0"][..], &["list"], &["resolve", "@{influx:t0}"]] {
        assert_failed(&reader.run(arguments), 5, &missing);
    }
    reader.serve().kill();
    assert_failed(
        &reader.run(&["get", "t0"]),
        5,
        &["nobody listens there", "hint: the daemon is not running"],
    );
    fs::remove_file(reader.socket()).unwrap();
    fs::write(reader.socket(), "").unwrap();
    assert_failed(&reader.run(&["get", "t0"]), 5, &["it is a file, expected a socket"]);
    assert_failed(&reader.run_with(&["get", "t0"], b""), 5, &["closed the connection without an answer"]);
    let long = "x".repeat(200);
    assert_failed(&reader.run(&["--socket", &long, "get", "t0"]), 5, &["a socket's path has 1 to 107 bytes"]);
}

#[test]
fn a_folder_that_keeps_us_out_is_told() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: cannot become somebody who is kept out");
        return;
    }
    let reader = Reader::new();
    let _server = reader.serve();
    // Somebody else may reach the program and the folder, but not the socket.
    let program = reader.folder.path().join("influx-secrets");
    copy_program(env!("CARGO_BIN_EXE_influx-secrets"), &program);
    fs::set_permissions(reader.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(reader.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(program);
    std::os::unix::process::CommandExt::uid(&mut command, 12_345);
    let output = command.arg("--socket").arg(reader.socket()).args(["get", "t0"]).output().unwrap();
    assert_failed(&crate::host::ran(output), 5, &["permission denied", "hint: everybody may connect"]);
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for_for_ever() {
    let reader = Reader::new();
    let server = reader.serve();
    let silent = reader.start(&["get", "t0"]);
    let held = server.next();
    let slow = reader.start(&["get", "t0"]);
    // Half an answer is no reason to wait longer.
    let other = server.next();
    assert_failed(&silent.end(), 5, &["no answer within 5.0s", "hint: see what the daemon is doing"]);
    other.until_gone();
    held.until_gone();
    assert_failed(&slow.end(), 5, &["no answer within 5.0s"]);
}

#[test]
fn list_shows_what_the_daemon_says_of_each() {
    let reader = Reader::new();
    let server = reader.serve();
    for (arguments, expected) in [
        (&["list"][..], "a\tready\t3\t-\nb\tnot ready\t0\t-\n"),
        (
            &["list", "--output=json"],
            "\"state\": \"not ready\",\n    \"generation\": 0,\n    \"expires_at\": null",
        ),
    ] {
        let list = reader.start(arguments);
        server.asks("/v1/changes").changes("e.7", &[("b", 0), ("a", 3)]);
        let ran = list.end();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(expected), "{ran:?}");
    }
}

#[test]
fn what_reads_for_others_says_so() {
    let reader = Reader::new();
    let server = reader.serve();
    fs::write(reader.folder.path().join("in.conf"), "@{influx:t0}").unwrap();
    for (arguments, relays) in [
        (&["get", "t0"][..], true),
        (&["resolve", "@{influx:t0}"], true),
        (&["render", "in.conf"], true),
        // Nobody gets what these read.
        (&["resolve", "--check", "in.conf"], false),
        (&["watch", "t0", "--", "true"], false),
    ] {
        let running = reader.start(arguments);
        let mut asked = server.next();
        if asked.target() == "/v1/changes" {
            asked.changes("e.1", &[("t0", 1)]);
            asked = server.next();
        }
        assert_eq!(asked.target(), "/v1/secret/t0");
        assert_eq!(asked.request.contains("\r\nx-influx-secrets: relay\r\n"), relays, "{}", asked.request);
        asked.answer(200, "CANARY");
        if arguments[0] == "watch" {
            server.asks("/v1/changes?cursor=e.1").until_killed(running, |_| {});
        } else {
            assert_eq!(running.end().code, Some(0));
        }
    }
}

#[test]
fn each_name_is_read_once_however_often_it_is_referred_to() {
    let reader = Reader::new();
    let server = reader.serve();
    let path = |name: &str| reader.folder.path().join(name);
    let text = "a = \"@{influx:t0}\" b = '@<influx:t1>' c = @{influx:t0}@{influx:t1} d = @{other:t0}\n";
    fs::write(path("in.conf"), text).unwrap();
    let serve_both = || {
        server.asks("/v1/secret/t0").answer(200, "CANARY0");
        server.asks("/v1/secret/t1").answer(200, "CANARY1");
    };
    let expected = "a = \"CANARY0\" b = 'CANARY1' c = CANARY0CANARY1 d = @{other:t0}\n";
    let render = reader.start(&["render", "in.conf"]);
    serve_both();
    assert_eq!(render.end().stdout, expected);
    let render = reader.start(&["render", "in.conf", "-o", "out.conf"]);
    serve_both();
    assert_eq!(render.end().code, Some(0));
    assert_eq!(fs::read_to_string(path("out.conf")).unwrap(), expected);

    let resolve = reader.start(&["resolve", "@{influx:t0}-@{influx:t1}-@<influx:t0>"]);
    serve_both();
    assert_eq!(resolve.end().stdout, "CANARY0-CANARY1-CANARY0");

    let check = reader.start(&["resolve", "--check", "in.conf"]);
    server.asks("/v1/secret/t0").answer(404, "");
    server.asks("/v1/secret/t1").answer(200, "CANARY1");
    let ran = check.end();
    assert_eq!(
        (ran.code, ran.stdout.matches("the daemon has no token \"t0\"").count()),
        (Some(1), 2),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("CANARY"), "{ran:?}");
    server.assert_idle();

    let failed = reader.start(&["render", "in.conf", "-o", "out.conf"]);
    server.asks("/v1/secret/t0").answer(200, "CANARY2");
    server.asks("/v1/secret/t1").answer(503, "");
    assert_failed(&failed.end(), 1, &["token t1 is not ready"]);
    assert_eq!(fs::read_to_string(path("out.conf")).unwrap(), expected, "the old file is whole");
    assert_eq!(left_over(reader.folder.path()), Vec::<String>::new());
}

fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn what_cannot_be_understood_is_code_2_and_help_is_a_result() {
    let reader = Reader::new();
    assert_failed(
        &reader.run(&["gte", "t0"]),
        2,
        &["unknown command \"gte\"", "hint: did you mean \"get\"?"],
    );
    assert_failed(
        &reader.run(&["get", "--sokcet", "x"]),
        2,
        &["unknown option \"--sokcet\"", "\"--socket\"?"],
    );
    assert_failed(&reader.run(&["wait", "--store", "x"]), 2, &["asks the daemon: no store can be named"]);
    assert_failed(&reader.run(&["get", "edge-writer"]), 1, &["call it \"edge_writer\""]);
    for (arguments, said) in [
        (&["--help"][..], "Exit codes: 0 done, 1 error, 2 usage, 4 partly done, 5 daemon unreachable"),
        (&["-h"], "  watch        Run a command each time a token has a new secret"),
        (&["watch", "--help"], "Usage: influx-secrets watch [OPTIONS] NAME -- COMMAND [ARGS…]"),
        (&["--version"], VERSION),
    ] {
        let ran = reader.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        assert!(ran.stdout.contains(said), "{ran:?}");
    }
}
