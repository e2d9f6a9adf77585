//! Durations as a list and a command line write them: a whole number and a unit.

use std::time::Duration;

/// What was expected, for faults.
pub(crate) const EXPECTED: &str = "a whole number and one of ms, s, m, h, d, as in \"90d\"";
/// The longest, a hundred years: sums with any date stay within what dates can be.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// `None` for anything else than `123` and a unit, and for more than a hundred years.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        "d" => Duration::from_secs(number.checked_mul(86_400)?),
        _ => return None,
    };
    (duration <= LONGEST).then_some(duration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_none(text in "\\PC{0,12}") {
            let _whatever = parse(&text);
        }

        #[test]
        fn seconds_are_seconds(seconds in 0_u64..1_000_000) {
            prop_assert_eq!(parse(&format!("{seconds}s")), Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn units() {
        assert_eq!(parse("90d"), Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "d", "1", "1.5h", "-1s", "1 h", "1w", "1H", "99999999999999999999s", "36501d"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
