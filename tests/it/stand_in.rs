//! The stand-in for `influxctl`, driven as a program against the sandbox.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use influx_sandbox::{
    Options,
    influxctl::{Defect, StandIn},
};

use crate::{
    host::{Host, Ran, can_read, can_write, ran, request},
    peers,
};

/// A host with a profile for its sandbox and a stand-in of this version, if there is one.
fn host_with(version: &str, options: Options) -> Option<(Host, StandIn)> {
    if StandIn::program().is_none() {
        peers::missing("influxctl");
        return None;
    }
    let host = Host::with(options);
    host.write(
        "influxctl.toml",
        &format!(
            "[[profile]]\nname = \"default\"\nproduct = \"clustered\"\nhost = \"{address}\"\nport = \"{port}\"\n\
             mgmt_token = \"{token}\"\n[profile.tls]\ndisable = true\n",
            address = host.sandbox.address().ip(),
            port = host.sandbox.address().port(),
            token = host.sandbox.management_token(),
        ),
    );
    let stand_in = StandIn::new(host.path("bin"), version).unwrap();
    Some((host, stand_in))
}

fn databases() -> Options {
    Options { databases: ["a", "b"].map(str::to_owned).to_vec(), ..Options::default() }
}

fn command(host: &Host, stand_in: &StandIn, arguments: &[&str]) -> Command {
    let mut command = Command::new(stand_in.path());
    command.env_clear().arg("--config").arg(host.path("influxctl.toml")).args(arguments).stdin(Stdio::null());
    command
}

fn call(host: &Host, stand_in: &StandIn, arguments: &[&str]) -> Ran {
    ran(command(host, stand_in, arguments).output().unwrap())
}

