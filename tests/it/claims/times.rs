//! Times in all the forms that servers have for them: none costs a token or a list.

use influx_sandbox::{Answers, Oddities, RowOddity, TimeForm, TimeOddity};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;

const FEW: usize = 3;
const MONTH: &str = "lifetime = \"30d\"\n";

/// With a daemon and without one, on either product by turns.
fn on_each(oddities: &Oddities, count: usize, scenario: impl Fn(&Setting)) {
    for (setting, kind) in [(true, &Kind::CLUSTERED), (false, &Kind::DEDICATED)] {
        let host = odd_host(kind, oddities.clone(), MONTH, count);
        let setting = if setting { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        scenario(&setting);
    }
}

#[test]
fn every_form_of_rfc_3339_is_read() {
    let forms = [
        TimeForm::Offset(330),
        TimeForm::Offset(-720),
        TimeForm::UnknownOffset,
        TimeForm::Lowercase,
        TimeForm::Nanoseconds,
        TimeForm::Seconds,
    ];
    at_once(forms, |form| {
        let context = format!("{form:?}");
        on_each(&Oddities { times: form, ..Oddities::default() }, FEW, |setting| {
            setting.assert_first(FEW, &context);
            let ran = setting.must_apply();
            for word in ["createdAt", "expiresAt", "zone"] {
                assert!(!ran.stderr.contains(word), "{context}: {ran:?}");
            }
            let host = &setting.host;
            let expires = host.live("t0")[0].expires_at.unwrap();
            let told: Timestamp = host.status_of("t0")["expires_at"].as_str().unwrap().parse().unwrap();
            assert!(told.duration_since(expires).abs() < SignedDuration::from_secs(1), "{context}: {told}");
            host.shift_clock(SignedDuration::from_hours(12));
            setting.must_apply();
            setting.assert_first(FEW, &context);
        });
    });
}

/// As protobuf has it, written into JSON field by field.
#[test]
fn an_object_of_seconds_is_a_time() {
    let at = Timestamp::now() + SignedDuration::from_hours(20 * 24);
    let seconds = json!({ "seconds": at.as_second(), "nanos": 5 });
    let text = json!({ "seconds": at.as_second().to_string() });
    at_once([seconds, text], |value| {
        let context = value.to_string();
        let expires_at = Some(TimeOddity::Constant(value.clone()));
        on_each(&Oddities { expires_at, ..Oddities::default() }, FEW, |setting| {
            setting.assert_first(FEW, &context);
            let told: Timestamp =
                setting.host.status_of("t0")["expires_at"].as_str().unwrap().parse().unwrap();
            assert_eq!(told.as_second(), at.as_second(), "{context}");
            assert!(!setting.said().contains("expected"), "{context}: {}", setting.said.borrow());
        });
    });
}

#[test]
fn a_time_without_zone_is_utc_and_that_is_said_once() {
    at_once([TimeForm::NoZone, TimeForm::SpaceNoZone], |form| {
        let host = odd_host(&Kind::CLUSTERED, Oddities { times: form, ..Oddities::default() }, MONTH, NAMES);
        let setting = Setting::with_daemon(host);
        setting.settle();
        for _ in 0..2 {
            setting.must_apply();
        }
        setting.assert_first(NAMES, &format!("{form:?}"));
        let log = setting.log();
        let lines = log.lines().filter(|line| line.contains("zone")).count();
        assert_eq!(lines, 1, "{form:?}\n{log}");
        let expires = setting.host.live("t0")[0].expires_at.unwrap();
        let told: Timestamp = setting.host.status_of("t0")["expires_at"].as_str().unwrap().parse().unwrap();
        assert!(told.duration_since(expires).abs() < SignedDuration::from_secs(1), "{form:?}: {told}");
    });
}

#[test]
fn a_time_that_cannot_be_read_costs_neither_the_token_nor_the_list() {
    let values = [
        json!("yesterday"),
        json!(1_796_097_906),
        json!("1796097906000"),
        json!({ "seconds": true }),
        json!(true),
    ];
    let cases = values.into_iter().flat_map(|value| [("createdAt", value.clone()), ("expiresAt", value)]);
    at_once(cases, |(field, value)| {
        let context = format!("{field}: {value}");
        let time = Some(TimeOddity::Constant(value.clone()));
        let oddities = match field {
            "createdAt" => Oddities { created_at: time, ..Oddities::default() },
            _ => Oddities { expires_at: time, ..Oddities::default() },
        };
        let setting = Setting::with_daemon(odd_host(&Kind::CLUSTERED, oddities, MONTH, FEW));
        setting.settle();
        setting.assert_first(FEW, &context);
        let said = setting.said();
        assert!(said.contains(field), "{context}: nobody names the field\n{said}");
        setting.host.shift_clock(SignedDuration::from_hours(12));
        setting.apply();
        setting.assert_first(FEW, &context);
    });
}

/// Without any: it was there and is not any more, or never was.
#[test]
fn a_time_that_is_missing_costs_neither_the_token_nor_the_list() {
    let missing = |fields: &[&str], only| RowOddity {
        of: String::new(),
        only,
        fields: json!({}),
        missing: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let fields = |fields| RowOddity { of: String::new(), only: None, fields, missing: vec![] };
    let cases = [
        missing(&["createdAt"], None),
        missing(&["createdAt"], Some(Answers::Mint)),
        missing(&["createdAt", "expiresAt"], Some(Answers::List)),
        fields(json!({ "createdAt": null, "revokedAt": null })),
        fields(json!({ "createdAt": "" })),
        fields(json!({ "expiresAt": "" })),
    ];
    at_once(cases, |odd| {
        let context = format!("{odd:?}");
        on_each(&Oddities { rows: vec![odd.clone()], ..Oddities::default() }, FEW, |setting| {
            setting.assert_first(FEW, &context);
            setting.host.shift_clock(SignedDuration::from_hours(12));
            setting.apply();
            setting.assert_first(FEW, &context);
        });
    });
}

/// As from programs that fill the field in after they have answered.
#[test]
fn a_creation_that_is_zero_in_the_answer_to_a_mint_alone_is_no_other_token() {
    at_once(["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"], |text| {
        let only = Some(Answers::Mint);
        let fields = json!({ "createdAt": text });
        let odd = RowOddity { of: String::new(), only, fields, missing: vec![] };
        on_each(&Oddities { rows: vec![odd], ..Oddities::default() }, FEW, |setting| {
            setting.assert_first(FEW, text);
            setting.host.shift_clock(SignedDuration::from_hours(12));
            setting.must_apply();
            setting.assert_first(FEW, text);
            let said = setting.said();
            assert!(!said.contains("does not list"), "{text}\n{said}");
        });
    });
}

#[test]
fn an_expiry_beyond_the_calendar_is_never() {
    let texts = [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59+14:00",
        "+292278994-08-17T07:12:55.807Z",
    ];
    at_once(texts, |text| {
        let expires_at = Some(TimeOddity::Constant(json!(text)));
        on_each(&Oddities { expires_at, ..Oddities::default() }, FEW, |setting| {
            setting.assert_first(FEW, text);
            setting.pass_a_day(|| setting.assert_first(FEW, text));
            assert_eq!(setting.host.status_of("t0")["expires_at"], Value::Null, "{text}");
        });
    });
}

/// As from programs that know no "not yet" but a zero.
#[test]
fn a_revocation_before_the_creation_is_none() {
    let texts =
        ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2020-02-02T02:02:02Z", "", "0000-00-00T00:00:00Z"];
    at_once(texts, |text| {
        let revoked_at = Some(TimeOddity::Constant(json!(text)));
        on_each(&Oddities { revoked_at, ..Oddities::default() }, NAMES, |setting| {
            setting.assert_first(NAMES, text);
            setting.pass_a_day(|| setting.assert_first(NAMES, text));
        });
    });
}
