//! From a list to sealed and delivered tokens, in one command.

use std::{process::Stdio, time::Duration};

use hyper::Method;
use influx_sandbox::{Activation, Effect, Fault, Options};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    host::{Daemon, Host, can_read, can_write, copy_program, wait_until},
    kind::{Kind, on_each, on_each_in_time},
};

/// The four examples of InfluxData's page "Create a token" (InfluxDB Clustered), as list entries.
pub(crate) const EXAMPLES: &str = r#"
[[token]]
name = "read_write"
read = ["a"]
write = ["a"]
[[token]]
name = "read_only"
read = ["a"]
[[token]]
name = "read_two"
read = ["a", "b"]
[[token]]
name = "mixed"
read = ["a", "b"]
write = ["b"]
"#;

#[test]
fn the_four_examples_of_the_documentation() {
    on_each(|host| {
        host.list(EXAMPLES);
        host.apply();
        let read = |db: &str| json!({ "action": "read", "resource": db });
        let write = |db: &str| json!({ "action": "write", "resource": db });
        let cases = [
            ("read_write", "Read/write token for a", json!([read("a"), write("a")])),
            ("read_only", "Read-only token for a", json!([read("a")])),
            ("read_two", "Read-only token for a and b", json!([read("a"), read("b")])),
            ("mixed", "Read-only on a, read/write on b", json!([read("a"), read("b"), write("b")])),
        ];
        let instance: Value =
            serde_json::from_str(&std::fs::read_to_string(host.path("store/instance")).unwrap()).unwrap();
        let instance = instance["current"].as_str().unwrap();
        let bodies: Vec<Value> = host
            .sandbox
            .requests()
            .iter()
            .filter(|request| request.method == "POST" && request.path == host.api("/tokens"))
            .map(|request| serde_json::from_str(&request.body).unwrap())
            .collect();
        assert_eq!(bodies.len(), 4);
        for (name, words, permissions) in cases {
            let token = &host.live(name)[0];
            let label = format!("{words} [influx-tokend {instance}/{name}/");
            assert!(token.description.starts_with(&label), "{}", token.description);
            let mut body = json!({ "description": token.description, "permissions": permissions });
            if host.kind.name == Kind::DEDICATED.name {
                body["expirationType"] = json!("noExpiration");
            }
            assert!(bodies.contains(&body), "{name}: {body} among {bodies:#?}");
            host.assert_settled(name);
            for database in ["a", "b", "c"] {
                let may = |action| token.permissions.contains(&(action, database.to_owned()));
                assert_eq!(
                    can_write(&host, &token.secret, database),
                    may("write".to_owned()),
                    "{name} writes {database}"
                );
                assert_eq!(
                    can_read(&host, &token.secret, database),
                    may("read".to_owned()),
                    "{name} reads {database}"
                );
            }
        }
    });
}

#[test]
fn a_lifetime_becomes_an_expiry_with_a_z() {
    on_each(|host| {
        host.list("[[token]]\nname = \"t\"\nwrite = [\"a\"]\nlifetime = \"30d\"\n");
        host.apply();
        let body = host.sandbox.requests().into_iter().find(|request| request.method == "POST").unwrap().body;
        let body: Value = serde_json::from_str(&body).unwrap();
        let expires: jiff::Timestamp = body["expiresAt"].as_str().unwrap().parse().unwrap();
        assert!(body["expiresAt"].as_str().unwrap().ends_with('Z'), "{body}");
        let days = expires.duration_since(jiff::Timestamp::now()).as_hours();
        assert!((719..=720).contains(&days), "{days} hours");
        assert_eq!(host.live("t")[0].expires_at, Some(expires));
    });
}

#[test]
fn a_second_run_asks_for_the_list_and_does_nothing_else() {
    on_each(|host| {
        host.list(EXAMPLES);
        host.apply();
        let before: Vec<_> = crate::host::files_below(host.folder.path())
            .into_iter()
            .map(|path| (std::fs::metadata(&path).unwrap().modified().unwrap(), path))
            // The stand-in for influxctl writes down that it was called.
            .filter(|(_, path)| !path.ends_with("lock") && !path.starts_with(host.path("bin")))
            .collect();
        host.sandbox.clear_requests();
        host.apply();
        let requests: Vec<String> = host
            .sandbox
            .requests()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        assert_eq!(requests, [format!("GET {}", host.api("/tokens"))]);
        for (modified, path) in before {
            assert_eq!(
                std::fs::metadata(&path).unwrap().modified().unwrap(),
                modified,
                "{path:?} was written"
            );
        }
    });
}