fn json(ran: &Ran) -> serde_json::Value {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The calls that the documentation has for tokens, and what the tokens may do then.
#[test]
fn the_documented_calls_make_tokens_that_do_what_they_say() {
    let Some((host, stand_in)) = host_with("2.12.0", databases()) else { return };
    let calls: [(&[&str], [bool; 4]); 4] = [
        (&["--read-database", "a", "--write-database", "a"], [true, true, false, false]),
        (&["--read-database", "a"], [true, false, false, false]),
        (&["--read-database", "a", "--read-database", "b"], [true, false, true, false]),
        (
            &["--read-database", "a", "--read-database", "b", "--write-database", "b"],
            [true, false, true, true],
        ),
    ];
    for (flags, may) in calls {
        let ran = call(
            &host,
            &stand_in,
            &[&["token", "create"], flags, &["--format", "json", "a description"]].concat(),
        );
        let created = json(&ran);
        assert_eq!(created["description"], "a description");
        let secret = created["token"].as_str().unwrap();
        let can = [
            can_read(&host, secret, "a"),
            can_write(&host, secret, "a"),
            can_read(&host, secret, "b"),
            can_write(&host, secret, "b"),
        ];
        // The sandbox knows its databases, so that a refusal is one of the token.
        assert_eq!(can, may, "{flags:?}");
        assert!(!ran.stderr.contains(secret), "{ran:?}");
    }
    assert_eq!(
        json(&call(&host, &stand_in, &["token", "list", "--format", "json"])).as_array().unwrap().len(),
        4
    );
    let names = json(&call(&host, &stand_in, &["database", "list", "--format", "json"]));
    assert_eq!((&names[0]["database_name"], &names[1]["database_name"]), (&"a".into(), &"b".into()));
}

/// From the cradle to the grave, on a cluster of before the management API, which answers nobody else.
#[test]
fn a_token_is_made_changed_and_ended_without_the_management_api() {
    let Some((host, stand_in)) = host_with("2.12.0", Options { rest: false, ..databases() }) else { return };
    let management = host.sandbox.management_token();
    assert_eq!(request(host.sandbox.address(), "GET", "/api/v0/tokens", &management, ""), 404);
    let create = ["token", "create", "--expires-at", "2100-01-01T00:00:00Z", "--format", "json", "d"];
    let created = json(&call(&host, &stand_in, &create));
    assert_eq!(created["expires_at"]["seconds"], 4_102_444_800_u64);
    let (id, secret) = (created["id"].as_str().unwrap(), created["token"].as_str().unwrap());
    assert!(!can_write(&host, secret, "a"));
    let updated = call(&host, &stand_in, &["token", "update", "--write-database", "a", id]);
    assert!(updated.code == Some(0) && updated.stdout.starts_with("+--"), "{updated:?}");
    assert!(can_write(&host, secret, "a"));
    let unconfirmed = call(&host, &stand_in, &["token", "revoke", id]);
    assert_eq!((unconfirmed.code, host.sandbox.live().len()), (Some(1), 1), "{unconfirmed:?}");
    assert_eq!(call(&host, &stand_in, &["token", "revoke", "--force", id]).code, Some(0));
    assert!(!can_write(&host, secret, "a"));
    let list = |flags: &[&str]| {
        json(&call(&host, &stand_in, &[&["token", "list", "--format", "json"], flags].concat()))
    };
    assert_eq!(list(&[]), serde_json::json!([]));
    assert!(list(&["--include-revoked"])[0]["revoked_at"]["seconds"].is_u64());
    assert_eq!(call(&host, &stand_in, &["token", "get", "--format", "json", id]).code, Some(1));
    assert_eq!(
        json(&call(&host, &stand_in, &["token", "get", "--format", "json", "--include-revoked", id]))["id"],
        id
    );
    host.sandbox.set_rest(true);
    assert_eq!(request(host.sandbox.address(), "GET", "/api/v0/tokens", &management, ""), 401);
}

#[test]
fn an_old_version_knows_neither_expiry_nor_revoking() {
    let Some((host, stand_in)) = host_with("2.9.9", databases()) else { return };
    let expiring = ["token", "create", "--expires-at", "2100-01-01T00:00:00Z", "--format", "json", "d"];
    let refused = call(&host, &stand_in, &expiring);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("flag provided but not defined: -expires-at"), "{refused:?}");
    let created = json(&call(&host, &stand_in, &["token", "create", "--format", "json", "d"]));
    let id = created["id"].as_str().unwrap();
    assert_eq!(call(&host, &stand_in, &["token", "revoke", "--force", id]).code, Some(3));
    assert_eq!(call(&host, &stand_in, &["token", "delete", "--force", id]).code, Some(0));
    assert_eq!(host.sandbox.live().len(), 0);
    stand_in.set_version("2.5.0");
    let unknown = call(&host, &stand_in, &["token", "list"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("mgmt_token"), "{unknown:?}");
}

#[test]
fn every_call_is_written_down() {
    let Some((host, stand_in)) = host_with("2.12.0", databases()) else { return };
    call(&host, &stand_in, &["token", "list", "--format", "json"]);
    let mut open = command(&host, &stand_in, &["version"]);
    let mut child = open.env("LEAKED", "x").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let held = child.stdin.take().unwrap();
    child.wait().unwrap();
    drop(held);
    call(&host, &stand_in, &["burn"]);
    let calls = stand_in.calls();
    let config = host.path("influxctl.toml").display().to_string();
    assert_eq!(calls[0].argv, ["--config", config.as_str(), "token", "list", "--format", "json"]);
    assert_eq!((calls[0].env_names.len(), calls[0].stdin_closed), (0, true));
    assert_eq!(
        (&calls[1].env_names[..], calls[1].stdin_closed, calls[1].pid),
        (&["LEAKED".to_owned()][..], false, pid)
    );
    assert_eq!((calls[2].verb.as_str(), calls.len()), ("", 3));
    let agents = host.sandbox.requests().into_iter().flat_map(|request| request.headers);
    assert!(
        agents.into_iter().any(|header| header == ("user-agent".to_owned(), "influxctl/2.12.0".to_owned()))
    );
}

#[test]
fn a_prompt_goes_on_when_it_is_told_to() {
    let Some((host, stand_in)) = host_with("2.12.0", databases()) else { return };
    let id = host.sandbox.add_token("somebody's", &[]);
    stand_in.defect_times("token list", Defect::Prompt, 0, 1);
    assert_eq!(call(&host, &stand_in, &["token", "list", "--format", "json"]).code, Some(1));
    json(&call(&host, &stand_in, &["token", "list", "--format", "json"]));
    let mut revoke = command(&host, &stand_in, &["token", "revoke", &id]);
    let mut child = revoke.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"y\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(host.sandbox.live().len(), 0);
}
