//! Slips that people make: what they read, and that the hint leads on.

use super::*;

/// A list with a slip, what a person reads, and the list that the hint makes of it.
struct Slip {
    list: &'static str,
    said: &'static str,
    /// What the hint has replaced, and by what; where it has nothing written, a list without a fault.
    fixed: (&'static str, &'static str),
}

const fn slip(list: &'static str, said: &'static str, fixed: (&'static str, &'static str)) -> Slip {
    Slip { list, said, fixed }
}

/// Behind a valid server: line 5 is the first of it.
const BEHIND_A_SERVER: &[Slip] = &[
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nreconcile = \"5m\"\n",
        "8:1: [[token]] \"a\": unknown key \"reconcile\"\n  hint: it belongs at the top of the list, before the first table",
        ("reconcile = \"5m\"\n", ""),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\ngrace = \"5m\"\n",
        "8:1: [[token]] \"a\": unknown key \"grace\"\n  hint: it belongs in [lifecycle]",
        ("[[token]]\nname = \"a\"\nwrite = [\"x\"]\ngrace", "[lifecycle]\ngrace"),
    ),
    slip(
        "lifetime = \"90d\"\n",
        "5:1: [server]: unknown key \"lifetime\"\n  hint: it belongs in [lifecycle]",
        ("lifetime", "[lifecycle]\nlifetime"),
    ),
    slip(
        "[lifecycle]\ninterval = \"5s\"\n",
        "6:1: [lifecycle]: unknown key \"interval\"\n  hint: it belongs in probe, as in probe = {",
        ("interval = \"5s\"", "probe = { interval = \"5s\" }"),
    ),
    slip(
        "[[token]]\nname = \"a\"\ndatabases = [\"x\"]\n",
        "7:1: [[token]] \"a\": unknown key \"databases\"\n  hint: say what the token may do: read = [\"DATABASE\"], \
         write = [\"DATABASE\"] or both",
        ("databases", "read"),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nttl = \"90d\"\n",
        "8:1: [[token]] \"a\": unknown key \"ttl\"\n  hint: write lifetime = \"90d\"",
        ("ttl", "lifetime"),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nusers = [\"y\"]\n",
        "8:1: [[token]] \"a\": unknown key \"users\"\n  hint: write allow = { users = […], groups = […], units = […] }",
        ("users = [\"y\"]", "allow = { users = [\"y\"] }"),
    ),
    slip(
        "name = \"prod\"\n",
        "5:1: [server]: unknown key \"name\"\n  hint: write [servers.NAME] instead of [server]",
        ("name = \"prod\"\n", ""),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nfrobnicate = 1\n",
        "unknown key \"frobnicate\"\n  hint: known here: name, server, servers, read, write, description, lifetime, allow, \
         pickup, probe",
        ("frobnicate = 1\n", ""),
    ),
    slip(
        "[[token]]\nname = \"@{influx:edge}\"\nwrite = [\"x\"]\n",
        "6:8: [[token]] 1: token name \"@{influx:edge}\" contains '@'; only letters, digits and underscores are allowed\n  \
         hint: a reference has the name after the colon: write \"edge\"",
        ("\"@{influx:edge}\"", "\"edge\""),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = \"x\"\n",
        "7:9: [[token]] \"a\" write: expected an array of strings, found string\n  hint: put it in brackets: write = [\"x\"]",
        ("write = \"x\"", "write = [\"x\"]"),
    ),
    slip(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nallow = { users = 999 }\n",
        "8:19: [[token]] \"a\" allow users: expected an array of names and numbers, found integer",
        ("999", "[999]"),
    ),
    slip(
        "[token]\nname = \"a\"\nwrite = [\"x\"]\n",
        "token: expected [[token]] tables, found table\n  hint: write [[token]] above each of them",
        ("[token]", "[[token]]"),
    ),
    slip(
        "url = \"https://other.example.com\"\n",
        "5:1: not TOML: key \"url\" given twice in its table\n  hint: keep one of the two",
        ("url = \"https://other.example.com\"\n", ""),
    ),
    slip(
        "[store]\n[store]\npath = \"/x\"\n",
        "6:2: not TOML: key \"store\" given twice in its table\n  hint: keep one of the two",
        ("[store]\n[store]\n", "[store]\n"),
    ),
    slip(
        "[store]\npath = \"tokens\"\n",
        "6:8: [store] path: expected an absolute path, found \"tokens\"\n  hint: write \"/etc/influx-tokend/tokens\", if it is \
         beside the list",
        ("\"tokens\"", "\"/etc/influx-tokend/tokens\""),
    ),
    slip(
        "ca_file = \"~/ca.pem\"\n",
        "5:11: [server] ca_file: expected an absolute path, found \"~/ca.pem\"\n  hint: '~' is not expanded here: write the \
         home folder, as in \"/home/USER/ca.pem\"",
        ("~/ca.pem", "/home/USER/ca.pem"),
    ),
    slip(
        "client_certificate = \"$HOME/c.pem\"\nclient_key = \"/k.pem\"\n",
        "5:22: [server] client_certificate: expected an absolute path, found \"$HOME/c.pem\"\n  hint: variables are not \
         expanded here: write the path itself",
        ("$HOME", "/root"),
    ),
    slip(
        "[deliver.files]\npath = \"file:///run/x\"\n",
        "[deliver] files path: expected an absolute path, found \"file:///run/x\"\n  hint: write \"/run/x\"",
        ("file:///run/x", "/run/x"),
    ),
];

