//! The least and the most of every number.

use super::*;

/// Lists with a number in `{}`, its key, the least and the most, and one less and one more than that.
const BOUNDS: [(&str, &str, [&str; 4]); 12] = [
    ("reconcile = {}\n", "reconcile", ["9999ms", "10s", "7d", "169h"]),
    ("[server]\ntimeout = {}\n", "[server] timeout", ["999ms", "1s", "10m", "601s"]),
    ("[servers.a]\ntimeout = {}\n", "[servers.a] timeout", ["0s", "1s", "10m", "1d"]),
    ("[store]\nplugin_timeout = {}\n", "[store] plugin_timeout", ["999ms", "1s", "1m", "61s"]),
    ("[lifecycle]\nlifetime = {}\n", "[lifecycle] lifetime", ["59s", "1m", "36500d", "36501d"]),
    (
        "[[token]]\nname = \"a\"\nlifetime = {}\n",
        "[[token]] \"a\" lifetime",
        ["0d", "1m", "36500d", "36501d"],
    ),
    ("[lifecycle]\noverlap = {}\n", "[lifecycle] overlap", ["", "0s", "365d", "366d"]),
    ("[lifecycle]\noverlap_cap = {}\n", "[lifecycle] overlap_cap", ["", "0s", "3650d", "3651d"]),
    ("[lifecycle]\ngrace = {}\n", "[lifecycle] grace", ["", "0s", "365d", "8761h"]),
    ("[lifecycle]\nprobe = { interval = {} }\n", "[lifecycle] probe interval", ["9ms", "10ms", "1h", "61m"]),
    ("[lifecycle]\nprobe = { deadline = {} }\n", "[lifecycle] probe deadline", ["1ms", "10ms", "1d", "25h"]),
    (
        "[[token]]\nname = \"a\"\nprobe = { deadline = {} }\n",
        "[[token]] \"a\" probe deadline",
        ["1ms", "10ms", "1d", "99999999999999999999999d"],
    ),
];

/// The messages for this key: the lists have other faults.
fn messages_of(key: &str, list: &str) -> Vec<String> {
    let message = parse(list).err().map(|error| error.to_string()).unwrap_or_default();
    let about = |line: &&str| line.contains(&format!(": {key}: expected"));
    message.lines().filter(about).map(|line| line.split_once(": ").expect("a place").1.to_owned()).collect()
}

#[test]
fn every_duration_has_a_least_and_a_most() {
    for (list, key, [less, least, most, more]) in BOUNDS {
        let message = |value: &str| messages_of(key, &list.replace("{}", &format!("\"{value}\"")));
        for within in [least, most] {
            assert_eq!(message(within), [""; 0], "{key} {within}");
        }
        if !less.is_empty() {
            assert_eq!(message(less), [format!("{key}: expected at least {least}, found \"{less}\"")]);
        }
        assert_eq!(message(more), [format!("{key}: expected at most {most}, found \"{more}\"")]);
    }
}

#[test]
fn a_bound_is_reported_with_its_line() {
    let message = message(with_server("[lifecycle]\nlifetime = \"36501d\"\n"));
    assert_eq!(message, "tokens.toml:6:12: [lifecycle] lifetime: expected at most 36500d, found \"36501d\"");
}

#[test]
fn an_invalid_duration_is_reported_with_a_guess() {
    for (value, found, hint) in [
        ("\"90 days\"", "\"90 days\"", "\n  hint: write \"90d\""),
        ("\"1h30m\"", "\"1h30m\"", "\n  hint: write \"90m\""),
        ("\"2w\"", "\"2w\"", "\n  hint: write \"14d\""),
        ("\"90\"", "\"90\"", ""),
        ("\"\"", "\"\"", ""),
        ("90", "integer", ""),
        ("1.5", "float", ""),
        ("true", "boolean", ""),
    ] {
        let message = message(with_server(&format!("[lifecycle]\ngrace = {value}\n")));
        let expected =
            "[lifecycle] grace: expected a whole number and one of ms, s, m, h, d, as in \"90d\", found";
        assert_eq!(message, format!("tokens.toml:6:9: {expected} {found}{hint}"));
    }
}

#[test]
fn a_count_has_a_least_and_a_most() {
    let with = |value: &str| with_server(&format!("[lifecycle]\nprobe = {{ successes = {value} }}\n"));
    for within in ["1", "100", "0x10", "1_0"] {
        assert!(with(within).is_ok(), "{within}");
    }
    for (beyond, found) in [
        ("0", "0"),
        ("-1", "-1"),
        ("101", "101"),
        ("4294967297", "4294967297"),
        ("99999999999999999999", "99999999999999999999"),
        ("\"3\"", "string"),
        ("3.0", "float"),
    ] {
        let expected = format!("[lifecycle] probe successes: expected 1 to 100, found {found}");
        assert!(message(with(beyond)).contains(&expected), "{beyond}: {}", message(with(beyond)));
    }
}

/// Twenty thousand faults took seconds, and delay what shows the watchdog that the daemon lives.
#[test]
fn faults_beyond_a_number_are_counted() {
    let tokens = |count: usize| -> String {
        (0..count)
            .map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"x\"]\nlifetme = \"1d\"\n"))
            .collect()
    };
    for count in [1, 50, 51, 1000, 1001, 20_000] {
        let message = message(with_server(&tokens(count)));
        assert_eq!(message.matches("unknown key").count(), count.min(50), "{count}");
        let more = message.rsplit_once("\nand ").map(|(_, more)| more.to_owned());
        assert_eq!(more, (count > 50).then(|| format!("{} more", count - 50)), "{count}");
    }
}

#[test]
fn places_are_right_on_long_lines_and_behind_wide_characters() {
    let list = "x = [\"ä\", { y = 1 }]\n[store]\npath = \"é\"\nkind = \"ö\"\nz = 'ü'\nü = 1\n";
    let message = message(parse(list));
    let places = message.lines().filter_map(|line| line.strip_prefix("tokens.toml:")).map(|line| {
        let mut parts = line.split(':');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    });
    let expected = [("1", "1"), ("3", "8"), ("4", "8"), ("5", "1")];
    assert_eq!(places.take(4).collect::<Vec<_>>(), expected, "{message}");
}
