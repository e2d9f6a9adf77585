//! Rows of somebody else's tokens, odd in every way: nobody's business here.

use influx_sandbox::Oddities;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::host::can_write;

const FEW: usize = 3;

/// What stands in such a row, and nowhere in what programs say.
const MARK: &str = "zebra";

/// The label of another host's token.
const OTHER: &str = "[influx-tokend ffffffffffffffffffffffffffffffff/t0/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee]";

fn id(n: u32) -> String {
    format!("{n:08x}-0000-4000-8000-00000000abcd")
}

/// A row with nothing odd about it.
fn row(n: u32) -> Value {
    json!({
        "id": id(n),
        "description": format!("{MARK} dashboard {n}"),
        "permissions": [{ "action": "read", "resource": MARK }],
        "createdAt": "2024-01-01T00:00:00.000Z",
    })
}

fn with(n: u32, field: &str, value: Value) -> Value {
    let mut row = row(n);
    row[field] = value;
    row
}

fn without(n: u32, field: &str) -> Value {
    let mut row = row(n);
    row.as_object_mut().unwrap().remove(field);
    row
}

/// Rows, each odd in a way of its own.
pub(super) fn odd_rows() -> Vec<Value> {
    let mut rows: Vec<Value> = ["id", "description", "permissions", "createdAt"]
        .into_iter()
        .zip(1..)
        .flat_map(|(field, n)| [with(n, field, Value::Null), without(n + 10, field)])
        .collect();
    let permissions = [
        json!({}),
        json!("all"),
        json!(7),
        json!([MARK]),
        json!([null]),
        json!([{ "action": 5, "resource": ["x"] }]),
        json!([{ "action": "manage", "resource": { "type": "buckets", "id": MARK } }]),
        json!([{ "resource": MARK }]),
        json!([[[]]]),
    ];
    rows.extend(permissions.into_iter().zip(30..).map(|(value, n)| with(n, "permissions", value)));
    let times = [
        json!("9999-12-31T23:59:59Z"),
        json!("0001-01-01T00:00:00Z"),
        json!("yesterday"),
        json!(""),
        json!(0),
        json!({ "seconds": 1, "nanos": 2 }),
        json!([]),
    ];
    for (n, value) in (50..).step_by(3).zip(times) {
        rows.extend(
            ["createdAt", "expiresAt", "revokedAt"]
                .into_iter()
                .zip(n..)
                .map(|(field, n)| with(n, field, value.clone())),
        );
    }
    rows.extend([
        with(80, "id", json!(80)),
        with(81, "id", json!("")),
        with(82, "id", json!("../../databases")),
        with(83, "description", json!(83)),
        with(84, "description", json!({ "text": MARK })),
        with(85, "description", json!(MARK.repeat(5_000))),
        with(86, "description", json!(format!("{MARK} {OTHER}"))),
        with(87, "accessToken", json!({})),
        with(88, MARK, json!([[[[[[]]]]]])),
        row(89),
        row(89),
        json!({}),
        Value::Null,
        json!(90),
        json!("a token"),
        json!([]),
    ]);
    // Another host's, as odd as any.
    let labelled =
        [("permissions", json!("all")), ("createdAt", json!("yesterday")), ("expiresAt", json!(true))];
    rows.extend(labelled.into_iter().zip(100..).map(|((field, value), n)| {
        let mut row = with(n, field, value);
        row["description"] = json!(format!("{MARK} {OTHER}"));
        row
    }));
    rows
}

fn strangers(rows: Vec<Value>) -> Oddities {
    Oddities { strangers: rows, ..Oddities::default() }
}

