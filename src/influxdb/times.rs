//! The times that servers write, over every transport: RFC 3339 in all its forms, and the objects that influxctl prints.
//!
//! What a server says of a time is a claim. One that cannot be read costs the field, never the row or the secret beside it.

use std::borrow::Cow;

use jiff::{civil::DateTime, tz::Offset};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rows::Row;
use crate::model::Time;

/// What is expected where a time is.
pub(super) const EXPECTED: &str = "an RFC 3339 time";

/// What stands in a field that holds a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimedTime {
    /// A moment that can be reckoned with.
    At(Time),
    /// One that no calendar here reaches, such as the last second of the year 9999: "never".
    BeyondCalendar,
    /// Something else.
    Unreadable,
}

/// A claim, and how it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) time: ClaimedTime,
    /// It has no zone, and is read as UTC.
    pub(super) zoneless: bool,
}

impl Claim {
    const UNREADABLE: Self = Self { time: ClaimedTime::Unreadable, zoneless: false };

    fn utc(time: ClaimedTime) -> Self {
        Self { time, zoneless: false }
    }

    /// The claim in a field; `None` where the field is missing, null or an empty text.
    pub(super) fn read(field: Option<&RawValue>) -> Option<Self> {
        let field = field?.get();
        match field.as_bytes().first() {
            Some(b'n') => None,
            Some(b'"') => match serde_json::from_str::<Text<'_>>(field) {
                Ok(Text(text)) if text.trim().is_empty() => None,
                Ok(Text(text)) => Some(Self::of_text(text.trim())),
                Err(_) => Some(Self::UNREADABLE),
            },
            Some(b'{') => Some(Self::utc(of_object(field).unwrap_or(ClaimedTime::Unreadable))),
            _ => Some(Self::UNREADABLE),
        }
    }

    /// RFC 3339, section 5.6: a date, `T`, `t` or a space, a time with a fraction of any length, a zone. Without zone: UTC.
    /// Years of more than four digits, as ISO 8601 has them, are beyond the calendar.
    pub(super) fn of_text(text: &str) -> Self {
        parse(text).unwrap_or(Self::UNREADABLE)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// As protobuf has it: `{"seconds":n,"nanos":n}`, of which either may be missing or be text.
fn of_object(field: &str) -> Option<ClaimedTime> {
    let object = Row::read(field).ok()?;
    let number = |key| match object.get(&[key]) {
        None => Some(0),
        Some(value) => value.get().trim_matches('"').parse::<i64>().ok(),
    };
    let (seconds, nanos) = (number("seconds")?, i32::try_from(number("nanos")?).ok()?);
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    Some(match Time::new(seconds, nanos) {
        Ok(at) => ClaimedTime::At(at),
        Err(_) => beyond(seconds > 0),
    })
}

/// Outside of the calendar here: never, or before everything.
fn beyond(is_future: bool) -> ClaimedTime {
    if is_future { ClaimedTime::BeyondCalendar } else { ClaimedTime::At(Time::MIN) }
}

fn parse(text: &str) -> Option<Claim> {
    let mut rest = Scanner(text.as_bytes());
    let is_negative = rest.takes(b"-");
    let _plus = !is_negative && rest.takes(b"+");
    let year = rest.digits(4, 9)?;
    let month = rest.after(b"-")?;
    let day = rest.after(b"-")?;
    if !rest.takes(b"Tt _") {
        return None;
    }
    let hour = rest.digits(2, 2)?;
    let minute = rest.after(b":")?;
    let second = rest.after(b":")?;
    let nanosecond = if rest.takes(b".,") { rest.fraction()? } else { 0 };
    let offset = rest.offset()?;
    if !rest.0.is_empty() {
        return None;
    }
    // A leap second is the one after it; a year that is too large is checked as one with a 29th of February.
    let leap = i64::from(second == 60);
    let year = if is_negative { -year } else { year };
    let checked = i16::try_from(year).ok().filter(|year| (-9999..=9999).contains(year)).unwrap_or(9996);
    let small = |number: i32| i8::try_from(number).ok();
    let civil = DateTime::new(
        checked,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second - i32::from(second == 60))?,
        nanosecond,
    )
    .ok()?;
    let time = match Offset::from_seconds(offset.unwrap_or(0)).ok()?.to_timestamp(civil) {
        Ok(at) if i32::from(checked) == year => {
            let at = at.checked_add(jiff::SignedDuration::from_secs(leap));
            at.map_or(ClaimedTime::BeyondCalendar, ClaimedTime::At)
        }
        _ => beyond(year > 0),
    };
    Some(Claim { time, zoneless: offset.is_none() })
}

/// What is left to be read of a time.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    /// The next byte, if it is one of these.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if bytes.contains(first) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A number of that many digits.
    fn digits(&mut self, least: usize, most: usize) -> Option<i32> {
        let length = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
    }

    /// Two digits after this.
    fn after(&mut self, separator: &[u8]) -> Option<i32> {
        if self.takes(separator) { self.digits(2, 2) } else { None }
    }

    /// Nanoseconds; what is finer is cut off.
    fn fraction(&mut self) -> Option<i32> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let nine = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        (length > 0).then(|| nine.fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
    }

    /// Seconds east of UTC: `Z`, `+01:00`, `+0100`, `+01`; `None` inside where there is no zone.
    fn offset(&mut self) -> Option<Option<i32>> {
        // What separates it in forms that people write.
        let _space = self.takes(b" ");
        if self.0.is_empty() {
            return Some(None);
        }
        if self.takes(b"Zz") {
            return Some(Some(0));
        }
        if self.0.eq_ignore_ascii_case(b"UTC") || self.0.eq_ignore_ascii_case(b"GMT") {
            self.0 = &[];
            return Some(Some(0));
        }
        let sign = if self.takes(b"-") { -1 } else { 1 };
        if sign == 1 && !self.takes(b"+") {
            return None;
        }
        let hours = self.digits(2, 2)?;
        let has_colon = self.takes(b":");
        let minutes = if has_colon || !self.0.is_empty() { self.digits(2, 2)? } else { 0 };
        (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
    }
}
