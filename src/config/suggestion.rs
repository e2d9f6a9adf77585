//! Hints for words and keys that are not known: misspelled, in the wrong table, or a name from another program.

use crate::nearest::nearest;

/// Keys that belong in one table only, and where to move them.
const PLACES: [(&str, &[&str]); 6] = [
    ("to the top of the list, before the first table", &["reconcile"]),
    (
        "to [server]",
        &[
            "product",
            "url",
            "data_url",
            "account",
            "management_token",
            "via",
            "influxctl",
            "client_certificate",
            "client_key",
            "insecure_skip_verify",
            "allow_plain_http",
            "timeout",
        ],
    ),
    ("to [store]", &["recipients", "passphrase", "unwrap", "plugin_timeout", "machine_id"]),
    ("to [lifecycle]", &["overlap", "overlap_cap", "grace", "local_clock", "lifetime", "probe"]),
    (
        "into probe, as in probe = { successes = 3, interval = \"5s\", deadline = \"10m\" }",
        &["successes", "interval", "deadline"],
    ),
    ("to [[token]]", &["name", "read", "write", "description", "allow", "pickup"]),
];

const LIFETIME: &[&str] =
    &["ttl", "expiry", "expires", "expires_in", "expires_at", "expiration", "duration", "validity"];
/// In tables whose path begins so: keys of other programs, and what to write instead.
const NAMES: [(&str, &[&str], &str); 10] = [
    (
        "[[token]]",
        &["database", "databases", "db", "dbs", "bucket", "buckets", "grants", "permissions"],
        "write read = [\"DATABASE\"], write = [\"DATABASE\"] or both",
    ),
    ("[[token]]", &["users", "groups", "units"], "write allow = { users = […], groups = […], units = […] }"),
    ("[[token]]", LIFETIME, "write lifetime = \"90d\""),
    ("[lifecycle]", LIFETIME, "write lifetime = \"90d\""),
    ("[server", &["host", "hostname", "address", "endpoint", "server", "urls"], "write url = \"https://…\""),
    (
        "[server",
        &["token", "admin_token", "mgmt_token", "auth_token"],
        "write management_token = { file = \"…\" }",
    ),
    ("[server", &["type", "kind", "version"], "write product = \"…\""),
    ("[server]", &["name"], "write [servers.NAME] instead of [server]"),
    ("[server", &["account_id", "cluster_id"], "write account and cluster"),
    ("[server", &["ca", "ca_cert", "tls_ca", "ca_certificate", "cacert"], "write ca_file = \"…\""),
];

/// The nearest of the known words.
pub(super) fn did_you_mean<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    nearest(text, known).map(|near| format!("did you mean {near:?}?"))
}

/// What to do about a key that a table does not know. `has_siblings`: it may belong in another table.
pub(super) fn for_unknown_key(key: &str, table: &str, known: &[&'static str], has_siblings: bool) -> String {
    let near = || did_you_mean(key, known.iter().copied());
    let all = || format!("use one of {}", known.join(", "));
    if !has_siblings {
        return near().unwrap_or_else(all);
    }
    let renamed = NAMES.iter().find(|(of, keys, _)| table.starts_with(of) && keys.contains(&key));
    let renamed = renamed.map(|(_, _, hint)| (*hint).to_owned());
    let moved = || place_of(key).map(|place| format!("move it {place}"));
    let near_elsewhere = || {
        let near = nearest(key, PLACES.iter().flat_map(|(_, keys)| keys.iter().copied()))?;
        Some(format!("did you mean {near:?}? move it {}", place_of(near)?))
    };
    renamed.or_else(moved).or_else(near).or_else(near_elsewhere).unwrap_or_else(all)
}

fn place_of(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(_, keys)| keys.contains(&key)).map(|(place, _)| *place)
}
