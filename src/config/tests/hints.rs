//! Mistakes that people make: the message, and that its hint leads to a valid list.

use super::*;

/// A list with a mistake, the message, and the list that the hint makes of it.
struct Mistake {
    list: &'static str,
    message: &'static str,
    /// What the hint replaces, and by what; where it replaces nothing, a change that removes the fault.
    fixed: (&'static str, &'static str),
}

const fn mistake(list: &'static str, message: &'static str, fixed: (&'static str, &'static str)) -> Mistake {
    Mistake { list, message, fixed }
}

/// Behind a valid server: line 5 is the first of it.
const BEHIND_A_SERVER: &[Mistake] = &[
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nreconcile = \"5m\"\n",
        "8:1: [[token]] \"a\": unknown key \"reconcile\"\n  hint: move it to the top of the list, before the first table",
        ("reconcile = \"5m\"\n", ""),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\ngrace = \"5m\"\n",
        "8:1: [[token]] \"a\": unknown key \"grace\"\n  hint: move it to [lifecycle]",
        ("[[token]]\nname = \"a\"\nwrite = [\"x\"]\ngrace", "[lifecycle]\ngrace"),
    ),
    mistake(
        "lifetime = \"90d\"\n",
        "5:1: [server]: unknown key \"lifetime\"\n  hint: move it to [lifecycle]",
        ("lifetime", "[lifecycle]\nlifetime"),
    ),
    mistake(
        "[lifecycle]\ninterval = \"5s\"\n",
        "6:1: [lifecycle]: unknown key \"interval\"\n  hint: move it into probe, as in probe = {",
        ("interval = \"5s\"", "probe = { interval = \"5s\" }"),
    ),
    mistake(
        "[[token]]\nname = \"a\"\ndatabases = [\"x\"]\n",
        "7:1: [[token]] \"a\": unknown key \"databases\"\n  hint: write read = [\"DATABASE\"], \
         write = [\"DATABASE\"] or both",
        ("databases", "read"),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nttl = \"90d\"\n",
        "8:1: [[token]] \"a\": unknown key \"ttl\"\n  hint: write lifetime = \"90d\"",
        ("ttl", "lifetime"),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nusers = [\"y\"]\n",
        "8:1: [[token]] \"a\": unknown key \"users\"\n  hint: write allow = { users = […], groups = […], units = […] }",
        ("users = [\"y\"]", "allow = { users = [\"y\"] }"),
    ),
    mistake(
        "name = \"prod\"\n",
        "5:1: [server]: unknown key \"name\"\n  hint: write [servers.NAME] instead of [server]",
        ("name = \"prod\"\n", ""),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nfrobnicate = 1\n",
        "unknown key \"frobnicate\"\n  hint: use one of name, server, servers, read, write, description, lifetime, allow, \
         pickup, probe",
        ("frobnicate = 1\n", ""),
    ),
    mistake(
        "[[token]]\nname = \"@{influx:edge}\"\nwrite = [\"x\"]\n",
        "6:8: [[token]] 1: token name \"@{influx:edge}\" contains '@'; only letters, digits and underscores are allowed\n  \
         hint: a reference has the name after the colon: write \"edge\"",
        ("\"@{influx:edge}\"", "\"edge\""),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = \"x\"\n",
        "7:9: [[token]] \"a\" write: expected an array of strings, found string\n  hint: put it in brackets: write = [\"x\"]",
        ("write = \"x\"", "write = [\"x\"]"),
    ),
    mistake(
        "[[token]]\nname = \"a\"\nwrite = [\"x\"]\nallow = { users = 999 }\n",
        "8:19: [[token]] \"a\" allow users: expected an array of names and numbers, found integer",
        ("999", "[999]"),
    ),
    mistake(
        "[token]\nname = \"a\"\nwrite = [\"x\"]\n",
        "token: expected [[token]] tables, found table\n  hint: write [[token]] above each table",
        ("[token]", "[[token]]"),
    ),
    mistake(
        "url = \"https://other.example.com\"\n",
        "5:1: not TOML: duplicate key",
        ("url = \"https://other.example.com\"\n", ""),
    ),
    mistake(
        "[store]\n[store]\npath = \"/x\"\n",
        "6:2: not TOML: duplicate key",
        ("[store]\n[store]\n", "[store]\n"),
    ),
    mistake(
        "[store]\npath = \"tokens\"\n",
        "6:8: [store] path: expected an absolute path, found \"tokens\"\n  hint: write \"/etc/influx-tokend/tokens\", if it is \
         beside the list",
        ("\"tokens\"", "\"/etc/influx-tokend/tokens\""),
    ),
    mistake(
        "ca_file = \"~/ca.pem\"\n",
        "5:11: [server] ca_file: expected an absolute path, found \"~/ca.pem\"\n  hint: write the home folder, as in \
         \"/home/USER/ca.pem\": '~' is not expanded here",
        ("~/ca.pem", "/home/USER/ca.pem"),
    ),
    mistake(
        "client_certificate = \"$HOME/c.pem\"\nclient_key = \"/k.pem\"\n",
        "5:22: [server] client_certificate: expected an absolute path, found \"$HOME/c.pem\"\n  hint: write the path itself: \
         variables are not expanded here",
        ("$HOME", "/root"),
    ),
    mistake(
        "[deliver.files]\npath = \"file:///run/x\"\n",
        "[deliver] files path: expected an absolute path, found \"file:///run/x\"\n  hint: write \"/run/x\"",
        ("file:///run/x", "/run/x"),
    ),
];

