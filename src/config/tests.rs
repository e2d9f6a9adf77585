//! Lists, good and bad, and the messages about them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    hint::Hint as _,
    model::{Database, Grants, Name, Pickup, Product, ServerName},
};

mod bounds;
mod hints;
mod servers;

fn context() -> ListContext {
    ListContext {
        host: "edge7".to_owned(),
        one_shot: false,
        is_attended: false,
        defaults: DefaultPaths {
            store: "/var/lib/influx-tokend".into(),
            socket: "/run/influx-tokend/secrets.sock".into(),
            files: "/run/influx-tokend/secrets".into(),
            hooks: "/etc/influx-tokend/hooks.d".into(),
        },
    }
}

const SERVER: &str = r#"[server]
product = "clustered"
url = "https://cluster.example.com"
management_token = { credential = "influx-tokend.management-token" }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("tokens.toml"), &context())
}

/// A valid server, then `rest`: line 5 is the first of it.
fn with_server(rest: &str) -> Result<Config, ConfigError> {
    parse(&format!("{SERVER}{rest}"))
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("a fault").to_string()
}

#[test]
fn the_list_of_the_documentation() {
    let config = with_server(
        r#"
[store]
kind = "age"
path = "/srv/tokens/"
recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
[deliver.files]
[lifecycle]
lifetime = "90d"
overlap = "1h"
overlap_cap = "24h"
grace = "24h"
local_clock = "trusted"
probe = { successes = 3, interval = "5s", deadline = "10m" }
[[token]]
name = "edge_writer"
write = ["telemetry_{host}"]
description = "edge writer of {host}"
[[token]]
name = "grafana_reader"
read = ["telemetry", "alerts"]
lifetime = "30d"
allow = { users = ["grafana"] }
pickup = "proven"
probe = false
"#,
    )
    .expect("a valid list");
    assert_eq!(config.store.path, Path::new("/srv/tokens"));
    assert_eq!(config.files.as_deref(), Some(Path::new("/run/influx-tokend/secrets")));
    assert!(config.lifecycle.trust_local_clock);
    let writer = &config.specs["edge_writer"];
    assert_eq!(writer.description, "edge writer of edge7");
    assert_eq!(writer.grants, Grants::of([], ["telemetry_edge7".parse::<Database>().expect("a name")]));
    assert_eq!(writer.lifetime, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(writer.key.origin, "https://cluster.example.com");
    let reader = &config.specs["grafana_reader"];
    assert_eq!(reader.description, "Read-only token for alerts and telemetry");
    assert_eq!((reader.pickup, reader.probe.clone()), (Pickup::Proven, None));
    assert_eq!(reader.allow.users, ["grafana"]);
}

#[test]
fn one_token_for_several_servers() {
    let server = |name: &str| {
        SERVER
            .replace("[server]", &format!("[servers.{name}]"))
            .replace("cluster.example", &format!("{name}.example"))
    };
    let servers = ["a", "b"].map(server).concat();
    let token = "[[token]]\nname = \"t\"\nwrite = [\"x\"]\nservers = [\"a\", \"b\"]\n";
    let config = parse(&format!("{servers}{token}")).expect("a valid list");
    let names: Vec<(&str, &str)> =
        config.specs.values().map(|spec| (spec.name.as_str(), spec.server.0.as_str())).collect();
    assert_eq!(names, [("t", "a"), ("t_b", "b")]);
    let again = format!("{servers}{token}[[token]]\nname = \"t_b\"\nwrite = [\"x\"]\nserver = \"a\"\n");
    assert!(message(parse(&again)).contains("token \"t_b\" given twice"));
    let unnamed = format!("{servers}[[token]]\nname = \"t\"\nwrite = [\"x\"]\n");
    assert!(message(parse(&unnamed)).contains("needs \"server\": one of \"a\", \"b\""));
}

/// What follows a valid server, and the message.
const BAD: &[(&str, &str)] = &[
    (
        "reconcil = \"1m\"\n",
        "tokens.toml:5:1: [server]: unknown key \"reconcil\"\n  hint: did you mean \"reconcile\"? move it to the top of the list, before the first table",
    ),
    (
        "[[token]]\nname = \"edge-writer\"\nwrite = [\"a\"]\n",
        "tokens.toml:6:8: [[token]] 1: token name \"edge-writer\" contains '-'; only letters, digits and underscores are \
         allowed\n  hint: telegraf resolves no other characters in a reference; call it \"edge_writer\"",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\nlifetme = \"90d\"\n",
        "tokens.toml:8:1: [[token]] \"a\": unknown key \"lifetme\"\n  hint: did you mean \"lifetime\"?",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\nlifetime = \"90 days\"\n",
        "tokens.toml:8:12: [[token]] \"a\" lifetime: expected a whole number and one of ms, s, m, h, d, as in \"90d\", \
         found \"90 days\"",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\nlifetime = \"1h\"\n",
        "tokens.toml:8:12: [[token]] \"a\": lifetime is too short: rotation is due 1800 s before it expires, and \
         probe deadline, overlap and reserve take 4350 s\n  hint: lengthen it, or shorten overlap or the deadline of the probe",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\nserver = \"defualt\"\n",
        "tokens.toml:8:10: [[token]] \"a\": unknown server \"defualt\"\n  hint: did you mean \"default\"?",
    ),
    (
        "[[token]]\nname = \"a\"\n",
        "tokens.toml:5:1: [[token]] \"a\": has no grants: expected \"read\", \"write\" or both",
    ),
    ("[[token]]\nwrite = [\"a\"]\n", "tokens.toml:5:1: [[token]] 1: needs \"name\""),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\n[[token]]\nname = \"a\"\nread = [\"a\"]\n",
        "tokens.toml:8:1: [[token]]: token \"a\" given twice, first on line 5\n  hint: rename one of them",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = \"a\"\n",
        "tokens.toml:7:9: [[token]] \"a\" write: expected an array of strings, found string",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a{hots}\"]\n",
        "tokens.toml:7:10: [[token]] \"a\" write: unknown placeholder at \"{hots}\"\n  hint: use {host}, the only placeholder",
    ),
    (
        "[[token]]\nname = \"a\"\nwrite = [\"a\"]\ndescription = \"x [influx-tokend y\"\n",
        "tokens.toml:8:15: [[token]] \"a\" description: contains \"[influx-tokend \": the label that follows it starts so",
    ),
    (
        "[store]\nrecipients = [\"ssh-ed25519 AAAA\"]\n",
        "tokens.toml:6:15: [store] recipients: ssh keys are not supported: their library has an open security advisory",
    ),
    (
        "[store]\npath = \"relative\"\n",
        "tokens.toml:6:8: [store] path: expected an absolute path, found \"relative\"",
    ),
    ("[lifecycle]\nprobe = true\n", "tokens.toml:6:9: [lifecycle] probe: expected false, or a table"),
    ("[lifecycle\n", "tokens.toml:5:11: not TOML: "),
];