/// That nobody has been told of them, and nobody has touched them.
fn assert_nobodys_business(setting: &Setting, rows: &[Value], context: &str) {
    let host = &setting.host;
    let said = format!(
        "{}\n{}\n{}",
        setting.said(),
        setting.run(&["status"]).stdout,
        setting.run(&["status", "--output", "json"]).stdout
    );
    let ids = rows.iter().filter_map(|row| row["id"].as_str()).filter(|id| id.len() == 36);
    for word in ids.clone().chain([MARK, &OTHER[15..40]]) {
        assert!(!said.contains(word), "{context}: {word} is nobody's business here\n{said}");
    }
    let touched = |request: &influx_sandbox::Recorded| {
        let is_a_change = matches!(request.method.as_str(), "PATCH" | "DELETE");
        is_a_change && ids.clone().any(|id| request.path.contains(id))
    };
    assert!(!host.sandbox.requests().iter().any(touched), "{context}: touched");
}

#[test]
fn an_odd_row_of_a_strangers_is_nothing_to_anybody() {
    at_once([&Kind::CLUSTERED, &Kind::DEDICATED], |kind| {
        let setting = Setting::by_command(odd_host(kind, Oddities::default(), "", 2));
        setting.must_apply();
        let usual = setting.must_apply().stderr;
        for row in odd_rows() {
            setting.host.sandbox.set_oddities(strangers(vec![row.clone()]));
            let ran = setting.apply();
            let context = format!("{row:.200} on {}", kind.name);
            assert_eq!((ran.code, &ran.stderr), (Some(0), &usual), "{context}");
        }
        assert_nobodys_business(&setting, &odd_rows(), kind.name);
        setting.assert_first(2, kind.name);
    });
}

#[test]
fn among_strangers_of_every_kind_all_goes_as_without_them() {
    at_once(
        [(&Kind::CLUSTERED, true), (&Kind::CLUSTERED, false), (&Kind::DEDICATED, true)],
        |(kind, by_daemon)| {
            let lifecycle = "lifetime = \"9d\"\noverlap = \"0s\"\n";
            let host = odd_host(kind, strangers(odd_rows()), lifecycle, NAMES);
            let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
            let host = &setting.host;
            setting.settle();
            setting.assert_first(NAMES, kind.name);
            let ran = setting.must_apply();
            assert!(!ran.stderr.contains("hint"), "{}: {ran:?}", kind.name);
            // What a person asks for, what time brings, what somebody else does.
            assert_eq!(setting.run(&["rotate", "t0"]).code, Some(0), "{}", setting.log());
            host.sandbox.revoke(&host.live("t1")[0].id);
            host.shift_clock(SignedDuration::from_mins(11));
            setting.apply();
            setting.must_apply();
            let delivered = |name: &str| host.delivered(name).unwrap();
            assert!(can_write(host, &delivered("t0"), "telemetry"));
            assert!(can_write(host, &delivered("t1"), "telemetry"), "{}", setting.log());
            assert_eq!((setting.created("t0"), setting.created("t1")), (2, 2));
            host.shift_clock(SignedDuration::from_hours(5 * 24));
            setting.must_apply();
            for name in names(NAMES).skip(2) {
                assert_eq!(setting.created(&name), 2, "{name} on {}", kind.name);
                assert!(can_write(host, &delivered(&name), "telemetry"));
            }
            assert_nobodys_business(&setting, &odd_rows(), kind.name);
        },
    );
}

/// The same by influxctl, as far as that can print such rows.
#[test]
fn odd_rows_are_nothing_to_anybody_by_influxctl_either() {
    let kinds = Kind::all().into_iter().filter(|kind| !kind.has_date);
    at_once(kinds, |kind| {
        let is_printed = |row: &Value| row.is_object() && row["permissions"].is_array();
        let rows: Vec<Value> = odd_rows().into_iter().filter(is_printed).collect();
        let setting = Setting::by_command(odd_host(kind, strangers(rows.clone()), "", FEW));
        setting.must_apply();
        setting.must_apply();
        setting.assert_first(FEW, kind.name);
        assert_nobodys_business(&setting, &rows, kind.name);
    });
}
