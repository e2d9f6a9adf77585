//! Servers that ask to be left alone for long: no longer than it can wait.

use hyper::Method;
use influx_sandbox::{DateHeader, Effect, Fault, Oddities};
use jiff::{SignedDuration, Timestamp};

use super::*;

/// The longest wait where a name has no current token, and what a slow machine adds.
const CAP: SignedDuration = SignedDuration::from_secs(300 + 20);

/// The longest at all.
const LONGEST_CAP: SignedDuration = SignedDuration::from_secs(3600 + 20);

/// Wishes, a day and more.
const WISHES: [&str; 7] = [
    "86400",
    "604800",
    "4294967296",
    "18446744073709551616",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Wed, 02 Dec 2099 00:00:00 GMT",
    "86400.5",
];

fn wish(status: u16, wish: &str) -> Effect {
    let headers = vec![
        ("retry-after".to_owned(), wish.to_owned()),
        ("location".to_owned(), "https://new.example.com/".to_owned()),
    ];
    Effect::Status { status, headers, body: "{\"message\":\"later\"}".to_owned() }
}

fn cases() -> impl Iterator<Item = (&'static str, u16)> {
    WISHES.into_iter().zip([503, 429, 502, 308].into_iter().cycle())
}

/// The last moment that a text names.
fn last_time(text: &str) -> Option<Timestamp> {
    text.split([' ', ',', ';', '(', ')']).filter_map(|word| word.parse().ok()).max()
}

fn assert_soon(at: Timestamp, cap: SignedDuration, context: &str) {
    let wait = at.duration_since(Timestamp::now());
    assert!(wait <= cap, "{context}: {wait:#} from now");
}

#[test]
fn a_list_is_asked_for_again_within_the_cap_whatever_the_server_wants() {
    at_once(cases(), |(text, status)| {
        let context = format!("{status}, {text}");
        let host = Host::new();
        host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", wish(status, text)));
        host.list_of(NAMES);
        let setting = Setting::with_daemon(host);
        let server = || setting.host.status()["servers"][0].clone();
        wait_until("a failure", || server()["asked_again"].is_string(), || setting.log());
        let again = server()["asked_again"].as_str().unwrap().parse().unwrap();
        assert_soon(again, CAP, &context);
        // It is still asked when a person wants it, and made up for.
        setting.host.sandbox.clear_faults();
        setting.must_apply();
        setting.assert_first(NAMES, &context);
    });
}

#[test]
fn a_creation_is_tried_again_within_the_cap_whatever_the_server_wants() {
    at_once(cases(), |(text, status)| {
        let context = format!("{status}, {text}");
        let host = Host::new();
        host.sandbox.fault(Fault::on(Some(Method::POST), "/api/v0/tokens", wish(status, text)));
        host.list_of(2);
        let setting = Setting::with_daemon(host);
        let waits = || setting.host.status_of("t0")["waits"].as_str().unwrap_or_default().to_owned();
        let is_told = || waits().contains(&status.to_string()) && last_time(&waits()).is_some();
        wait_until("a failure", is_told, || format!("{}\n{}", waits(), setting.log()));
        assert_soon(last_time(&waits()).unwrap(), CAP, &context);
    });
}

#[test]
fn where_all_have_tokens_that_never_expire_it_waits_an_hour_at_most() {
    at_once(cases(), |(text, status)| {
        let context = format!("{status}, {text}");
        let host = Host::new();
        host.list_of(2);
        let setting = Setting::with_daemon(host);
        setting.settle();
        setting.host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", wish(status, text)));
        setting.apply();
        let server = || setting.host.status()["servers"][0].clone();
        wait_until("a failure", || server()["asked_again"].is_string(), || setting.log());
        assert_soon(server()["asked_again"].as_str().unwrap().parse().unwrap(), LONGEST_CAP, &context);
    });
}

/// A date to wait for, measured by a clock that a proxy has and the server has not.
#[test]
fn a_date_to_wait_for_and_a_clock_that_is_wrong_make_no_long_wait() {
    let hours = [-24 * 365, -8, 8, 24 * 365];
    at_once(hours, |hours| {
        let date = DateHeader::Shift(SignedDuration::from_hours(hours));
        let oddities = Oddities { date, ..Oddities::default() };
        let host = odd_host(&Kind::CLUSTERED, oddities, "", 2);
        let text = "Fri, 01 Jan 2100 00:00:00 GMT";
        host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", wish(503, text)));
        let setting = Setting::with_daemon(host);
        let server = || setting.host.status()["servers"][0].clone();
        wait_until("a failure", || server()["asked_again"].is_string(), || setting.log());
        let again = server()["asked_again"].as_str().unwrap().parse().unwrap();
        assert_soon(again, CAP, &format!("{hours} hours"));
    });
}

/// A probe has a deadline, and a command that waits for it ends with that.
#[test]
fn a_data_plane_that_wants_to_be_left_alone_holds_up_no_command() {
    at_once(WISHES.into_iter().zip([503, 429].into_iter().cycle()), |(text, status)| {
        let context = format!("{status}, {text}");
        let host = Host::new();
        host.sandbox.set_oddities(Oddities { data: Some(wish(status, text)), ..Oddities::default() });
        let probe = "probe = { interval = \"20ms\", deadline = \"1s\" }\n";
        host.list(&format!("[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n{probe}"));
        let setting = Setting::by_command(host);
        let ran = setting.apply();
        assert_eq!(ran.code, Some(4), "{context}: {ran:?}");
        assert!(ran.stderr.contains(&status.to_string()), "{context}: {ran:?}");
        setting.host.sandbox.set_oddities(Oddities::default());
        setting.must_apply();
        setting.host.assert_settled("t0");
    });
}