#[test]
fn messages_about_a_bad_list() {
    for (rest, expected) in BAD {
        let message = message(with_server(rest));
        assert!(message.contains(expected), "{rest}\n--- expected\n{expected}\n--- message\n{message}");
    }
}

#[test]
fn all_faults_are_reported_at_once_in_order() {
    let message = message(parse(
        "reconcile = 5\n[server]\nproduct = \"clusterd\"\nurl = \"ftp://x\"\n[lifecycle]\ngrace = \"soon\"\n[[token]]\nname = \"a b\"\n",
    ));
    let lines: Vec<&str> = message
        .lines()
        .filter(|line| line.starts_with("tokens.toml"))
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect();
    let expected = ["1:13", "2:1", "3:11", "4:7", "6:9", "7:1", "8:8"].map(|at| format!("tokens.toml:{at}:"));
    assert_eq!(lines, expected, "{message}");
    assert!(message.contains("did you mean \"clustered\"?"), "{message}");
    assert!(!message.contains("account"), "{message}");
}

#[test]
fn a_token_in_the_list_is_refused_with_the_reason_and_never_shown() {
    let canary = "apiv1_canary0123456789canary0123456789";
    for line in [
        format!("management_token = \"{canary}\""),
        format!("management_token = {{ token = \"{canary}\" }}"),
        format!("management_token = {{ credential = \"x\" }}\ntoken = \"{canary}\""),
        format!("management_token = {{ file = \"{canary}\" }}"),
        format!("management_token = {{ command = [\"echo\", \"{canary}\"] }}"),
        format!("management_token = {{ env = \"{canary}\" }}"),
    ] {
        let error = parse(&format!("[server]\nproduct = \"clustered\"\nurl = \"https://c\"\n{line}\n"))
            .expect_err(&line);
        let message = format!("{error} {error:?} {:?}", error.hint());
        assert!(message.contains("anyone with the file or a backup"), "{line}: {message}");
        assert!(!message.contains("canary"), "{line}: {message}");
    }
    let in_url = SERVER.replace("https://", "https://user:canary@");
    let error = message(parse(&in_url));
    assert!(error.contains("do not put a secret in an address") && !error.contains("canary"), "{error}");
}

