//! The times that servers write, over every transport: RFC 3339 in all its forms, and the objects that influxctl prints.
//!
//! What a server says of a time is a claim. One that cannot be read costs the field, never the row or the secret beside it.

use std::borrow::Cow;

use jiff::{fmt::temporal::Pieces, tz::Offset};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::Time;

/// What is expected where a time is.
pub(super) const EXPECTED: &str = "an RFC 3339 time";

/// The digits of a fraction down to nanoseconds.
const NANOSECOND: usize = 9;
/// Stands for a year that is beyond the calendar while the rest is read: it may have a 29th of February.
const LEAP_YEAR: &str = "9996";
/// As programs write "none" that have no other word for it.
const ZERO_DATE: &str = "0000-00-00";

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
pub(super) struct TimeClaim {
    pub(super) time: ClaimedTime,
    /// It has no zone, and is read as UTC.
    pub(super) zoneless: bool,
}

impl TimeClaim {
    const UNREADABLE: Self = Self { time: ClaimedTime::Unreadable, zoneless: false };

    fn utc(time: ClaimedTime) -> Self {
        Self { time, zoneless: false }
    }

    /// The claim in a field; `None` where the field is missing, null or an empty text.
    pub(super) fn read(field: Option<&RawValue>) -> Option<Self> {
        let field = field?.get();
        match field.as_bytes().first() {
            Some(b'n') => None,
            Some(b'"') => match serde_json::from_str::<JsonText<'_>>(field) {
                Ok(JsonText(text)) if text.trim().is_empty() => None,
                Ok(JsonText(text)) => Some(Self::of_text(text.trim())),
                Err(_) => Some(Self::UNREADABLE),
            },
            Some(b'{') => Some(Self::utc(of_object(field).unwrap_or(ClaimedTime::Unreadable))),
            _ => Some(Self::UNREADABLE),
        }
    }

    /// RFC 3339, and what jiff reads besides. Without zone: UTC. A year that is not of four digits, as ISO 8601 has them, is
    /// beyond the calendar.
    pub(super) fn of_text(text: &str) -> Self {
        let claim = match beyond_four_digits(text) {
            Some((is_future, rest)) => {
                parse(&format!("{LEAP_YEAR}{rest}")).map(|claim| Self { time: beyond(is_future), ..claim })
            }
            None => parse(text),
        };
        claim.unwrap_or(Self::UNREADABLE)
    }
}

#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

/// As protobuf has it: `{"seconds":n,"nanos":n}`, of which either may be missing or be text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
    #[serde(borrow)]
    nanos: Option<&'a RawValue>,
}

fn of_object(field: &str) -> Option<ClaimedTime> {
    let Object { seconds, nanos } = serde_json::from_str(field).ok()?;
    let number = |value: Option<&RawValue>| {
        value.map_or(Some(0), |value| value.get().trim_matches('"').parse::<i64>().ok())
    };
    let (seconds, nanos) = (number(seconds)?, i32::try_from(number(nanos)?).ok()?);
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

fn parse(text: &str) -> Option<TimeClaim> {
    if text.starts_with(ZERO_DATE) {
        return Some(TimeClaim::utc(beyond(false)));
    }
    let text = cut_fraction(text);
    let pieces = Pieces::parse(text.as_bytes()).ok()?;
    let civil = pieces.date().to_datetime(pieces.time()?);
    let offset = pieces.to_numeric_offset();
    if offset.is_none() && pieces.time_zone_annotation().is_some() {
        return None;
    }
    let time = offset.unwrap_or(Offset::UTC).to_timestamp(civil);
    let time = time.map_or_else(|_| beyond(civil.year() > 0), ClaimedTime::At);
    Some(TimeClaim { time, zoneless: offset.is_none() })
}

/// Whether a year of more than four digits is ahead, and what follows it.
fn beyond_four_digits(text: &str) -> Option<(bool, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let length = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let (year, rest) = unsigned.split_at(length);
    let is_beyond = year.trim_start_matches('0').len() > 4 && rest.starts_with('-');
    is_beyond.then(|| (!text.starts_with('-'), rest))
}

/// What is finer than a nanosecond is cut off.
fn cut_fraction(text: &str) -> Cow<'_, str> {
    let fraction = text.find(['.', ',']).map_or(text.len(), |point| point + 1);
    let digits = text[fraction..].bytes().take_while(u8::is_ascii_digit).count();
    if digits <= NANOSECOND {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}{}", &text[..fraction + NANOSECOND], &text[fraction + digits..]))
}