#[test]
fn a_database_that_does_not_exist_is_said_by_name() {
    let host = Host::new();
    host.list(
        "[[token]]\nname = \"lost\"\nwrite = [\"nope\"]\n[[token]]\nname = \"found\"\nwrite = [\"a\"]\n",
    );
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("token lost: the server has no database \"nope\""), "{ran:?}");
    assert_eq!(host.live("lost").len(), 0);
    host.assert_settled("found");
    host.sandbox.add_database("nope");
    host.apply();
    host.assert_settled("lost");
}

#[test]
fn nothing_is_delivered_before_every_replica_of_every_plane_accepts_it() {
    let seconds = Duration::from_millis;
    for activation in [
        Activation::all(seconds(400)),
        Activation { write: [seconds(0), seconds(0), seconds(600)], query: [seconds(0); 3] },
        Activation { write: [seconds(0); 3], query: [seconds(0), seconds(600), seconds(0)] },
    ] {
        let host = Host::with(Options {
            databases: vec!["a".into(), "b".into()],
            activation: activation.clone(),
            ..Options::default()
        });
        host.list("[[token]]\nname = \"t\"\nread = [\"a\", \"b\"]\nwrite = [\"a\"]\n");
        let begun = std::time::Instant::now();
        let daemon = host.daemon();
        let slowest = activation.write.iter().chain(&activation.query).max().unwrap();
        while host.delivered("t").is_none() {
            assert!(begun.elapsed() < crate::host::PATIENCE, "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(begun.elapsed() >= *slowest, "{activation:?}: delivered after {:?}", begun.elapsed());
        // Whichever replicas answer next: all of them take it.
        let secret = host.delivered("t").unwrap();
        for _ in 0..3 {
            assert!(
                can_write(&host, &secret, "a")
                    && can_read(&host, &secret, "a")
                    && can_read(&host, &secret, "b")
            );
        }
    }
}

#[test]
fn a_token_that_is_never_accepted_is_told_at_its_deadline_and_kept() {
    let activation = Activation::all(Duration::from_secs(3600));
    let host = Host::with(Options { activation, ..Options::default() });
    host.list("[[token]]\nname = \"t\"\nwrite = [\"telemetry\"]\nprobe = { interval = \"20ms\", deadline = \"200ms\" }\n");
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("is not accepted everywhere within its deadline (last answer: 401"),
        "{ran:?}"
    );
    assert!(host.delivered("t").is_none());
    assert!(host.tokend(&["status"]).stdout.contains("it is not accepted everywhere yet"));
    assert_eq!(host.tokend(&["apply"]).code, Some(1));
    assert_eq!(host.sandbox.tokens().len(), 1, "it is kept and probed on, none is minted in its place");
}

#[test]
fn tokens_of_others_are_not_touched() {
    on_each(|host| {
        host.list_of(3);
        host.apply();
        let ours = host.live("t0")[0].description.clone();
        let look_alikes = [
            "edge writer".to_owned(),
            "[influx-tokend]".to_owned(),
            ours.replace("/t0/", "/t9/").to_uppercase(),
            format!("{ours} "),
            "x [influx-tokend 00000000000000000000000000000000/t0/00000000000000000000000000000000]"
                .to_owned(),
        ];
        let ids: Vec<String> =
            look_alikes.iter().map(|text| host.sandbox.add_token(text, &[("write", "a")])).collect();
        host.list_of(5);
        host.apply();
        for id in ids {
            assert!(host.sandbox.live().iter().any(|token| token.id == id), "{id} was ended");
        }
        let changes: Vec<_> = host
            .sandbox
            .requests()
            .into_iter()
            .filter(|request| matches!(request.method.as_str(), "PATCH" | "DELETE"))
            .collect();
        assert!(changes.is_empty(), "{changes:?}");
    });
}

#[test]
fn a_token_ended_by_a_stranger_is_replaced() {
    on_each_in_time(|host| {
        host.list_of(1);
        host.apply();
        let old = host.live("t0")[0].clone();
        // Lists do not judge tokens younger than ten minutes.
        host.shift_clock(jiff::SignedDuration::from_mins(9));
        host.sandbox.revoke(&old.id);
        assert_eq!(host.tokend(&["apply"]).code, Some(0));
        assert_eq!(host.live("t0").len(), 0, "not judged yet");
        host.shift_clock(jiff::SignedDuration::from_mins(2));
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        host.assert_settled("t0");
        assert_ne!(host.live("t0")[0].id, old.id);
    });
}

#[test]
fn output_for_programs_has_the_same_and_never_the_secret() {
    let host = Host::new();
    host.list(EXAMPLES);
    host.apply();
    let json: Value = serde_json::from_str(&host.tokend(&["status", "--output", "json"]).stdout).unwrap();
    let json = &json["tokens"];
    assert_eq!(json[0]["name"], "mixed");
    assert_eq!(json[0]["state"], "ready");
    assert_eq!(json[0]["id"], host.live("mixed")[0].id);
    let text = host.tokend(&["status"]).stdout;
    for name in ["mixed", "read_only", "read_two", "read_write"] {
        let secret = &host.live(name)[0].secret;
        assert!(text.contains(name) && !text.contains(secret) && !json.to_string().contains(secret));
    }
    for arguments in [&["plan"][..], &["plan", "--output", "json"], &["check"], &["strays"]] {
        let ran = host.tokend(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn an_ordinary_user_needs_no_paths() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return crate::peers::missing("the right to be another user");
    }
    let host = Host::new();
    let home = host.path("home");
    std::fs::create_dir_all(home.join(".config/influx-tokend")).unwrap();
    std::fs::create_dir(home.join("run")).unwrap();
    std::fs::write(home.join("token"), host.sandbox.management_token()).unwrap();
    let list = format!(
        "[server]\nproduct = \"clustered\"\nurl = \"{}\"\nmanagement_token = {{ file = \"{}/token\" }}\n[deliver.files]\n\
         [lifecycle]\nprobe = {{ interval = \"10ms\" }}\n[[token]]\nname = \"t\"\nwrite = [\"a\"]\nallow = {{}}\n",
        host.sandbox.url(),
        home.display()
    );
    std::fs::write(home.join(".config/influx-tokend/tokens.toml"), list).unwrap();
    std::os::unix::fs::chown(&home, Some(12_345), None).unwrap();
    for path in [".config", ".config/influx-tokend", ".config/influx-tokend/tokens.toml", "run", "token"] {
        std::os::unix::fs::chown(home.join(path), Some(12_345), None).unwrap();
    }
    // The programs and the folder are root's: another user gets copies, and a way in.
    for program in [env!("CARGO_BIN_EXE_influx-tokend"), env!("CARGO_BIN_EXE_influx-secrets")] {
        let name = std::path::Path::new(program).file_name().unwrap();
        copy_program(program, &home.join(name));
    }
    std::fs::set_permissions(host.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))
        .unwrap();
    let run = |program: &str, arguments: &[&str]| {
        std::process::Command::new(home.join(program))
            .args(arguments)
            .env_clear()
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .uid(12_345)
            .output()
            .unwrap()
    };
    let applied = run("influx-tokend", &["apply"]);
    assert!(applied.status.success(), "{applied:?}");
    let secret = host.sandbox.live()[0].secret.clone();
    let identity = home.join(".local/state/influx-tokend/identity.txt");
    let got = run("influx-secrets", &["--identity", identity.to_str().unwrap(), "get", "t"]);
    assert_eq!(String::from_utf8(got.stdout).unwrap(), secret);
    let asked = run("influx-secrets", &["get", "t"]);
    let said = String::from_utf8(asked.stderr).unwrap();
    let socket = home.join("run/influx-tokend/secrets.sock");
    assert_eq!(asked.status.code(), Some(5), "no daemon runs: {said}");
    assert!(said.contains(&format!("{socket:?}: there is no such socket")), "{said}");
    assert!(home.join(".local/state/influx-tokend/tokens/t.age").exists());
    assert_eq!(std::fs::read_to_string(home.join("run/influx-tokend/secrets/t")).unwrap(), secret);
}

#[test]
fn an_apply_that_is_told_to_stop_while_it_asks_says_that_something_is_left() {
    let host = Host::new();
    let token = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
    let list = host.list_text(&host.sandbox.url(), token);
    host.write("tokens.toml", &list.replace("timeout = \"1s\"", "timeout = \"20s\""));
    host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", Effect::Silence));
    let mut command = host.command(&["apply"]);
    command.stdout(Stdio::null());
    let mut apply = Daemon::start(command);
    wait_until("the question", || host.list_is_open(), || apply.log());
    apply.signal(Signal::TERM);
    assert_eq!(apply.wait(), Some(1), "{}", apply.log());
    assert!(apply.log().contains("stopped by a signal: the rest is left to the next run"), "{}", apply.log());
}