#[test]
fn the_environment_is_for_one_shot_commands() {
    let list = SERVER.replace("{ credential = \"influx-tokend.management-token\" }", "{ env = \"TOKEN\" }");
    assert!(
        message(parse(&list)).contains("every process of the same user can read an environment variable")
    );
    let one_shot = ListContext { one_shot: true, ..context() };
    let config = Config::parse(&list, Path::new("x"), &one_shot).expect("a valid list");
    let server = &config.servers[&ServerName("default".to_owned())];
    assert_eq!(server.secret(), Some(&TokenSource::Env("TOKEN".to_owned())));
}

#[test]
fn plain_http_is_for_loopback() {
    let with = |url: &str, more: &str| {
        parse(&format!("{}{more}", SERVER.replace("https://cluster.example.com", url)))
    };
    for url in ["http://127.0.0.1:8086", "http://[::1]", "http://localhost"] {
        assert!(with(url, "").is_ok(), "{url}");
    }
    assert!(message(with("http://cluster.example.com", "")).contains("unencrypted over the network"));
    assert!(with("http://cluster.example.com", "allow_plain_http = true\n").is_ok());
}

const ACCOUNT: &str = "11111111-1111-4111-8111-111111111111";
const CLUSTER: &str = "33333333-aaaa-4333-8333-333333333333";

/// A server of Cloud Dedicated with these lines.
fn dedicated(lines: &str) -> Result<ServerConfig, ConfigError> {
    let token = "management_token = { credential = \"x\" }";
    let mut config = parse(&format!("[server]\nproduct = \"dedicated\"\n{lines}{token}\n"))?;
    Ok(config.servers.remove(&ServerName("default".to_owned())).expect("the server"))
}

fn ids(account: &str, cluster: &str) -> String {
    format!("account = \"{account}\"\ncluster = \"{cluster}\"\n")
}

#[test]
fn a_cluster_of_cloud_dedicated_is_found_by_its_ids() {
    let server = dedicated(&ids(ACCOUNT, &CLUSTER.to_uppercase())).expect("a valid list");
    assert_eq!(server.url.as_str(), "https://console.influxdata.com/");
    assert_eq!(server.data_url.as_str(), format!("https://{CLUSTER}.a.influxdb.io/"));
    let key = server.key();
    assert_eq!((key.product, key.origin.as_str()), (Product::Dedicated, "https://console.influxdata.com"));
    assert_eq!(key.cluster, Some(format!("{ACCOUNT}/{CLUSTER}")));
    let urls = "url = \"https://console.example.com\"\ndata_url = \"https://data.example.com\"\n";
    let server = dedicated(&format!("{}{urls}", ids(ACCOUNT, CLUSTER))).expect("a valid list");
    assert_eq!(server.url.as_str(), "https://console.example.com/");
    assert_eq!(server.data_url.as_str(), "https://data.example.com/");
    let others =
        [ids(CLUSTER, CLUSTER), ids(ACCOUNT, ACCOUNT)].map(|ids| dedicated(&ids).expect("valid").key());
    assert!(others.iter().all(|other| *other != key), "two clusters behind one console are two servers");
}

#[test]
fn messages_about_the_ids_of_a_cluster() {
    let hint = "hint: find it with `influxctl cluster list --format json`, as";
    for (lines, expected) in [
        (String::new(), format!("tokens.toml:1:1: [server]: needs \"account\"\n  {hint} account_id")),
        (String::new(), format!("tokens.toml:1:1: [server]: needs \"cluster\"\n  {hint} cluster_id")),
        (
            ids("edge", CLUSTER),
            format!(
                "tokens.toml:3:11: [server] account: expected a UUID such as \"11111111-1111-4111-8111-111111111111\", \
                 found \"edge\"\n  {hint} account_id"
            ),
        ),
        (ids(ACCOUNT, &CLUSTER.replace('a', "g")), "[server] cluster: expected a UUID".to_owned()),
        (ids(ACCOUNT, &format!("{CLUSTER}0")), "[server] cluster: expected a UUID".to_owned()),
        ("account = 5\n".to_owned(), "[server] account: expected a string, found integer".to_owned()),
        ("acount = \"x\"\n".to_owned(), "did you mean \"account\"?".to_owned()),
    ] {
        let message = dedicated(&lines).expect_err(&lines).to_string();
        assert!(message.contains(&expected), "{lines}\n--- expected\n{expected}\n--- message\n{message}");
    }
    let message = message(parse(&format!("{SERVER}{}", ids(ACCOUNT, "edge"))));
    for (place, key) in [("5:11", "account"), ("6:11", "cluster")] {
        let expected = format!(
            "tokens.toml:{place}: [server] {key}: not used with product = \"clustered\"\n  hint: remove it, or write \
             product = \"dedicated\" if it is Cloud Dedicated"
        );
        assert!(message.contains(&expected), "{message}");
    }
    assert_eq!(message.matches("hint: ").count(), 2, "{message}");
}