#[test]
fn each_slip_is_said_and_its_hint_leads_on() {
    for Slip { list, said: expected, fixed: (slip, fix) } in BEHIND_A_SERVER {
        let said = said(with_server(list));
        assert!(said.contains(expected), "{list}\n--- expected\n{expected}\n--- said\n{said}");
        let fixed = list.replacen(slip, fix, 1);
        let next = with_server(&fixed);
        assert!(next.is_ok(), "{fixed}\n{next:?}");
    }
}

const CLUSTER_ALONE: &str = "expected the address of the cluster alone, found a path of its API";
const AN_ADDRESS: &str = "expected an address such as \"https://cluster.example.com\"";

/// An address, what is wrong with it, and what to write; `""`: the hint says it in words.
const ADDRESSES: &[(&str, &str, &str)] = &[
    ("https://c.example.com/api/v0/tokens", CLUSTER_ALONE, "https://c.example.com"),
    ("https://c.example.com/api/v0", CLUSTER_ALONE, "https://c.example.com"),
    ("https://gw.example.com/a/api/v2/write", CLUSTER_ALONE, "https://gw.example.com/a"),
    ("https://c.example.com:8443/api/v3/", CLUSTER_ALONE, "https://c.example.com:8443"),
    (
        "https://c.example.com/api/v2/write?bucket=x",
        "expected an address without '?' and '#'",
        "https://c.example.com",
    ),
    ("https://c.example.com/#/orgs", "expected an address without '?' and '#'", "https://c.example.com"),
    ("c.example.com", AN_ADDRESS, "https://c.example.com"),
    ("c.example.com:8086", AN_ADDRESS, "https://c.example.com:8086"),
    ("//c.example.com/", AN_ADDRESS, "https://c.example.com"),
    ("htps://c.example.com", AN_ADDRESS, "https://c.example.com"),
    ("influxdb://c.example.com/api/v2", AN_ADDRESS, "https://c.example.com"),
    ("[::1]:8086", AN_ADDRESS, "https://[::1]:8086"),
    ("https://[fe80::1%25eth0]", "an address with a zone ('%') is not supported", ""),
    ("https://[fe80::1%eth0]:8086/", "an address with a zone ('%') is not supported", ""),
    ("user:password@c.example.com", AN_ADDRESS, ""),
    ("", AN_ADDRESS, ""),
    ("///", AN_ADDRESS, ""),
    ("https://", AN_ADDRESS, ""),
];

#[test]
fn each_address_that_is_none_is_said_with_the_one_to_write() {
    for (address, what, fix) in ADDRESSES {
        for (key, list) in [
            ("url", SERVER.replace("https://cluster.example.com", address)),
            ("data_url", format!("{SERVER}data_url = \"{address}\"\n")),
        ] {
            let said = said(parse(&list));
            assert!(said.contains(&format!("[server] {key}: {what}")), "{address}: {said}");
            assert!(!said.contains("password@"), "{said}");
            if !fix.is_empty() {
                assert!(said.contains(&format!("\n  hint: write \"{fix}\"")), "{address}: {said}");
                assert!(
                    parse(&list.replace(&format!("\"{address}\""), &format!("\"{fix}\""))).is_ok(),
                    "{fix}"
                );
            }
        }
    }
}

