//! The one reader of the servers' times.

use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::{
    influxdb::times::{ClaimedTime, TimeClaim},
    model::Time,
};

fn claim(json: &str) -> Option<TimeClaim> {
    let value: Box<RawValue> = serde_json::from_str(json).expect("JSON");
    TimeClaim::read(Some(&value))
}

#[test]
fn every_form_of_a_time() {
    let day = "2029-03-04T05:06:07Z";
    for (text, expected) in [
        ("2029-03-04T05:06:07Z", day),
        ("2029-03-04t05:06:07z", day),
        ("2029-03-04 05:06:07Z", day),
        ("  2029-03-04T05:06:07Z ", day),
        ("2029-03-04T05:06:07+00:00", day),
        ("2029-03-04T05:06:07-00:00", day),
        ("2029-03-04T05:06:07+0000", day),
        ("2029-03-04T05:06:07+00", day),
        ("2029-03-04T05:06:07Z[UTC]", day),
        ("2029-03-04T05:06:07", day),
        ("2029-03-04T06:06:07+01:00", day),
        ("2029-03-03T23:36:07-05:30", day),
        ("2029-03-05T05:05:07+23:59", day),
        ("2029-03-04T05:06:07.000000000000Z", day),
        ("2029-03-04T05:06:07.5Z", "2029-03-04T05:06:07.5Z"),
        ("2029-03-04T05:06:07,25Z", "2029-03-04T05:06:07.25Z"),
        ("2029-03-04T05:06:07.123456789999Z", "2029-03-04T05:06:07.123456789Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ("9999-12-30T21:59:59Z", "9999-12-30T21:59:59Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ] {
        let found = claim(&format!("{text:?}")).expect("a claim");
        assert_eq!(found.time, ClaimedTime::At(expected.parse().expect("a time")), "{text}");
        assert_eq!(found.zoneless, text == "2029-03-04T05:06:07", "{text}");
    }
    let of_seconds = |seconds| ClaimedTime::At(Time::from_second(seconds).expect("a time"));
    for (json, expected) in [
        (r#"{"seconds":1700000000,"nanos":0}"#, of_seconds(1_700_000_000)),
        (r#"{"seconds":"1700000000"}"#, of_seconds(1_700_000_000)),
        (r#"{"nanos":5}"#, ClaimedTime::At(Time::new(0, 5).expect("a time"))),
        ("{}", of_seconds(0)),
        (r#"{"seconds":253402300799}"#, ClaimedTime::BeyondCalendar),
        (r#"{"seconds":-62135596800}"#, of_seconds(-62_135_596_800)),
        (r#"{"seconds":-9223372036854775808}"#, ClaimedTime::At(Time::MIN)),
        (r#""9999-12-31T23:59:59Z""#, ClaimedTime::BeyondCalendar),
        (r#""9999-12-31T23:59:59""#, ClaimedTime::BeyondCalendar),
        (r#""9999-12-30T23:30:00-01:00""#, ClaimedTime::BeyondCalendar),
        (r#""+10000-02-29T00:00:00Z""#, ClaimedTime::BeyondCalendar),
        (r#""292277026596-12-04T15:30:07Z""#, ClaimedTime::BeyondCalendar),
        (r#""-292277-01-01T00:00:00Z""#, ClaimedTime::At(Time::MIN)),
        (r#""0000-00-00T00:00:00Z""#, ClaimedTime::At(Time::MIN)),
        (r#""0000-00-00 00:00:00""#, ClaimedTime::At(Time::MIN)),
    ] {
        assert_eq!(claim(json).expect("a claim").time, expected, "{json}");
    }
}

#[test]
fn what_is_absent_and_what_is_not_a_time() {
    assert_eq!(TimeClaim::read(None), None);
    for absent in ["null", r#""""#, r#""  ""#] {
        assert_eq!(claim(absent), None, "{absent}");
    }
    for json in [
        "1700000000",
        "true",
        "[]",
        r#"{"seconds":1.5}"#,
        r#"{"never":true}"#,
        r#"{"seconds":1,"zone":"CET"}"#,
        r#"{"seconds":1,"nanos":1000000000}"#,
        r#"{"seconds":1,"nanos":-1}"#,
        r#"{"seconds":"x"}"#,
        r#"{"seconds":99999999999999999999}"#,
        r#""never""#,
        r#""2029-03-04""#,
        r#""2029-03-04T05:06:07[Europe/Berlin]""#,
        r#""+10000-02-30T00:00:00Z""#,
        r#""1796097906000""#,
        r#""2029-3-4T05:06:07Z""#,
        r#""29-03-04T05:06:07Z""#,
        r#""2029-02-30T05:06:07Z""#,
        r#""2029-13-01T05:06:07Z""#,
        r#""2029-03-04T24:06:07Z""#,
        r#""2029-03-04T05:06:61Z""#,
        r#""2029-03-04T05:06:07.Z""#,
        r#""2029-03-04T05:06:07Zulu""#,
        r#""2029-03-04T05:06:07+1""#,
        r#""2029-03-04T05:06:07 UTC""#,
        r#""Sun, 04 Mar 2029 05:06:07 GMT""#,
        r#""\ud800""#,
    ] {
        assert_eq!(claim(json).expect("a claim").time, ClaimedTime::Unreadable, "{json}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}") {
        let _claim = TimeClaim::of_text(&text);
    }

    #[test]
    fn nor_one_that_looks_like_a_time(text in "[-+]?[0-9]{3,10}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{0,14})?[Zz]?([-+][0-9]{2}:?[0-9]{0,2})?") {
        let _claim = TimeClaim::of_text(&text);
    }

    #[test]
    fn nor_any_object(seconds: i64, nanos: i64) {
        let json = format!(r#"{{"seconds":{seconds},"nanos":{nanos}}}"#);
        let _claim = claim(&json).expect("a claim");
    }

    #[test]
    fn each_form_says_the_same(
        second in -62_135_596_800_i64..253_000_000_000, nanos in 0..1_000_000_000_i32, offset in -1439..1440_i32,
        colon: bool, lower: bool, t in "[Tt ]", more in "[0-9]{0,3}",
    ) {
        let at = Time::new(second, nanos).expect("a time");
        let east = jiff::SignedDuration::from_mins(i64::from(offset));
        let Ok(local) = at.checked_add(east) else { return Ok(()) };
        let local = format!("{local:.9}").replace('T', &t);
        let local = local.trim_end_matches('Z');
        prop_assume!(!local.starts_with('-'));
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs());
        let colon = if colon { ":" } else { "" };
        let zone = match (offset, lower) {
            (0, true) => "z".to_owned(),
            (0, false) => "Z".to_owned(),
            _ => format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60),
        };
        let claim = TimeClaim::of_text(&format!("{local}{more}{zone}"));
        prop_assert_eq!(claim, TimeClaim { time: ClaimedTime::At(at), zoneless: false });
    }
}
