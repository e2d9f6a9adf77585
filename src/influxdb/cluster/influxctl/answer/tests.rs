//! What influxctl may print, and what is made of it.

use std::time::Duration;

use super::*;
use crate::{
    influxdb::LabelEcho,
    model::{Grants, Instance, Marker, Time},
};

#[test]
fn a_cluster_is_told_by_its_ids() {
    let ids = r#""account_id":"11111111-1111-4111-8111-111111111111","cluster_id":"33333333-3333-4333-8333-333333333333""#;
    let rows = format!(
        r#"[{{{ids},"name":"p\u0007rod","state":"ready","created_at":{{"seconds":1}}}},{{"name":"x"}}]"#
    );
    let known = KnownCluster {
        account: "11111111-1111-4111-8111-111111111111".to_owned(),
        cluster: "33333333-3333-4333-8333-333333333333".to_owned(),
        name: Some("prod".to_owned()),
        url: None,
    };
    assert_eq!(clusters(rows.as_bytes()).expect("a list"), [known]);
    assert_eq!(clusters(b"[]").expect("a list"), []);
    for nonsense in ["{\"a\":1}", "[{\"name\":\"x\"}]", "[1]", "no JSON", ""] {
        assert!(clusters(nonsense.as_bytes()).is_err(), "{nonsense}");
    }
}

const ID: &str = "55555555-5555-4555-8555-555555555555";
const CANARY: &str = "apiv1_canarycanarycanarycanarycanarycanary";
const DESCRIPTION: &str =
    "d [influx-tokend 00000000000000000000000000000001/t0/00000000000000000000000000000002]";

fn order() -> Order {
    Order {
        description: DESCRIPTION.into(),
        grants: Grants::of([], ["a".parse().expect("a database")]),
        lifetime: Some(Duration::from_secs(365 * 86_400)),
        at: "2029-01-01T00:00:00Z".parse().expect("a time"),
        marker: Marker::from_bits([2; 16]),
    }
}

fn mint(output: &str) -> Result<Minted, ErrorKind> {
    minted(output.as_bytes(), &order())
}

/// Of the instance that has minted these.
fn listing(output: &[u8]) -> Result<Listing, ErrorKind> {
    let mut bits = [0; 16];
    bits[15] = 1;
    list(output, &Interest { ids: &BTreeSet::new(), instances: &[Instance::from_bits(bits)] })
}

