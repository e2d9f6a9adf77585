//! By which moment a list is judged (rule 10).

use std::time::Duration;

use crate::model::{Held, Known, ServerDate, Time, before, since};

/// More than this apart, the server's Date and the local clock contradict each other.
const APART: Duration = Duration::from_secs(600);

/// The moment this program was built after: no clock that is right shows an earlier one. 2026-01-01.
const BUILT: i64 = 1_767_225_600;

/// Why nothing can be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// The server tells another time than a clock that is kept right.
    #[error(
        "the server's date {date} and this host's synchronised clock {local} are more than ten minutes apart"
    )]
    Contradiction {
        /// The server's.
        date: Time,
        /// Ours.
        local: Time,
    },
    /// The server tells no date and the local clock shows a time that has passed.
    #[error("the server sends no date, and this host's clock ({local}) is behind what is sealed already")]
    Behind {
        /// Ours.
        local: Time,
    },
    /// The server's date is not one, and the local clock may be wrong.
    #[error(
        "the server's Date header {text:?} is not a date, and this host's clock ({local}) is not synchronised"
    )]
    Unreadable {
        /// The header's.
        text: String,
        /// Ours.
        local: Time,
    },
    /// The server tells no date and the local clock may be wrong.
    #[error("the server sends no date, and this host's clock ({local}) is not known to be right")]
    Untold {
        /// Ours.
        local: Time,
    },
}

impl crate::hint::Hint for NoTime {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Contradiction { .. } => "nothing is minted or revoked until they agree".to_owned(),
            Self::Behind { .. } => {
                "set this host's clock; it may be ten minutes behind the server's at most".to_owned()
            }
            Self::Unreadable { .. } => {
                "check the proxies between this host and the server, or synchronise the clock".to_owned()
            }
            Self::Untold { .. } => {
                "synchronise the clock, or set `local_clock = \"trusted\"` in [lifecycle] if it is kept right by other means"
                    .to_owned()
            }
        })
    }
}

/// The moment to judge a list by: its Date, or the local clock where there is none and it can be believed.
///
/// # Errors
/// Nothing can be judged now.
pub fn judging_time(
    date: &ServerDate,
    local: Time,
    synchronised: bool,
    trusted: bool,
    latest_sealed: Option<Time>,
) -> Result<Time, NoTime> {
    match date {
        &ServerDate::At(date) => {
            if synchronised && !agree(date, local) {
                Err(NoTime::Contradiction { date, local })
            } else {
                Ok(date)
            }
        }
        ServerDate::Unreadable(text) if !synchronised => {
            Err(NoTime::Unreadable { text: text.clone(), local })
        }
        _ if latest_sealed.is_some_and(|sealed| local <= sealed) => Err(NoTime::Behind { local }),
        _ if local.as_second() > BUILT && (synchronised || trusted) => Ok(local),
        _ => Err(NoTime::Untold { local }),
    }
}

/// Whether two clocks tell the same time, as far as it matters.
pub(super) fn agree(one: Time, other: Time) -> bool {
    since(one, other).max(since(other, one)) <= APART
}

/// The latest moment in any record that has surely passed. When a token was made the server's clock has told, which need
/// not agree with this host's to the second.
pub(super) fn latest_sealed<'a>(records: impl Iterator<Item = &'a Known>) -> Option<Time> {
    records
        .filter_map(Known::record)
        .flat_map(|record| {
            let created = record.held().map(|held: &Held| before(held.created_at, APART));
            let since = record.retiring.iter().map(|retiring| retiring.since);
            let revoked = record.revoked.iter().map(|revoked| revoked.at);
            created.chain(since).chain(revoked).chain(record.promoted_at)
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerDate::{Absent, At, Unreadable};

    fn at(second: i64) -> Time {
        Time::from_second(BUILT + second).expect("a time")
    }

    #[test]
    fn the_servers_date_wins_over_a_clock_that_nobody_keeps() {
        let boot_1970 = Time::UNIX_EPOCH;
        assert_eq!(judging_time(&At(at(9)), boot_1970, false, false, None), Ok(at(9)));
        assert!(judging_time(&Absent, boot_1970, true, true, None).is_err(), "before this program was built");
    }

    #[test]
    fn a_date_far_from_a_kept_clock_judges_nothing() {
        assert!(judging_time(&At(at(0)), at(601), true, false, None).is_err());
        assert!(judging_time(&At(at(601)), at(0), true, false, None).is_err());
        assert_eq!(judging_time(&At(at(0)), at(599), true, false, None), Ok(at(0)));
        assert_eq!(judging_time(&At(at(0)), at(601), false, false, None), Ok(at(0)));
    }

    #[test]
    fn without_a_date_the_clock_must_be_kept_and_not_behind_what_was_sealed() {
        assert_eq!(judging_time(&Absent, at(9), true, false, Some(at(8))), Ok(at(9)));
        assert_eq!(judging_time(&Absent, at(9), false, true, Some(at(8))), Ok(at(9)));
        assert!(judging_time(&Absent, at(9), false, false, Some(at(8))).is_err());
        let behind = judging_time(&Absent, at(9), true, true, Some(at(10)));
        assert_eq!(behind, Err(NoTime::Behind { local: at(9) }));
    }

    #[test]
    fn a_date_that_cannot_be_read_is_not_none_at_all() {
        let unreadable = Unreadable("yesterday".to_owned());
        assert_eq!(
            judging_time(&unreadable, at(9), true, false, None),
            Ok(at(9)),
            "a clock that is kept right tells"
        );
        let trusted = judging_time(&unreadable, at(9), false, true, None);
        let error = NoTime::Unreadable { text: "yesterday".to_owned(), local: at(9) };
        assert!(error.to_string().contains(r#"Date header "yesterday" is not a date"#), "{error}");
        assert_eq!(trusted, Err(error), "somebody has altered the answer");
    }
}
