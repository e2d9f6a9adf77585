//! `influx-secrets backend`, as a process: what agents ask and send, and what they must be able to make of the answer.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    exec_agents::{datadog, datadog_with, vector},
    host::{Host, Ran, copy_program, ran},
    scripted::{Reader, Running, errors},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_influx-secrets");

/// It runs, with this on its stdin.
fn start(reader: &Reader, arguments: &[&str], request: &[u8]) -> Running {
    let file = reader.folder.path().join("request");
    fs::write(&file, request).unwrap();
    let mut command = reader.command(&[&["backend"], arguments].concat());
    Running::spawn(command.stdin(fs::File::open(file).unwrap()))
}

fn request(names: &[&str]) -> Vec<u8> {
    json!({ "version": "1.0", "secrets": names }).to_string().into_bytes()
}

/// The JSON on its stdout, where it said nothing else at all.
fn answers(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    json_of(ran)
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// A daemon that keeps connections open, and answers each name with itself; how many connections there were.
fn answer_all(socket: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(socket).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok).filter(|line| line.starts_with("GET ")) {
                let name = line.split(' ').nth(1).unwrap().strip_prefix("/v1/secret/").unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    connections
}

#[test]
fn every_first_version_is_answered_and_what_else_it_says_is_not_looked_at() {
    let reader = Reader::new();
    let server = reader.serve();
    let more = json!({ "address": "x", "deep": [{ "secrets": ["b"] }] });
    for request in [
        json!({ "version": "1.0", "secrets": ["a"] }),
        json!({ "version": "1.1", "secrets": ["a"], "type": "file.json", "config": more }),
        json!({ "version": "1.1", "secrets": ["a"], "secret_backend_timeout": 30 }),
        json!({ "version": "1.7", "secrets": ["a", "a"], "unheard_of": null }),
    ] {
        let backend = start(&reader, &[], request.to_string().as_bytes());
        let asked = server.asks("/v1/secret/a");
        assert!(asked.request.contains("x-influx-secrets: relay\r\n"), "{}", asked.request);
        asked.answer(200, "CANARY");
        let ran = backend.end();
        assert_eq!(answers(&ran), json!({ "a": { "value": "CANARY", "error": null } }));
    }
    let none = start(&reader, &[], &request(&[])).end();
    assert_eq!(answers(&none), json!({}));
    server.assert_idle();
}

#[test]
fn a_name_that_gives_none_has_its_reason_and_the_others_their_secrets() {
    let reader = Reader::new();
    let server = reader.serve();
    let backend = start(&reader, &[], &request(&["ok", "no", "later", "gone", "a-b", "say \"hi\"\n", ""]));
    server.asks("/v1/secret/gone").answer(404, "{}");
    server.asks("/v1/secret/later").answer(503, &errors("token later is not ready: none yet"));
    server.asks("/v1/secret/no").answer(403, &errors("uid 7 may not read token no; add it"));
    server.asks("/v1/secret/ok").answer(200, "quote\" and é");
    let ran = backend.end();
    let answers = answers(&ran);
    assert_eq!(answers["ok"], json!({ "value": "quote\" and é", "error": null }));
    for (name, why) in [
        ("no", "uid 7 may not read token no; add it"),
        ("later", "token later is not ready: none yet"),
        ("gone", "the daemon has no token \"gone\""),
        ("a-b", "only letters, digits and underscores are allowed"),
        ("say \"hi\"\n", "only letters"),
        ("", "a token name may not be empty"),
    ] {
        assert_eq!(answers[name]["value"], Value::Null, "{name}");
        assert!(answers[name]["error"].as_str().is_some_and(|said| said.contains(why)), "{name}: {answers}");
    }
    assert_eq!(answers.as_object().unwrap().len(), 7);
    assert!(answers["a-b"]["error"].as_str().unwrap().contains("call it \"a_b\""), "{answers}");
    server.assert_idle();
}

#[test]
fn what_is_no_request_is_an_error_that_repeats_nothing_of_it() {
    let reader = Reader::new();
    let server = reader.serve();
    let large = [b"{\"secrets\":[\"".as_slice(), &vec![b'x'; 5 << 20]].concat();
    for (request, said) in [
        (&b""[..], "error: there is no request on stdin\n"),
        (b"{\"version\":\"1.0\",\"secrets\":[\"CANARY", "column 35): it ends too early\n"),
        (b"CANARY\n", "(line 1, column 1): it is not JSON\n"),
        (
            b"{\"version\":\"1.0\",\"secrets\":{\"CANARY\":1}}",
            "expected an object with \"version\", a string",
        ),
        (
            b"{\"version\":\"2.0\",\"secrets\":[\"CANARY\"]}",
            "hint: versions 1.0, 1.1 and any later 1.x are known\n",
        ),
        (b"\xff\xfe", "it is not JSON"),
        (&large, "error: the request has more than 4 MiB\n"),
    ] {
        let ran = start(&reader, &[], request).end();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains(said) && !ran.stderr.contains("CANARY"), "{said}: {ran:?}");
    }
    server.assert_idle();
}

