//! Tokens that look due, expired or unborn the moment they are made: whatever a server says of time, a day has no more
//! tokens than their lifetime explains.

use std::time::Duration;

use influx_sandbox::{DateHeader, Expiry, Oddities, TimeOddity};
use jiff::SignedDuration;
use serde_json::json;

use super::*;

const MONTH: &str = "lifetime = \"30d\"\n";

/// A way to be odd about time.
struct Case {
    what: &'static str,
    oddities: Oddities,
    lifetime: &'static str,
    expiry: Expiry,
    /// How far the two times are apart that do not fit, at least and at most.
    apart: Option<(SignedDuration, SignedDuration)>,
    /// So many tokens of a name a day may have; where it is one, that is the first one.
    most: usize,
}

impl Case {
    /// A token that is good for a month all the same, with which nothing is to be done for a day.
    fn month(what: &'static str, oddities: Oddities) -> Self {
        Self { what, oddities, lifetime: MONTH, expiry: Expiry::Kept, apart: None, most: 1 }
    }

    /// The times that do not fit are this far apart, to a few minutes.
    fn apart(self, hours: i64) -> Self {
        let (apart, slack) = (SignedDuration::from_hours(hours), SignedDuration::from_mins(5));
        Self { apart: Some((apart - slack, apart + slack)), ..self }
    }

    /// Further than this.
    fn far_apart(self) -> Self {
        let years = |count: i64| SignedDuration::from_hours(count * 365 * 24);
        Self { apart: Some((years(5), years(10_000))), ..self }
    }
}

fn created(time: TimeOddity) -> Oddities {
    Oddities { created_at: Some(time), ..Oddities::default() }
}

fn expires(time: TimeOddity) -> Oddities {
    Oddities { expires_at: Some(time), ..Oddities::default() }
}

fn dated(hours: i64) -> Oddities {
    Oddities { date: DateHeader::Shift(SignedDuration::from_hours(hours)), ..Oddities::default() }
}

fn shift(hours: i64) -> TimeOddity {
    TimeOddity::Shift(SignedDuration::from_hours(hours))
}

fn constant(text: &str) -> TimeOddity {
    TimeOddity::Constant(json!(text))
}

/// A day on each of these servers, with a daemon and without one, on either product.
fn a_day_on(cases: impl Fn() -> Vec<Case>) {
    let clustered = cases().into_iter().map(|case| (&Kind::CLUSTERED, true, case));
    let dedicated = cases().into_iter().map(|case| (&Kind::DEDICATED, false, case));
    at_once(clustered.chain(dedicated), |(kind, by_daemon, case)| {
        let host = Host::on_with(kind, |options| options.expiry = case.expiry);
        host.sandbox.set_oddities(case.oddities.clone());
        host.list(&format!("{}{}", case.lifetime, tokens(NAMES)));
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        let context = format!("{} on {}", case.what, kind.name);
        let check = || match case.most {
            1 => setting.assert_first(NAMES, &context),
            most => setting.assert_at_most(most, &context),
        };
        setting.settle();
        check();
        setting.pass_a_day(check);
        if let Some((least, most)) = case.apart {
            setting.assert_told_apart(least, most, &context);
        }
    });
}

#[test]
fn a_wrong_time_of_creation_costs_no_token() {
    a_day_on(|| {
        vec![
            Case::month("created 40 days ago", created(shift(-40 * 24))).apart(40 * 24),
            Case::month("created in 1970", created(constant("1970-01-01T00:00:00Z"))).far_apart(),
            Case::month("created in the year 1", created(constant("0001-01-01T00:00:00Z"))).far_apart(),
        ]
    });
}

#[test]
fn a_creation_in_the_future_costs_no_token() {
    a_day_on(|| {
        vec![
            Case::month("created in five hours", created(shift(5))).apart(5),
            Case::month("created in 2100", created(constant("2100-01-01T00:00:00Z"))).far_apart(),
            Case::month("created at the end of the calendar", created(constant("9999-12-31T23:59:59Z"))),
        ]
    });
}

