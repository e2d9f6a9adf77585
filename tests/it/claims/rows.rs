//! Rows of our own tokens that are odd: a matter of that name, and of no other.

use influx_sandbox::{Answers, Oddities, RowOddity, TimeOddity};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::host::can_write;

/// What is odd about the row of one name in lists.
fn odd_rows() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        ("permissions null", json!({ "permissions": null }), &[]),
        ("permissions unknown", json!({ "permissions": "all" }), &[]),
        ("permissions object", json!({ "permissions": { "telemetry": "rw" } }), &[]),
        ("permissions numbers", json!({ "permissions": [1, 2] }), &[]),
        ("permissions missing", json!({}), &["permissions"]),
        ("description null", json!({ "description": null }), &[]),
        ("description missing", json!({}), &["description"]),
        ("description number", json!({ "description": 12 }), &[]),
        ("id number", json!({ "id": 12 }), &[]),
        ("id null", json!({ "id": null }), &[]),
        ("id missing", json!({}), &["id"]),
        ("created oddly", json!({ "createdAt": "yesterday" }), &[]),
        ("created as a number", json!({ "createdAt": 1_796_097_906 }), &[]),
        ("expires oddly", json!({ "expiresAt": { "never": true } }), &[]),
        ("revoked oddly", json!({ "revokedAt": "no" }), &[]),
    ]
}

fn of_t0(fields: Value, missing: &[&str]) -> Oddities {
    let missing = missing.iter().map(|field| (*field).to_owned()).collect();
    let odd = RowOddity { of: "/t0/".to_owned(), only: Some(Answers::List), fields, missing };
    Oddities { rows: vec![odd], ..Oddities::default() }
}

/// Whether a line of what was said is about a name.
fn is_about(said: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    said.lines().any(|line| line.split(|c| !is_part(c)).any(|word| word == name))
}

/// Whether anybody was told of a name: by a command, by `status`, or in the log from here on.
fn is_told(setting: &Setting, ran: &Ran, log_before: usize, name: &str) -> bool {
    let waits = || setting.host.status_of(name)["waits"].is_string();
    is_about(&ran.stderr, name) || is_about(&setting.log()[log_before..], name) || waits()
}

/// What the server knows of all live tokens, but for how often it was asked about them.
fn as_minted(setting: &Setting) -> Vec<impl PartialEq + std::fmt::Debug> {
    let known = |token: Token| {
        let times = (token.created_at, token.expires_at, token.revoked_at);
        (token.id, token.secret, token.description, token.permissions, times)
    };
    setting.tokens(NAMES).into_iter().map(known).collect()
}

#[test]
fn an_odd_row_of_ours_is_a_finding_of_that_name_and_holds_up_no_other() {
    const LIFECYCLE: &str = "lifetime = \"30d\"\noverlap = \"0s\"\n";
    let rows = odd_rows();
    let kinds = [(&Kind::CLUSTERED, true), (&Kind::DEDICATED, false), (&Kind::DEDICATED, true)];
    at_once(rows.chunks(3).zip(kinds.into_iter().cycle()), |(rows, (kind, by_daemon))| {
        let host = odd_host(kind, Oddities::default(), LIFECYCLE, NAMES);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let host = &setting.host;
        setting.settle();
        setting.assert_first(NAMES, kind.name);
        let before = as_minted(&setting);
        let secret = host.delivered("t0").unwrap();
        // Old enough to be judged by lists.
        host.shift_clock(SignedDuration::from_mins(11));
        for (what, fields, missing) in rows {
            let context = format!("{what} on {}", kind.name);
            let log = setting.log().len();
            host.sandbox.set_oddities(of_t0(fields.clone(), missing));
            let ran = setting.apply();
            assert!(is_told(&setting, &ran, log, "t0"), "{context}: nobody is told: {ran:?}");
            assert!(!is_about(&ran.stderr, "t1"), "{context}: {ran:?}");
            assert_eq!(as_minted(&setting), before, "{context}");
            assert_eq!(host.delivered("t0").as_ref(), Some(&secret), "{context}");
        }
        // Others go on.
        assert_eq!(setting.run(&["rotate", "t1"]).code, Some(0), "{}", setting.log());
        setting.save(&format!("{LIFECYCLE}{}", tokens(NAMES + 1)));
        setting.apply();
        wait_until("a new name", || host.delivered(&format!("t{NAMES}")).is_some(), || setting.log());
        setting.pass_a_day(|| assert_eq!(setting.created("t0"), 1, "{}", setting.log()));
        assert!(can_write(host, &host.delivered("t0").unwrap(), "telemetry"));
        host.sandbox.set_oddities(Oddities::default());
        let ran = setting.must_apply();
        assert!(!is_about(&ran.stderr, "t0"), "{ran:?}");
    });
}