#[test]
fn slashes_at_the_end_and_paths_that_only_look_like_an_api_will_do() {
    for (address, url) in [
        ("https://c.example.com///", "https://c.example.com/"),
        ("https://c.example.com/api", "https://c.example.com/api"),
        ("https://c.example.com/api/vault", "https://c.example.com/api/vault"),
        ("https://c.example.com/api/v2x/", "https://c.example.com/api/v2x"),
        (" https://c.example.com ", "https://c.example.com/"),
    ] {
        let config = parse(&SERVER.replace("https://cluster.example.com", address)).expect(address);
        assert_eq!(config.servers[&ServerName("default".to_owned())].url.as_str(), url);
    }
    // Where a provider issues tokens, and where a proxy is, nothing is put after it.
    let client = issued(&CLIENT.replace("/token\"", "/api/v2/token/\"")).expect("a valid list");
    assert_eq!(client.token_url.as_str(), "https://idp.example.com/api/v2/token/");
}

#[test]
fn a_file_is_named_by_an_absolute_path() {
    let with = |file: &str| {
        let source = "{ credential = \"influx-tokend.management-token\" }";
        parse(&SERVER.replace(source, &format!("{{ file = \"{file}\" }}")))
    };
    for (file, hint) in [
        ("./management-token", "write \"/etc/influx-tokend/management-token\", if it is beside the list"),
        ("management-token", "write \"/etc/influx-tokend/management-token\", if it is beside the list"),
        (
            "~/management-token",
            "'~' is not expanded here: write the home folder, as in \"/home/USER/management-token\"",
        ),
        ("$CREDENTIALS_DIRECTORY/x", "variables are not expanded here: write the path itself"),
    ] {
        let expected = format!(
            "tokens.toml:4:29: [server] management_token file: expected an absolute path, found {file:?}\n  hint: {hint}"
        );
        assert_eq!(said(with(file)), expected);
    }
    assert!(with("/etc/influx-tokend/management-token").is_ok());
}

#[test]
fn a_secret_in_the_place_of_a_path_is_not_repeated() {
    // As products of version 2 make them: nothing tells them but their length.
    let secret = "canaryQ2h1cmNoaWxsJ3MgcmVhbCBuYW1lIHdhcyBXaW5zdG9uLg==";
    let source = "{ credential = \"influx-tokend.management-token\" }";
    for value in [format!("{{ file = \"{secret}\" }}"), format!("{{ command = \"{secret}\" }}")] {
        let error = parse(&SERVER.replace(source, &value)).expect_err(&value);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
    for place in ["[store]\npath", "ca_file", "[deliver.socket]\npath"] {
        let error = with_server(&format!("{place} = \"{secret}\"\n")).expect_err(place);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

#[test]
fn users_and_groups_are_names_or_numbers() {
    let with = |allow: &str| {
        with_server(&format!("[[token]]\nname = \"a\"\nread = [\"x\"]\nallow = {{ {allow} }}\n"))
    };
    let config = with("users = [999, \"grafana\", \"1000\", 0x10], groups = [0]").expect("a valid list");
    let allow = &config.specs["a"].allow;
    assert_eq!(
        (&*allow.users, &*allow.groups),
        (&["999", "grafana", "1000", "16"].map(str::to_owned)[..], &["0".to_owned()][..])
    );
    for (allow, expected) in [
        (
            "users = [-1]",
            "8:20: [[token]] \"a\" allow users: expected a name or an id up to 4294967295, found -1",
        ),
        (
            "groups = [4294967296]",
            "allow groups: expected a name or an id up to 4294967295, found 4294967296",
        ),
        ("users = [1.5]", "allow users: expected a name or a number, found float"),
        ("units = [1]", "allow units: expected a string, found integer"),
        (
            "users = \"me\"",
            "allow users: expected an array of names and numbers, found string\n  hint: put it in brackets: users = [\"me\"]",
        ),
    ] {
        let said = said(with(allow));
        assert!(said.contains(expected), "{allow}: {said}");
    }
}

#[test]
fn a_list_may_be_written_with_dots_and_inline() {
    let config = parse(
        "server.product = \"clustered\"\nserver.url = \"https://cluster.example.com\"\n\
         server.management_token.file = \"/etc/influx-tokend/management-token\"\nlifecycle.probe.successes = 2\n\
         token = [ { name = \"a\", write = [\"telemetry\"] }, { name = \"b\", read = [ \"x\",\n \"y\", # why\n ] } ]",
    )
    .expect("a valid list");
    assert_eq!(config.specs.len(), 2);
    assert_eq!(config.specs["a"].probe.as_ref().map(|probe| probe.successes), Some(2));
    assert_eq!(config.specs["b"].grants.in_words(), "Read-only token for x and y");
}