/// A server whose management token is issued, with these keys of `oauth`.
fn issued(keys: &str) -> Result<OAuthClient, ConfigError> {
    let oauth = format!("management_token = {{ oauth = {{ {keys} }} }}");
    let token = "management_token = { credential = \"influx-tokend.management-token\" }";
    let mut config = parse(&SERVER.replace(token, &oauth))?;
    match config.servers.remove(&ServerName("default".to_owned())).expect("the server").via {
        Via::Http(ManagementTokenConfig::OAuth(client)) => Ok(*client),
        other => panic!("{other:?}"),
    }
}

const CLIENT: &str = "token_url = \"https://idp.example.com/token\", client_id = \"id\", client_secret = { credential = \"x\" }";

#[test]
fn a_management_token_may_be_issued() {
    let client = issued(CLIENT).expect("a valid list");
    assert_eq!(client.token_url.as_str(), "https://idp.example.com/token");
    assert_eq!((client.id.as_str(), client.authentication), ("id", OAuthAuthentication::Basic));
    assert_eq!(client.secret, TokenSource::Credential("x".to_owned()));
    assert!(client.parameters.is_empty() && client.ca_file.is_none() && client.proxy.is_none());
    let more = "authentication = \"post\", scopes = [\"b\", \"a\"], audience = \"c\", parameters = { resource = \"d\" }, \
        ca_file = \"/e\", proxy = \"http://gateway:3128\"";
    let client = issued(&format!("{CLIENT}, {more}")).expect("a valid list");
    assert_eq!(client.authentication, OAuthAuthentication::Post);
    let parameters = client.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    assert_eq!(parameters.collect::<Vec<_>>(), [("scope", "a b"), ("audience", "c"), ("resource", "d")]);
    assert_eq!(client.ca_file, Some("/e".into()));
    let token = "management_token = { credential = \"influx-tokend.management-token\" }";
    let as_table = format!(
        "{}[server.management_token.oauth]\n{}",
        SERVER.replace(token, ""),
        CLIENT.replace(", c", "\nc")
    );
    let config = parse(&as_table).expect("a valid list");
    let server = &config.servers[&ServerName("default".to_owned())];
    assert_eq!(server.secret(), Some(&TokenSource::Credential("x".to_owned())));
}

#[test]
fn messages_about_oauth() {
    let with = |more: &str| format!("{CLIENT}, {more}");
    for (keys, expected) in [
        (String::new(), "[server] management_token oauth: needs \"token_url\""),
        (String::new(), "[server] management_token oauth: needs \"client_id\""),
        (String::new(), "[server] management_token oauth: needs \"client_secret\""),
        (
            CLIENT.replace("{ credential = \"x\" }", "\"canary\""),
            "client_secret: do not put a secret in the list",
        ),
        (CLIENT.replace("https", "http"), "token_url: http:// would send the management token unencrypted"),
        (
            with("authentication = \"bearer\""),
            "authentication: expected \"basic\" or \"post\", found \"bearer\"",
        ),
        (with("scopes = [\"a b\"]"), "scopes: expected one scope in each string, found \"a b\""),
        (with("scopes = \"a\""), "scopes: expected an array of strings, found string"),
        (with("scope = \"a\""), "unknown key \"scope\"\n  hint: did you mean \"scopes\"?"),
        (with("audience = \"\""), "audience: expected 1 to 1024 bytes"),
        (with("parameters = { client_secret = \"canary\" }"), "\"client_secret\" cannot be set here"),
        (with("parameters = { x = 1 }"), "parameters x: expected a string, found integer"),
        (with("x = { oauth = 1 }"), "unknown key \"x\""),
    ] {
        let error = issued(&keys).expect_err(&keys);
        let message = format!("{error}");
        assert!(message.contains(expected), "{keys}\n--- expected\n{expected}\n--- message\n{message}");
        assert!(!format!("{message} {error:?}").contains("canary"), "{message}");
    }
    let token = "{ credential = \"influx-tokend.management-token\" }";
    let both = SERVER.replace(token, &format!("{{ file = \"/x\", oauth = {{ {CLIENT} }} }}"));
    assert!(message(parse(&both)).contains("[server] management_token: unknown key \"file\""));
    let oauth = SERVER.replace(token, &format!("{{ oauth = {{ {CLIENT} }} }}\nvia = \"influxctl\""));
    assert!(
        message(parse(&oauth))
            .contains("influxctl cannot use a management token from \"oauth\"\n  hint: remove via")
    );
}