#[test]
fn a_request_that_never_ends_is_not_waited_for() {
    let reader = Reader::new();
    let mut command = reader.command(&["backend", "--timeout", "300ms"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"version\":\"1.0\",").unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("does not come to its end within 300ms\n"), "{ran:?}");
    assert!(ran.stderr.contains("hint: an agent starts it; by hand: echo '{\"version\""), "{ran:?}");
    drop(stdin);
}

#[test]
fn a_daemon_that_is_not_there_is_told_to_both_agents() {
    let reader = Reader::new();
    let ran = start(&reader, &[], &request(&["a", "b", "a-b"])).end();
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("error: the daemon cannot be reached at "), "{ran:?}");
    let json = json_of(&ran);
    for name in ["a", "b"] {
        let said = json[name]["error"].as_str().unwrap();
        assert!(said.ends_with("there is no such socket"), "{json}");
    }
    assert!(json["a-b"]["error"].as_str().unwrap().contains("only letters"), "{json}");

    let seen = vector(&mut reader.command(&["backend"]), &["a", "b"], None);
    let why = seen.secrets.unwrap_err();
    assert!(why.starts_with("a was not retrieved: the daemon cannot be reached"), "{why}");
    assert!(seen.log.lines().count() == 2 && seen.log.contains("hint: "), "{}", seen.log);
    let program = private(&reader, "influx-secrets");
    let mut command = Command::new(&program);
    command.arg("backend").env("INFLUX_SECRETS_SOCKET", reader.socket());
    let seen = datadog_with(&mut command, &program, &["a"], "1.0");
    assert_eq!(seen.secrets, Err("it failed".to_owned()));
    assert!(seen.log.contains("the daemon cannot be reached"), "{}", seen.log);

    // One that is no daemon of ours.
    let server = reader.serve();
    let backend = start(&reader, &[], &request(&["a", "b"]));
    server.next().raw(b"SSH-2.0-OpenSSH\r\n");
    let ran = backend.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(json_of(&ran)["b"]["error"].as_str().unwrap().contains("is no secrets socket"), "{ran:?}");
    server.assert_idle();
}

/// A copy of the program that Datadog's agent runs.
fn private(reader: &Reader, name: &str) -> PathBuf {
    let path = reader.folder.path().join(name);
    if !path.exists() {
        copy_program(PROGRAM, &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    }
    path
}

#[test]
fn a_daemon_that_hangs_is_answered_for_before_vector_gives_up() {
    let reader = Reader::new();
    let server = reader.serve();
    let reached = std::thread::scope(|scope| {
        let agent = scope.spawn(|| vector(&mut reader.command(&["backend"]), &["a", "b", "c"], None));
        // The first is answered, the second never.
        server.asks("/v1/secret/a").answer(200, "CANARY");
        server.asks("/v1/secret/b").until_gone();
        agent.join().unwrap()
    });
    let why = reached.secrets.unwrap_err();
    assert!(why.starts_with("b was not retrieved: the daemon cannot be reached"), "{why}");
    assert!(why.contains("no answer within "), "{why}");
    assert_eq!(reached.log, "", "what was answered is no reason to complain");
    server.assert_idle();
}

#[test]
fn one_that_goes_away_or_closes_connections_is_asked_again_once() {
    let reader = Reader::new();
    let socket = reader.socket();
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        // Says that it keeps the connection open, and closes it all the same.
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            heads.push(lines.next().unwrap());
            lines.find(|line| line.is_empty());
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nS").unwrap();
        }
        heads
    });
    let ran = start(&reader, &[], &request(&["a", "b", "c"])).end();
    let all = answers(&ran);
    assert!(["a", "b", "c"].iter().all(|name| all[name]["value"] == "S"), "{ran:?}");
    let asked = server.join().unwrap();
    assert_eq!(asked, ["a", "b", "c"].map(|name| format!("GET /v1/secret/{name} HTTP/1.1")));
}

