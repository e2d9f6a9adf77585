//! `influx-secrets`, straight from the store.

use crate::host::Host;

fn settled() -> (Host, String) {
    let host = Host::new();
    host.list_of(2);
    host.apply();
    let secret = host.live("t0")[0].secret.clone();
    (host, secret)
}

#[test]
fn get_prints_the_secret_to_the_byte() {
    let (host, secret) = settled();
    assert_eq!(host.secrets(&["get", "t0"]).stdout, secret);
    let ran = host.secrets(&["get", "t00"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("the store has no token \"t00\"")
            && ran.stderr.contains("hint: did you mean \"t0\"?")
    );
    assert!(host.secrets(&["get", "edge-writer"]).stderr.contains("call it \"edge_writer\""));
}

#[test]
fn list_shows_names_and_no_secret() {
    let (host, secret) = settled();
    let ran = host.secrets(&["list"]);
    assert_eq!(ran.stdout, "t0\tready\t1\t-\nt1\tready\t1\t-\n");
    let json = host.secrets(&["list", "--output", "json"]).stdout;
    assert!(json.contains("\"name\": \"t1\"") && !json.contains(&secret), "{json}");
}

#[test]
fn both_spellings_resolve_and_other_stores_are_an_error() {
    let (host, secret) = settled();
    assert_eq!(host.secrets(&["resolve", "@{influx:t0}"]).stdout, secret);
    assert_eq!(
        host.secrets(&["resolve", "a @<influx:t0> b@{influx:t0}"]).stdout,
        format!("a {secret} b{secret}")
    );
    assert_eq!(host.secrets(&["--id", "mine", "resolve", "@{mine:t0}"]).stdout, secret);
    let ran = host.secrets(&["resolve", "@{influx:t0} @{other:t0}"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "all or nothing: {}", ran.stderr);
    assert!(ran.stderr.contains("@{other:t0} refers to the store \"other\""), "{}", ran.stderr);
    let ran = host.secrets(&["resolve", "@{influx:t0} @{influx:nope}"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn render_leaves_other_stores_alone_and_writes_all_or_nothing() {
    let (host, secret) = settled();
    host.write("in.conf", "token = \"@{influx:t0}\"\nother = \"@{vault:x}\"\n");
    let file = host.path("in.conf");
    let expected = format!("token = \"{secret}\"\nother = \"@{{vault:x}}\"\n");
    assert_eq!(host.secrets(&["render", file.to_str().unwrap()]).stdout, expected);
    let out = host.path("out.conf");
    let ran = host.secrets(&["render", file.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), expected);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    // A name alone is a file in the working folder.
    let mut here = std::process::Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
    here.current_dir(host.folder.path()).args([
        "--store",
        "store",
        "render",
        "in.conf",
        "--out",
        "here.conf",
    ]);
    assert!(here.status().unwrap().success());
    assert_eq!(std::fs::read_to_string(host.path("here.conf")).unwrap(), expected);
    host.write("bad.conf", "@{influx:t0} @{influx:nope}");
    let ran =
        host.secrets(&["render", host.path("bad.conf").to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), expected, "the old file is whole");
}

#[test]
fn check_lists_every_reference_and_what_telegraf_would_do() {
    let (host, secret) = settled();
    host.write(
        "a.conf",
        "x = \"@{influx:t0}\"\n\ny = \"@{influx:edge-writer}\"\nz = \"@<influx:t1>\"\nw = \"@{vault:k}\"\n",
    );
    let file = host.path("a.conf");
    let ran = host.secrets(&["resolve", "--check", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    assert!(lines[0].ends_with("a.conf:1: @{influx:t0}: resolves"), "{ran:?}");
    assert!(lines[1].ends_with(
        "a.conf:3: @{influx:edge-writer}: telegraf takes it for literal text; write @{influx:edge_writer}"
    ));
    assert!(lines[2].contains("a.conf:4: @<influx:t1>: resolves here; telegraf takes it for literal text"));
    assert!(lines[3].ends_with("@{vault:k}: another store's (vault)"));
    assert!(!ran.stdout.contains(&secret));
    host.write("b.conf", "@{influx:t0}\n");
    assert_eq!(host.secrets(&["resolve", "--check", host.path("b.conf").to_str().unwrap()]).code, Some(0));
}