#[test]
fn the_hint_of_each_mistake_leads_to_a_valid_list() {
    for Mistake { list, message: expected, fixed: (mistake, fix) } in BEHIND_A_SERVER {
        let message = message(with_server(list));
        assert!(message.contains(expected), "{list}\n--- expected\n{expected}\n--- message\n{message}");
        let fixed = list.replacen(mistake, fix, 1);
        let next = with_server(&fixed);
        assert!(next.is_ok(), "{fixed}\n{next:?}");
    }
}

const CLUSTER_ALONE: &str = "expected the address of the cluster, found a path of its API";
const AN_ADDRESS: &str = "expected an address such as \"https://cluster.example.com\"";

/// An address, what is wrong with it, and what to write; `""`: nothing to write as it is.
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
fn each_invalid_address_is_reported_with_the_one_to_write() {
    for (address, what, fix) in ADDRESSES {
        for (key, list) in [
            ("url", SERVER.replace("https://cluster.example.com", address)),
            ("data_url", format!("{SERVER}data_url = \"{address}\"\n")),
        ] {
            let message = message(parse(&list));
            assert!(message.contains(&format!("[server] {key}: {what}")), "{address}: {message}");
            assert!(!message.contains("password@"), "{message}");
            if !fix.is_empty() {
                assert!(message.contains(&format!("\n  hint: write \"{fix}\"")), "{address}: {message}");
                assert!(
                    parse(&list.replace(&format!("\"{address}\""), &format!("\"{fix}\""))).is_ok(),
                    "{fix}"
                );
            }
        }
    }
}

#[test]
fn slashes_at_the_end_and_paths_that_only_look_like_an_api_are_valid() {
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
            "write the home folder, as in \"/home/USER/management-token\": '~' is not expanded here",
        ),
        ("$CREDENTIALS_DIRECTORY/x", "write the path itself: variables are not expanded here"),
    ] {
        let expected = format!(
            "tokens.toml:4:29: [server] management_token file: expected an absolute path, found {file:?}\n  hint: {hint}"
        );
        assert_eq!(message(with(file)), expected);
    }
    assert!(with("/etc/influx-tokend/management-token").is_ok());
}

#[test]
fn a_secret_in_the_place_of_a_path_is_not_shown() {
    // As products of version 2 make them: only their length shows it.
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
        let message = message(with(allow));
        assert!(message.contains(expected), "{allow}: {message}");
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
