//! Slips that people make beside the list: what they read leads on.

use std::{fs, os::unix::net::UnixListener, process::Command};

use crate::host::{Host, Ran, ran, wait_until};

/// What is in the file of the management token, and what of it a person then reads, hint included.
const TOKEN_FILES: [(&str, &str, &str); 9] = [
    ("\"{}\"\n", "has a text in quotes: expected a token and nothing else", "remove the quotes"),
    ("INFLUX_TOKEN={}\n", "has NAME=TOKEN: expected a token", "remove the name and '='"),
    ("mgmt_token = \"{}\"\n", "has NAME=TOKEN: expected a token", "remove the name and '='"),
    ("{\"token\": \"{}\"}\n", "has JSON: expected a token", "keep the token alone there"),
    ("token: {}\n", "has NAME: TOKEN: expected a token", "remove the name and ':'"),
    ("Token {}\n", "has a header, as in \"Bearer TOKEN\": expected", "remove the word before the token"),
    ("# for edge\n{}\n", "has several lines: expected a token", "keep the line with the token"),
    ("$INFLUX_TOKEN\n", "has the name of a variable: expected a token", "write the value itself"),
    ("\r\n", "is empty: expected a secret", "write the secret there"),
];

#[test]
fn what_stands_around_a_management_token_is_told_before_the_server_is_asked() {
    let host = Host::new();
    host.list_of(1);
    let token = host.sandbox.management_token();
    for (content, what, hint) in TOKEN_FILES {
        host.write("management-token", &content.replace("{}", &token));
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(1), "{content}: {ran:?}");
        assert!(
            ran.stderr.contains(what) && ran.stderr.contains(&format!("hint: {hint}")),
            "{content}: {ran:?}"
        );
        assert!(!ran.stderr.contains(&token), "{content}");
        assert_eq!(host.sandbox.requests().len(), 0, "{content}");
    }
    // What editors and other systems put around it is not an error.
    for content in ["{}\r\n", "\u{feff}{}", "  {}\n\n"] {
        host.write("management-token", &content.replace("{}", &token));
        host.apply();
    }
    host.assert_settled("t0");
}

fn get(environment: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
    ran(command.env("INFLUX_SECRETS_SOCKET", environment).args(arguments).output().unwrap())
}

#[test]
fn a_socket_may_be_written_as_an_address() {
    let host = Host::new();
    host.list_of(1);
    let daemon = host.daemon();
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    let path = host.path("run/secrets.sock").display().to_string();
    for socket in [path.clone(), format!("unix://{path}"), format!("unix:{path}")] {
        for ran in [get(&socket, &["get", "t0"]), get("", &["--socket", &socket, "get", "t0"])] {
            assert_eq!(Some(ran.stdout), host.delivered("t0"), "{socket}: {}", ran.stderr);
        }
    }
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn each_hint_of_influx_secrets_leads_on() {
    let host = Host::new();
    let folder = host.path("run").display().to_string();
    let stderr = |socket: &str, name: &str| get(socket, &["get", name]).stderr;

    let said = stderr(&folder, "t0");
    assert!(said.contains("it is a folder, expected a socket"), "{said}");
    let next = format!("{folder}/secrets.sock");
    assert!(said.contains(&format!("hint: name the socket in it: {next:?}")), "{said}");
    assert!(stderr(&next, "t0").contains("there is no such socket"));

    fs::write(&next, "").unwrap();
    let said = stderr(&next, "t0");
    assert!(
        said.contains("it is a file, expected a socket") && said.contains("`[deliver.socket]`"),
        "{said}"
    );
    let said = stderr("http://localhost:8200", "t0");
    assert!(
        said.contains("expected the path of a Unix socket") && said.contains("`[deliver.socket]`"),
        "{said}"
    );
    fs::remove_file(&next).unwrap();
    drop(UnixListener::bind(&next).unwrap());
    assert!(stderr(&next, "t0").contains("nobody listens there"));

    for reference in ["@{influx:t0}", "@<influx:t0>", "influx:t0"] {
        let said = stderr(&next, reference);
        assert!(said.contains("hint: a reference has the name after the colon: write \"t0\""), "{said}");
    }
    assert!(!stderr(&next, "t0").contains("after the colon"));
}

#[test]
fn a_reference_in_the_place_of_a_name_leads_to_the_name() {
    let host = Host::new();
    host.list_of(1);
    for command in [&["rotate"][..], &["rotate", "--undo"], &["revoke", "--now"], &["import"], &["forget"]] {
        for (given, hint) in [
            ("@{influx:t0}", "a reference has the name after the colon: write \"t0\""),
            ("edge-writer", "call it \"edge_writer\""),
        ] {
            let ran = host.tokend(&[command, &[given]].concat());
            assert_eq!(ran.code, Some(2), "{command:?}: {ran:?}");
            assert!(ran.stderr.contains("contains '"), "{command:?}: {ran:?}");
            let last = ran.stderr.lines().last().unwrap();
            assert!(
                last.starts_with("influx-tokend: hint: ") && last.ends_with(hint),
                "{command:?}: {ran:?}"
            );
        }
    }
    let ran = host.tokend(&["hook", "add", "x.service", "--token", "@{influx:t0}"]);
    assert!(ran.stderr.contains("write \"t0\""), "{ran:?}");
    assert!(!host.tokend(&["rotate"]).stderr.contains("hint: "));
    assert_eq!(host.tokend(&["--version"]).code, Some(0));
}
