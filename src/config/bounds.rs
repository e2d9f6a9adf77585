//! The numbers of a list: what each may be.

use std::{ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use super::{
    excerpt::Excerpt,
    section::{Located, Section},
};
use crate::duration::{self as durations, EXPECTED, NotDuration};

/// A key whose value is a number, and what that may be.
pub(super) struct Bounds<T> {
    pub(super) key: &'static str,
    least: T,
    most: T,
}

const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// More often is a load for the server, and shows nothing sooner: what falls due has a time of its own.
pub(super) const RECONCILE: Bounds<Duration> = of_seconds("reconcile", 10 * SECOND..=7 * DAY);
/// A stop of the daemon awaits what is under way for as long.
pub(super) const TIMEOUT: Bounds<Duration> = of_seconds("timeout", SECOND..=10 * MINUTE);
/// A start reports a plugin that hangs before systemd gives it up, after 90 s.
pub(super) const PLUGIN_TIMEOUT: Bounds<Duration> = of_seconds("plugin_timeout", SECOND..=MINUTE);
/// The most is a hundred years: sums with any date stay within what dates can be.
pub(super) const LIFETIME: Bounds<Duration> = of_seconds("lifetime", MINUTE..=36_500 * DAY);
pub(super) const OVERLAP: Bounds<Duration> = of_seconds("overlap", 0..=365 * DAY);
pub(super) const OVERLAP_CAP: Bounds<Duration> = of_seconds("overlap_cap", 0..=3650 * DAY);
pub(super) const GRACE: Bounds<Duration> = of_seconds("grace", 0..=365 * DAY);
pub(super) const INTERVAL: Bounds<Duration> =
    Bounds { key: "interval", least: Duration::from_millis(10), most: Duration::from_secs(HOUR) };
pub(super) const DEADLINE: Bounds<Duration> =
    Bounds { key: "deadline", least: Duration::from_millis(10), most: Duration::from_secs(DAY) };
pub(super) const SUCCESSES: Bounds<u32> = Bounds { key: "successes", least: 1, most: 100 };

const fn of_seconds(key: &'static str, seconds: RangeInclusive<u64>) -> Bounds<Duration> {
    Bounds { key, least: Duration::from_secs(*seconds.start()), most: Duration::from_secs(*seconds.end()) }
}

/// A duration within its bounds.
pub(super) fn duration(section: &mut Section<'_>, bounds: &Bounds<Duration>) -> Option<Located<Duration>> {
    let value = section.get(bounds.key)?;
    let (key, span) = (section.key(bounds.key), value.span());
    let DeValue::String(text) = value.get_ref() else {
        let what = format!("expected {EXPECTED}, found {}", value.get_ref().type_str());
        section.faults.add(span, &key, what);
        return None;
    };
    let (least, most) = (durations::render(bounds.least), durations::render(bounds.most));
    match durations::parse(text) {
        Ok(value) if value < bounds.least => {
            section.faults.add(span, &key, format!("expected at least {least}, found {}", Excerpt(text)));
        }
        Ok(value) if value <= bounds.most => return Some(Located { value, span }),
        Ok(_) | Err(NotDuration::TooLong) => {
            section.faults.add(span, &key, format!("expected at most {most}, found {}", Excerpt(text)));
        }
        Err(NotDuration::Malformed) => {
            let what = format!("expected {EXPECTED}, found {}", Excerpt(text));
            let hint = durations::guess(text).map(|guess| format!("write \"{guess}\""));
            section.faults.push(span, &key, what, hint);
        }
    }
    None
}

/// A whole number within its bounds.
pub(super) fn count(section: &mut Section<'_>, bounds: &Bounds<u32>) -> Option<u32> {
    let Bounds { key, least, most } = bounds;
    let value = section.get(key)?;
    let DeValue::Integer(number) = value.get_ref() else {
        let what = format!("expected {least} to {most}, found {}", value.get_ref().type_str());
        section.faults.add(value.span(), &section.key(key), what);
        return None;
    };
    // One that no integer holds is beyond the bounds too.
    let count = u32::from_str_radix(number.as_str(), number.radix()).ok();
    let count = count.filter(|count| (least..=most).contains(&count));
    if count.is_none() {
        section.faults.add(
            value.span(),
            &section.key(key),
            format!("expected {least} to {most}, found {number}"),
        );
    }
    count
}