/// Twice in a list, the second time with another time or as somebody else's.
#[test]
fn a_row_of_ours_that_is_there_twice_is_a_finding_of_that_name() {
    at_once([&Kind::CLUSTERED, &Kind::DEDICATED], |kind| {
        let setting = Setting::with_daemon(odd_host(kind, Oddities::default(), "", NAMES));
        let host = &setting.host;
        setting.settle();
        let (before, kept) = (setting.tokens(NAMES), as_minted(&setting));
        host.shift_clock(SignedDuration::from_mins(11));
        let (id, description) = (&before[0].id, &before[0].description);
        let row = |description: Value, more: Value| {
            let mut row = json!({
                "id": id, "description": description, "permissions": [], "createdAt": "2024-01-01T00:00:00Z",
            });
            more.as_object().into_iter().flatten().for_each(|(field, value)| row[field] = value.clone());
            row
        };
        let seconds = [
            row(json!(description), json!({})),
            row(json!(description), json!({ "revokedAt": "2024-01-02T00:00:00Z" })),
            row(json!("somebody's"), json!({})),
            row(Value::Null, json!({ "permissions": null, "createdAt": 5 })),
        ];
        for second in seconds {
            let context = format!("{second} on {}", kind.name);
            host.sandbox.set_oddities(Oddities { strangers: vec![second], ..Oddities::default() });
            let log = setting.log().len();
            let ran = setting.apply();
            assert!(is_told(&setting, &ran, log, "t0"), "{context}: nobody is told: {ran:?}");
            assert!(!is_about(&ran.stderr, "t1"), "{context}: {ran:?}");
            assert_eq!(as_minted(&setting), kept, "{context}");
        }
        setting.pass_a_day(|| setting.assert_first(NAMES, kind.name));
        assert_eq!(setting.run(&["rotate", "t1"]).code, Some(0), "{}", setting.log());
    });
}

/// What is told of all tokens while the data plane takes them as before.
fn lies() -> Vec<(&'static str, Oddities)> {
    let odd =
        |fields: Value| RowOddity { of: String::new(), only: Some(Answers::List), fields, missing: vec![] };
    let revoked = TimeOddity::Shift(SignedDuration::from_mins(-1));
    vec![
        ("revoked a minute ago", Oddities { revoked_at: Some(revoked), ..Oddities::default() }),
        (
            "revoked in a day",
            Oddities {
                revoked_at: Some(TimeOddity::Shift(SignedDuration::from_hours(24))),
                ..Oddities::default()
            },
        ),
        ("not listed", Oddities { hidden: vec!["influx-tokend".to_owned()], ..Oddities::default() }),
        (
            "no label",
            Oddities { rows: vec![odd(json!({ "description": "a token" }))], ..Oddities::default() },
        ),
        (
            "another's label",
            Oddities {
                rows: vec![odd(json!({
                    "description": "[influx-tokend ffffffffffffffffffffffffffffffff/t0/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee]"
                }))],
                ..Oddities::default()
            },
        ),
    ]
}

/// Gone is what the data plane refuses.
#[test]
fn a_token_that_the_data_plane_accepts_is_not_replaced_for_what_a_list_says() {
    at_once(lies().into_iter().zip([true, false].into_iter().cycle()), |((what, oddities), by_daemon)| {
        let host = odd_host(&Kind::CLUSTERED, Oddities::default(), "", NAMES);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        setting.assert_first(NAMES, what);
        setting.host.shift_clock(SignedDuration::from_mins(11));
        setting.host.sandbox.set_oddities(oddities);
        let log = setting.log().len();
        let ran = setting.apply();
        setting.assert_first(NAMES, what);
        // What is to be in a day is nothing to tell yet.
        let is_due = !what.ends_with("in a day");
        assert!(!is_due || is_told(&setting, &ran, log, "t0"), "{what}: nobody is told: {ran:?}");
        setting.pass_a_day(|| setting.assert_first(NAMES, what));
    });
}

/// While one that is refused is.
#[test]
fn a_token_that_is_revoked_indeed_is_replaced_once() {
    at_once([true, false], |by_daemon| {
        let host = odd_host(&Kind::CLUSTERED, Oddities::default(), "", NAMES);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let host = &setting.host;
        setting.settle();
        host.shift_clock(SignedDuration::from_mins(11));
        let (revoked, kept) = (host.live("t0"), host.live("t1"));
        host.sandbox.revoke(&revoked[0].id);
        setting.apply();
        let is_replaced = || host.delivered("t0").is_some_and(|secret| can_write(host, &secret, "telemetry"));
        wait_until("another token", is_replaced, || setting.log());
        setting.pass_a_day(|| assert_eq!(setting.created("t0"), 2, "{}", setting.log()));
        assert_eq!((host.live("t0").len(), host.live("t1")), (1, kept));
    });
}
