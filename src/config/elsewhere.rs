//! Keys that stand in the wrong table, or are called otherwise here.

use super::tree::guess;
use crate::nearest::nearest;

/// Where keys belong that have one place alone.
const PLACES: [(&str, &[&str]); 6] = [
    ("at the top of the list, before the first table", &["reconcile"]),
    (
        "in [server]",
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
    ("in [store]", &["recipients", "passphrase", "unwrap", "plugin_timeout", "machine_id"]),
    ("in [lifecycle]", &["overlap", "overlap_cap", "grace", "local_clock", "lifetime", "probe"]),
    (
        "in probe, as in probe = { successes = 3, interval = \"5s\", deadline = \"10m\" }",
        &["successes", "interval", "deadline"],
    ),
    ("in [[token]]", &["name", "read", "write", "description", "allow", "pickup"]),
];

const LIFETIME: &[&str] =
    &["ttl", "expiry", "expires", "expires_in", "expires_at", "expiration", "duration", "validity"];
/// In tables that begin so, what keys are called here that other programs call otherwise.
const NAMES: [(&str, &[&str], &str); 10] = [
    (
        "[[token]]",
        &["database", "databases", "db", "dbs", "bucket", "buckets", "grants", "permissions"],
        "say what the token may do: read = [\"DATABASE\"], write = [\"DATABASE\"] or both",
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
    ("[server", &["type", "kind", "version"], "write product = \"clustered\" or \"dedicated\""),
    ("[server]", &["name"], "write [servers.NAME] instead of [server]"),
    ("[server", &["account_id", "cluster_id"], "write account and cluster"),
    ("[server", &["ca", "ca_cert", "tls_ca", "ca_certificate", "cacert"], "write ca_file = \"…\""),
];

/// What may have been meant by a key that a table does not know. `is_one_of_several`: it may belong in another.
pub(super) fn meant(key: &str, table: &str, known: &[&'static str], is_one_of_several: bool) -> String {
    let near = || guess(key, known.iter().copied());
    let all = || format!("known here: {}", known.join(", "));
    if !is_one_of_several {
        return near().unwrap_or_else(all);
    }
    let renamed = NAMES.iter().find(|(of, keys, _)| table.starts_with(of) && keys.contains(&key));
    let renamed = renamed.map(|(_, _, hint)| (*hint).to_owned());
    let moved = || place_of(key).map(|place| format!("it belongs {place}"));
    let near_elsewhere = || {
        let near = nearest(key, PLACES.iter().flat_map(|(_, keys)| keys.iter().copied()))?;
        Some(format!("did you mean {near:?}? it belongs {}", place_of(near)?))
    };
    renamed.or_else(moved).or_else(near).or_else(near_elsewhere).unwrap_or_else(all)
}

fn place_of(key: &str) -> Option<&'static str> {
    PLACES.iter().find(|(_, keys)| keys.contains(&key)).map(|(place, _)| *place)
}