#[test]
fn ten_thousand_names_are_answered_over_one_connection() {
    let reader = Reader::new();
    let connections = answer_all(&reader.socket());
    let names: Vec<String> = (0..10_000).map(|n| format!("token_with_a_name_{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let seen = vector(&mut reader.command(&["backend"]), &names, Some(("file.json", json!({}))));
    println!("10,000 names: {:?}", begun.elapsed());
    let secrets = seen.secrets.unwrap();
    assert!(secrets.len() == 10_000 && secrets.iter().all(|(name, secret)| name == secret));
    assert_eq!((seen.log.as_str(), connections.load(Ordering::SeqCst)), ("", 1));

    // Longer ones are more than Datadog's agent takes: refused before it is sent.
    let names: Vec<String> =
        (0..10_000).map(|n| format!("token_with_a_name_{n}_{}", "x".repeat(100))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ran = start(&reader, &[], &request(&names)).end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("more than the 1048576 that may be printed\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: ask for fewer names at once"), "{}", ran.stderr);
    let seen = vector(&mut reader.command(&["backend", "--max-output", "16MiB"]), &names, None);
    assert_eq!(seen.secrets.map(|secrets| secrets.len()), Ok(10_000));
}

#[test]
fn a_version_is_told_at_once_without_a_daemon() {
    let reader = Reader::new();
    let begun = Instant::now();
    let ran = reader.run(&["backend", "--version"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(ran.stdout, concat!("influx-secrets ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn an_agent_that_does_not_read_the_answer_is_no_error() {
    let reader = Reader::new();
    let server = reader.serve();
    let mut command = reader.command(&["backend"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&request(&["a"])).unwrap();
    server.asks("/v1/secret/a").answer(200, "CANARY");
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

/// A host with `count` tokens, and a daemon that serves them.
fn served(count: usize) -> (Host, crate::host::Daemon) {
    let host = Host::new();
    host.list_of(count);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    (host, daemon)
}

#[test]
fn both_agents_get_what_is_minted_and_what_replaces_it() {
    let (host, daemon) = served(3);
    let names = ["t2", "t0", "t1"];
    let program = host.path("influx-secrets");
    copy_program(PROGRAM, &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o500)).unwrap();
    let (socket, store) = (host.path("run/secrets.sock"), host.path("store"));
    let (socket, store) = (socket.to_str().unwrap(), store.to_str().unwrap());
    for from in [["--socket", socket], ["--store", store], ["--socket", socket]] {
        let arguments = [&from[..], &["backend"]].concat();
        let expected = names.map(|name| {
            let newest = host.live(name).into_iter().max_by_key(|token| token.created_at).unwrap();
            (name.to_owned(), newest.secret)
        });
        let mut command = Command::new(PROGRAM);
        for seen in [
            datadog(&program, &arguments, &names),
            vector(command.args(&arguments), &names, None),
            vector(&mut command, &names, Some(("x", json!({ "a": 1 })))),
        ] {
            assert_eq!(seen.secrets, Ok(expected.clone().into()), "{from:?}");
            assert_eq!(seen.log, "", "{from:?}");
        }
        // One that fails fails all of them, as these agents have it, and is named.
        let why = datadog(&program, &arguments, &["t0", "nope"]).secrets.unwrap_err();
        assert!(why.starts_with("an error occurred while resolving nope: ") && why.contains("nope"), "{why}");
        let ran = host.tokend(&[&["rotate"], &names[..]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn many_names_come_from_the_real_daemon_and_from_the_store() {
    let (host, daemon) = served(60);
    let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let by_socket = vector(&mut host.secrets_by_socket_command(&["backend"]), &names, None);
    let mut command = Command::new(PROGRAM);
    let from_store = vector(command.arg("backend").arg("--store").arg(host.path("store")), &names, None);
    let secrets = by_socket.secrets.unwrap();
    assert_eq!(secrets.len(), 60);
    assert_eq!(from_store.secrets, Ok(secrets));
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_store_that_cannot_be_opened_is_told_to_both_agents() {
    let reader = Reader::new();
    let ran = start(&reader, &["--store", "nowhere"], &request(&["a"])).end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("\"nowhere\""), "{ran:?}");
    assert!(json_of(&ran)["a"]["error"].as_str().unwrap().contains("cannot open the store"), "{ran:?}");
}

#[test]
fn who_may_not_read_is_told_what_to_add() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: cannot become somebody who may not read");
        return;
    }
    let (host, daemon) = served(1);
    let program = host.path("influx-secrets");
    copy_program(PROGRAM, &program);
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.arg("--socket").arg(host.path("run/secrets.sock")).arg("backend");
    std::os::unix::process::CommandExt::uid(&mut command, 12_345);
    let names: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seen = vector(&mut command, &names, None);
    let why = seen.secrets.unwrap_err();
    assert!(why.contains("12345") && why.contains("to let it, add"), "{why}");
    assert_eq!(seen.log, "", "it was answered");
    assert_eq!(daemon.stop().0, Some(0));
}