#[test]
fn a_list_without_server_or_token_is_valid() {
    let config = parse("").expect("a valid list");
    assert!(config.servers.is_empty() && config.specs.is_empty());
    assert!(message(parse("[[token]]\nname = \"a\"\nwrite = [\"x\"]\n")).contains("has no server"));
}

#[test]
fn a_unit_is_matched_whole() {
    let with = |unit: &str| {
        with_server(&format!("[[token]]\nname = \"a\"\nread = [\"x\"]\nallow = {{ units = [\"{unit}\"] }}\n"))
    };
    for unit in ["telegraf.service", "telegraf@*.service", "telegraf*", "session-[0-9].scope"] {
        assert!(with(unit).is_ok(), "{unit}");
    }
    let text = message(with("telegraf"));
    assert!(
        text.contains("expected a unit, found \"telegraf\"\n  hint: write \"telegraf.service\""),
        "{text}"
    );
    assert!(message(with("telegraf[.service")).contains("is not a valid pattern"));
}

#[test]
fn a_thousand_tokens() {
    let tokens: String =
        (0..1000).map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"x\"]\n")).collect();
    assert_eq!(with_server(&tokens).expect("a valid list").specs.len(), 1000);
}

#[test]
fn messages_about_a_file_that_is_not_a_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    for (path, expected) in [
        (folder.path().join("none"), "cannot read the list: No such file or directory"),
        (folder.path().to_owned(), "is a folder, expected a list in TOML"),
        (file("latin", b"a = 1\n# caf\xe9\n"), "is not UTF-8: line 2, byte 6"),
        (huge, "is too large to be a token list: more than 16 MiB"),
        (PathBuf::from("/dev/zero"), "is not a regular file, expected a list in TOML"),
    ] {
        let error = Config::load(&path, &context()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_list_with_faults_still_has_its_store() {
    let salvaged =
        Config::salvage("[store]\npath = \"/srv/x\"\n[[token]]\nname = \"-\"\n[broken\n", &context());
    assert_eq!(salvaged.store.path, Path::new("/srv/x"));
    assert!(salvaged.specs.is_empty());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _whatever = parse(&text);
        let _whatever = Config::salvage(&text, &context());
    }

    #[test]
    fn no_text_like_a_list_panics(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "[server]\n", "[servers.a]\n", "[[token]]\n", "[store]\n", "[deliver.files]\n", "[lifecycle]\n",
                "name = ", "url = ", "read = ", "probe = ", "\"a\"\n", "[\"a\"]\n", "{ file = \"x\" }\n", "5\n", "'", "\"", "{",
            ]),
            0..30,
        ),
    ) {
        let _whatever = parse(&parts.concat());
    }

    #[test]
    fn a_valid_list_has_every_token_of_its_text(
        names in prop::collection::btree_set("[a-z_]{1,12}", 1..8), days in 2_u64..1000, read: bool,
    ) {
        let grant = if read { "read" } else { "write" };
        let tokens: String = names
            .iter()
            .map(|name| format!("[[token]]\nname = \"{name}\"\n{grant} = [\"db\"]\nlifetime = \"{days}d\"\n"))
            .collect();
        let config = with_server(&tokens).expect("a valid list");
        let found: Vec<String> = config.specs.keys().map(Name::to_string).collect();
        prop_assert_eq!(found, names.into_iter().collect::<Vec<_>>());
        for spec in config.specs.values() {
            prop_assert_eq!(spec.lifetime, Some(Duration::from_secs(days * 86_400)));
        }
    }
}
