//! Durations as a list and a command line write them: a whole number and a unit.

use std::time::Duration;

/// What was expected, for faults.
pub(crate) const EXPECTED: &str = "a whole number and one of ms, s, m, h, d, as in \"90d\"";
/// The longest, a hundred years: sums with any date stay within what dates can be.
pub(crate) const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);
/// The units, in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDuration {
    /// It is not a whole number and a unit.
    Malformed,
    /// It is longer than [`LONGEST`].
    TooLong,
}

/// A whole number and a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, NotDuration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotDuration::Malformed)?;
    if number.is_empty() {
        return Err(NotDuration::Malformed);
    }
    // Only digits: what cannot be a number is too large for one.
    let millis = number.parse().ok().and_then(|number: u64| number.checked_mul(*unit));
    let duration = Duration::from_millis(millis.ok_or(NotDuration::TooLong)?);
    if duration <= LONGEST { Ok(duration) } else { Err(NotDuration::TooLong) }
}

/// A duration as [`parse`] reads it, in whole milliseconds.
pub(crate) fn render(duration: Duration) -> String {
    let millis = duration.as_millis();
    let divides = |(_, unit): &&(&str, u64)| millis.is_multiple_of(u128::from(*unit));
    match UNITS.iter().find(divides) {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(*unit)),
        _ => "0s".to_owned(),
    }
}

/// What was probably meant: `90 days`, `1h30m`, `1.5h`, `2w`.
pub(crate) fn guess(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (word, after) = split(after.trim_start(), |c| c.is_ascii_alphabetic());
        millis = millis.checked_add(times(number, unit(word)?)?)?;
        rest = after.trim_start_matches([' ', ',']);
    }
    let duration = Duration::from_millis(millis);
    (!duration.is_zero() && duration <= LONGEST).then(|| render(duration))
}

/// The unit that a word means, in milliseconds.
fn unit(word: &str) -> Option<u64> {
    const DAY: u64 = UNITS[0].1;
    Some(match word {
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "mo" | "month" | "months" => 30 * DAY,
        "y" | "yr" | "year" | "years" => 365 * DAY,
        "h" | "hr" | "hrs" | "hour" | "hours" => UNITS[1].1,
        "m" | "min" | "mins" | "minute" | "minutes" => UNITS[2].1,
        "s" | "sec" | "secs" | "second" | "seconds" => UNITS[3].1,
        "ms" | "msec" | "millisecond" | "milliseconds" => UNITS[4].1,
        _ => return None,
    })
}

/// A number with at most three decimals, times a unit; `None` where no whole number of milliseconds comes of it.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let places = u32::try_from(decimals.len()).ok().filter(|places| (1..=3).contains(places))?;
    let fraction = decimals.parse::<u64>().ok()?.checked_mul(unit)?;
    let scale = 10_u64.pow(places);
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    fraction.is_multiple_of(scale).then(|| whole.checked_add(fraction / scale)).flatten()
}

/// The part that consists of such characters, and the rest.
fn split(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c: char| !of(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_none(text in "\\PC{0,12}") {
            let _whatever = parse(&text);
            let _whatever = guess(&text);
        }

        #[test]
        fn seconds_are_seconds(seconds in 0_u64..1_000_000) {
            prop_assert_eq!(parse(&format!("{seconds}s")), Ok(Duration::from_secs(seconds)));
        }

        #[test]
        fn what_is_rendered_is_read_again(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&render(duration)), Ok(duration));
        }

        #[test]
        fn a_guess_is_a_duration(text in "[0-9.]{1,4} ?(d|day|weeks|h|min|m|sec|ms|years|x)( ?[0-9]{1,2}m)?") {
            if let Some(guess) = guess(&text) {
                prop_assert!(parse(&guess).is_ok(), "{} → {}", text, guess);
            }
        }
    }

    #[test]
    fn units() {
        assert_eq!(parse("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "d", "1", "1.5h", "-1s", "1 h", "1w", "1H", "99999999999999999999", "٣d"] {
            assert_eq!(parse(wrong), Err(NotDuration::Malformed), "{wrong:?}");
        }
        for long in ["36501d", "99999999999999999999s", "9999999999999999d"] {
            assert_eq!(parse(long), Err(NotDuration::TooLong), "{long:?}");
        }
    }

    #[test]
    fn what_was_meant() {
        for (text, meant) in [
            ("90 days", Some("90d")),
            ("90D", Some("90d")),
            (" 90d ", Some("90d")),
            ("1h30m", Some("90m")),
            ("1.5h", Some("90m")),
            ("1 h, 30 min", Some("90m")),
            ("2w", Some("14d")),
            ("1y", Some("365d")),
            ("0.5s", Some("500ms")),
            ("90", None),
            ("-1s", None),
            ("soon", None),
            ("0 days", None),
            ("1000 years", None),
            ("1.0001s", None),
        ] {
            assert_eq!(guess(text).as_deref(), meant, "{text:?}");
        }
    }
}
