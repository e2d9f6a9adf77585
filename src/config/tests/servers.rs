//! Which servers of a list are the same.

use super::*;

/// `[servers.NAME]` tables with these lines.
fn servers(servers: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let table = |(name, lines): &(&str, &str)| {
        format!("[servers.{name}]\n{lines}management_token = {{ credential = \"x\" }}\n")
    };
    parse(&servers.iter().map(table).collect::<String>())
}

fn clustered(url: &str) -> String {
    format!("product = \"clustered\"\nurl = \"{url}\"\n")
}

fn origin(url: &str) -> String {
    let config = servers(&[("a", &clustered(url))]).expect("a valid list");
    config.servers[&ServerName("a".to_owned())].key().origin
}

#[test]
fn an_address_is_known_by_scheme_host_port_and_path() {
    for (url, expected) in [
        ("https://gw.example.com", "https://gw.example.com"),
        ("https://gw.example.com/", "https://gw.example.com"),
        ("https://gw.example.com///", "https://gw.example.com"),
        ("https://GW.Example.COM:443/", "https://gw.example.com"),
        ("https://gw.example.com:8443", "https://gw.example.com:8443"),
        ("https://gw.example.com/a", "https://gw.example.com/a"),
        ("https://gw.example.com/a/", "https://gw.example.com/a"),
        ("https://gw.example.com/a/b//", "https://gw.example.com/a/b"),
        ("https://gw.example.com/x/../a", "https://gw.example.com/a"),
        ("https://gw.example.com/A", "https://gw.example.com/A"),
        ("http://127.0.0.1:80/a", "http://127.0.0.1/a"),
    ] {
        assert_eq!(origin(url), expected, "{url}");
    }
}

#[test]
fn one_server_under_two_names_is_a_fault_with_both_lines() {
    let same = [("b", "https://GW/a/"), ("a", "https://gw:443/a")].map(|(name, url)| (name, clustered(url)));
    let message = message(servers(&same.each_ref().map(|(name, lines)| (*name, &**lines))));
    let expected = "tokens.toml:7:7: [servers.a]: the same server as [servers.b], line 3: product, address and cluster \
                    are equal\n  hint: remove one of them, and name the other in its tokens: server = \"b\"";
    assert_eq!(message, expected);
}

#[test]
fn servers_that_differ_in_anything_are_several() {
    let ids = |cluster: &str| format!("product = \"dedicated\"\n{}", ids(ACCOUNT, cluster));
    let differ = [
        ("a", clustered("https://gw/a")),
        ("b", clustered("https://gw/b")),
        ("c", clustered("https://gw")),
        ("d", clustered("https://gw:8443/a")),
        ("e", clustered("https://gx/a")),
        ("f", ids(CLUSTER)),
        ("g", ids(ACCOUNT)),
    ];
    let config = servers(&differ.each_ref().map(|(name, lines)| (*name, &**lines))).expect("a valid list");
    assert_eq!(config.servers.len(), 7);
    let twice = [("a", ids(CLUSTER)), ("b", ids(&CLUSTER.to_uppercase()))];
    let message = message(servers(&twice.each_ref().map(|(name, lines)| (*name, &**lines))));
    assert!(message.contains("[servers.b]: the same server as [servers.a], line 1"), "{message}");
}

#[test]
fn what_influxctl_cannot_reach_is_a_fault() {
    let by_influxctl = |url: &str| servers(&[("a", &format!("{}via = \"influxctl\"\n", clustered(url)))]);
    assert!(by_influxctl("https://gw/").is_ok());
    let message = message(by_influxctl("https://gw/a"));
    assert!(
        message.starts_with(
            "tokens.toml:3:7: [servers.a] url: influxctl takes host and port alone, found the path \"/a\"\n  hint: remove via"
        ),
        "{message}"
    );
}

#[test]
fn a_database_is_called_as_its_server_takes_it() {
    let list = |length: usize| {
        let tokens = format!("[[token]]\nname = \"a\"\nwrite = [\"{}\"]\n", "x".repeat(length));
        with_server(&tokens)
    };
    assert!(list(64).is_ok());
    for length in [0, 65, 2000] {
        let message = message(list(length));
        let expected = "7:10: [[token]] \"a\" write: a database name has 1 to 64 characters and no control characters, found";
        assert!(message.contains(expected), "{length}: {message}");
    }
}