/// As where a server tells its local time as UTC, or a proxy has a clock of its own.
#[test]
fn a_short_lifetime_and_a_wrong_clock_make_no_storm() {
    let most = 1 + 3 + usize::try_from(STEPS).unwrap();
    a_day_on(|| {
        let short = |lifetime| move |case: Case| Case { lifetime, most, ..case };
        vec![
            short("lifetime = \"3h\"\n")(Case::month("created five hours ago", created(shift(-5))).apart(5)),
            short("lifetime = \"6h\"\n")(Case::month("a Date eight hours ahead", dated(8)).apart(8)),
            short("lifetime = \"6h\"\n")(Case::month("a Date three hours behind", dated(-3)).apart(3)),
        ]
    });
}

#[test]
fn a_date_that_is_wrong_costs_no_token() {
    a_day_on(|| {
        let absent = Oddities { date: DateHeader::Absent, ..Oddities::default() };
        vec![
            Case::month("a Date eight hours ahead", dated(8)).apart(8),
            Case::month("a Date three hours behind", dated(-3)).apart(3),
            Case {
                lifetime: "lifetime = \"30d\"\nlocal_clock = \"trusted\"\n",
                ..Case::month("no Date", absent)
            },
        ]
    });
}

#[test]
fn a_token_that_is_shown_as_expired_before_it_was_made_is_used() {
    a_day_on(|| {
        vec![
            Case::month("expired in 2020", expires(constant("2020-01-01T00:00:00Z"))).far_apart(),
            Case::month("expired in 1970", expires(constant("1970-01-01T00:00:00Z"))).far_apart(),
            Case::month("expired a month before it was made", expires(shift(-60 * 24))).apart(30 * 24),
        ]
    });
}

/// Not before it was made, and yet too soon to be of any use: there is no lifetime to explain more than one.
#[test]
fn a_token_that_is_due_the_moment_it_is_made_is_reported_and_not_replaced_without_end() {
    a_day_on(|| {
        let month = SignedDuration::from_hours(30 * 24);
        let moment = SignedDuration::from_secs(1);
        let soon = TimeOddity::Shift(moment - month);
        let dead = Expiry::After(Duration::from_secs(1));
        vec![
            Case { most: 4, ..Case::month("shown to expire in a second", expires(soon)) },
            Case { most: 4, expiry: dead, ..Case::month("expires in a second", Oddities::default()) },
            Case {
                most: 4,
                expiry: Expiry::After(Duration::ZERO),
                ..Case::month("expires at once", Oddities::default())
            },
        ]
    });
}

/// It is not the same as no Date at all: nothing says that the clock of this host may be believed instead.
#[test]
fn a_date_that_cannot_be_read_is_reported_and_costs_no_token() {
    let texts = ["yesterday", "01/12/2026 04:05", "Tue, 32 Dec 2026 04:05:06 GMT", "1796097906"];
    let cases = texts.into_iter().flat_map(|text| [(text, true), (text, false)]);
    at_once(cases, |(text, by_daemon)| {
        let date = DateHeader::Text(text.to_owned());
        let oddities = Oddities { date, ..Oddities::default() };
        let host = odd_host(&Kind::CLUSTERED, oddities, MONTH, NAMES);
        let setting = if by_daemon { Setting::with_daemon(host) } else { Setting::by_command(host) };
        setting.settle();
        setting.assert_at_most(1, text);
        let said = setting.said();
        assert!(said.contains(text), "{text}: nobody says what it is\n{said}");
        setting.host.sandbox.set_oddities(Oddities::default());
        setting.must_apply();
        setting.assert_first(NAMES, text);
        setting.host.shift_clock(SignedDuration::from_hours(12));
        setting
            .host
            .sandbox
            .set_oddities(Oddities { date: DateHeader::Text(text.to_owned()), ..Oddities::default() });
        setting.apply();
        setting.assert_first(NAMES, text);
    });
}