#[test]
fn a_new_token_is_found_however_it_is_spelt() {
    for output in [
        format!(r#"{{"id":"{ID}","token":"{CANARY}"}}"#),
        format!(
            r#"{{"id":"{ID}","description":"{DESCRIPTION}","permissions":{{}},"accessToken":"{CANARY}"}}"#
        ),
        format!(r#"[{{"id":"{ID}","account_id":"1","cluster_id":"2","access_token":"{CANARY}"}}]"#),
        format!(
            r#"{{"token":{{"id":"{ID}","permissions":[{{"id":"7","action":"write","resource":"a"}}]}},"secret":"{CANARY}"}}"#
        ),
        format!(
            "warning: a newer version is available\n{{\"token_id\":\"{ID}\",\"value\":\"{CANARY}\"}}\nbye\n"
        ),
        format!("{{\n  \"id\": \"{ID}\",\n  \"token_string\": \"{CANARY}\"\n}}"),
    ] {
        let minted = mint(&output).unwrap_or_else(|error| panic!("{output}: {error}"));
        assert_eq!((&*minted.id.0, minted.secret.secret().expose()), (ID, CANARY), "{output}");
        assert_eq!((minted.created_at, minted.expires_at), (None, order().expires_at()), "{output}");
    }
}

#[test]
fn what_is_in_doubt_is_no_token_and_nothing_of_it_is_shown() {
    let other = CANARY.replace("canary", "canari");
    for output in [
        String::new(),
        "| id | token |\n".to_owned() + CANARY,
        CANARY.to_owned(),
        format!(r#"{{"id":"{ID}"}}"#),
        format!(r#"{{"token":"{CANARY}"}}"#),
        format!(r#"{{"id":"{ID}","token":"short"}}"#),
        format!(r#"{{"id":"{ID}","token":"{CANARY}","other":"{other}"}}"#),
        format!(r#"{{"id":"{ID}","secret":"{CANARY}","access_token":"{other}"}}"#),
        format!(r#"[{{"id":"{ID}","token":"{CANARY}"}},{{"id":"x"}}]"#),
        format!(r#"{{"id":"{ID}","token":"{CANARY} with more words, long enough"}}"#),
        format!(r#"{{"id":"{ID}","id":"x","token":"{CANARY}"}}"#),
        format!(r#"{{"id":"{ID}","token":"{CANARY}"#),
        format!("? continue (y/n) {{\"id\":\"{ID}\",\"token\":\"{CANARY}\"}}"),
        format!("\u{fffd}{{\"id\": {}", "[".repeat(100_000)),
    ] {
        let error = mint(&output).expect_err(&output);
        assert!(!error.to_string().contains("canar"), "{error}");
    }
}

#[test]
fn the_documented_lists_and_their_contradictions() {
    let label = DESCRIPTION;
    let clustered = format!(
        r#"[{{"account_id":"0","cluster_id":"0","id":"{ID}","description":"{label}","permissions":{{}}}},
            {{"account_id":"0","cluster_id":"0","id":"x","description":"somebody's","permissions":{{}}}}]"#
    );
    let found = listing(clustered.as_bytes()).expect("a list");
    assert_eq!((found.tokens.len(), found.rows, found.faults.len()), (1, 2, 0));
    let row = &found.tokens[0];
    assert_eq!((&*row.id.0, &row.grants, row.created_at), (ID, &None, None));
    let dedicated = format!(
        r#"{{"tokens":[{{"id":"{ID}","description":"{label}","created_at":{{"seconds":1700000000,"nanos":5}},
            "expires_at":{{"seconds":"1800000000"}},"revoked_at":null,
            "permissions":[{{"id":"1","action":"read","resource":"a"}},{{"id":"2","action":"write","resource":"*"}}]}}]}}"#
    );
    let row = &listing(dedicated.as_bytes()).expect("a list").tokens[0];
    assert_eq!(row.grants.as_ref().map(ToString::to_string).as_deref(), Some("write *, read a"));
    assert_eq!(row.created_at.map(|at| at.as_second()), Some(1_700_000_000));
    assert_eq!(row.expires_at.map(|at| at.as_second()), Some(1_800_000_000));
    assert_eq!(row.revoked_at, None);
    for empty in ["[]", "null\n", r#"{"tokens":[]}"#, r#"{"tokens":null}"#] {
        assert_eq!(listing(empty.as_bytes()).expect("none").rows, 0, "{empty}");
    }
    for nonsense in ["", "no tokens", r#"{"a":[],"b":[]}"#, "[1]", r#"["a","b"]"#, r#"[{"id":"x""#] {
        listing(nonsense.as_bytes()).expect_err(nonsense);
    }
    let reads = format!(
        r#"[{{"id":"{ID}","description":"{label}","permissions":[{{"action":"read","resource":"a"}}]}}]"#
    );
    assert_eq!(listing(reads.as_bytes()).expect("a list").tokens[0].grants, None, "perhaps it writes");
}

#[test]
fn an_odd_row_costs_nobody_the_list() {
    let strangers =
        r#"{},{"id":7},1,null,{"id":"x","description":7,"expires_at":"soon"},{"id":"x","id":"y"}"#;
    let ours = format!(r#"{{"id":"{ID}","description":"{DESCRIPTION}","revoked_at":"then"}}"#);
    let found = listing(format!("[{strangers},{ours}]").as_bytes()).expect("a list");
    assert_eq!((found.rows, found.tokens.len()), (7, 1));
    assert_eq!(found.tokens[0].revoked_at, Some(Time::UNIX_EPOCH), "it says so, and not when");
    let what: Vec<_> = found.faults.iter().map(|fault| fault.what.as_str()).collect();
    assert_eq!(what, ["revokedAt: expected an RFC 3339 time"]);
    let never =
        format!(r#"[{{"id":"{ID}","description":"{DESCRIPTION}","expires_at":"1970-01-01T00:00:00Z"}}]"#);
    let found = listing(never.as_bytes()).expect("a list");
    assert_eq!((found.tokens[0].expires_at, found.faults.len()), (None, 0));
}

#[test]
fn no_odd_field_costs_the_string_of_a_new_token() {
    for (fields, label, oddities) in [
        (r#""description":"another""#, LabelEcho::Lost, 0),
        (r#""description":7"#, LabelEcho::Lost, 0),
        (r#""expires_at":"soon""#, LabelEcho::Missing, 1),
        (r#""created_at":true,"expires_at":[1]"#, LabelEcho::Missing, 2),
        (r#""permissions":"none""#, LabelEcho::Missing, 0),
    ] {
        let minted = mint(&format!(r#"{{"id":"{ID}","token":"{CANARY}",{fields}}}"#)).expect(fields);
        assert_eq!((minted.label, minted.oddities.len()), (label, oddities), "{fields}");
        assert_eq!((minted.expires_at, minted.created_at), (order().expires_at(), None), "{fields}");
        assert_eq!(minted.grants, order().grants, "{fields}");
    }
}

#[test]
fn databases_by_name() {
    for output in
        [r#"["a","b"]"#, r#"[{"name":"a"},{"name":"b"}]"#, r#"[{"database_name":"a"},{"database_name":"b"}]"#]
    {
        let names = databases(output.as_bytes()).expect(output);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"], "{output}");
    }
    databases(br#"[{"title":"a"}]"#).expect_err("no names");
}

#[test]
fn one_token_is_the_one_that_was_asked_for() {
    let id = TokenId(ID.into());
    let output =
        format!(r#"{{"id":"{ID}","description":"{DESCRIPTION}","revoked_at":"2026-01-01T00:00:00Z"}}"#);
    let found = one(output.as_bytes(), &id).expect("an answer").expect("a token");
    assert!(found.label.is_some() && found.revoked_at.is_some());
    assert_eq!(one(b"[]", &id).expect("an answer"), None);
    one(br#"{"id":"another"}"#, &id).expect_err("another");
}
