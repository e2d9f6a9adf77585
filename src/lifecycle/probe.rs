//! The protocol of a probe: what to ask, when to ask again, when it is over. Pure: it neither asks nor waits.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    influxdb::{Check, Plane, Verdict},
    model::{Action, Database, Grants, Probe},
};

/// After the deadline a token is asked about at most this often.
const SLOWEST: Duration = Duration::from_secs(300);

/// The questions that a token with these grants must be accepted for: every database, reads on the query plane,
/// writes on the write plane. `*` is asked about on `stand_in`; without one nothing can be asked about it.
#[must_use]
pub(super) fn checks(grants: &Grants, stand_in: Option<&str>) -> BTreeSet<Check> {
    grants
        .iter()
        .filter_map(|grant| {
            let database = match &grant.database {
                Database::Named(name) => name.as_str(),
                Database::All => stand_in?,
            };
            let plane = match grant.action {
                Action::Read => Plane::Query,
                Action::Write => Plane::Write,
            };
            Some(Check { plane, database: database.to_owned() })
        })
        .collect()
}

/// What was answered instead of an acceptance.
#[must_use]
pub(super) fn objection(check: &Check, verdict: &Verdict) -> Option<String> {
    let Check { plane, database } = check;
    match verdict {
        Verdict::Accepted => None,
        Verdict::Refused { status } => Some(format!("{status} for {plane} on {database:?}")),
        Verdict::Unreachable { why, .. } | Verdict::Misconfigured { why } => {
            Some(format!("{why} ({plane} on {database:?})"))
        }
    }
}

/// A probe under way.
#[derive(Clone, Debug)]
pub(super) struct Probing {
    planes: Vec<PlaneState>,
    settings: Arc<Probe>,
    wait: Duration,
}

#[derive(Clone, Debug)]
struct PlaneState {
    checks: Vec<Check>,
    in_a_row: u32,
}

/// What came of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// Every plane has accepted the token as often as is asked: the probe is over.
    Accepted,
    /// All that was asked was accepted; once more after this.
    Accepting(Duration),
    /// Something was refused; the next try is after this.
    Refused(Duration, String),
    /// Nothing was refused, but not everything was answered.
    Unanswered(Duration, String),
}

impl Probing {
    /// `None` where there is nothing to ask.
    #[must_use]
    pub(super) fn new(checks: BTreeSet<Check>, settings: Arc<Probe>) -> Option<Self> {
        let planes: Vec<PlaneState> = [Plane::Write, Plane::Query]
            .into_iter()
            .map(|plane| checks.iter().filter(|check| check.plane == plane).cloned().collect())
            .filter(|checks: &Vec<Check>| !checks.is_empty())
            .map(|checks| PlaneState { checks, in_a_row: 0 })
            .collect();
        let wait = settings.interval / 5;
        (!planes.is_empty()).then_some(Self { planes, settings, wait })
    }

    /// What to ask now: the planes that have not accepted often enough.
    #[must_use]
    pub(super) fn round(&self) -> Vec<Check> {
        self.planes
            .iter()
            .filter(|plane| plane.in_a_row < self.settings.successes)
            .flat_map(|plane| plane.checks.iter().cloned())
            .collect()
    }

    /// Takes the answers to a round. A refusal starts its plane's count again; an answer that says nothing leaves
    /// the count as it is.
    pub(super) fn hear(&mut self, answers: &[(Check, Verdict)], overdue: bool) -> Round {
        let mut refused = None;
        let mut unanswered = None;
        let mut asked_to_wait = Duration::ZERO;
        for plane in &mut self.planes {
            let mut all = plane.in_a_row < self.settings.successes;
            for (check, verdict) in answers.iter().filter(|(check, _)| plane.checks.contains(check)) {
                let Some(what) = objection(check, verdict) else { continue };
                all = false;
                if let Verdict::Refused { .. } = verdict {
                    plane.in_a_row = 0;
                    refused = Some(what);
                } else {
                    unanswered = Some(what);
                }
                if let Verdict::Unreachable { retry_after: Some(wait), .. } = verdict {
                    asked_to_wait = asked_to_wait.max(*wait).min(SLOWEST);
                }
            }
            if all {
                plane.in_a_row += 1;
            }
        }
        match (refused, unanswered) {
            (Some(what), _) => Round::Refused(self.back_off(overdue).max(asked_to_wait), what),
            (None, Some(what)) => Round::Unanswered(self.back_off(overdue).max(asked_to_wait), what),
            (None, None) if self.round().is_empty() => Round::Accepted,
            (None, None) => {
                self.wait = self.settings.interval / 5;
                Round::Accepting(self.settings.interval)
            }
        }
    }

    /// interval/5, doubling to 3 × interval; past the deadline on to five minutes.
    fn back_off(&mut self, overdue: bool) -> Duration {
        let cap = if overdue { SLOWEST.max(self.settings.interval * 3) } else { self.settings.interval * 3 };
        let wait = self.wait.min(cap);
        self.wait = (wait * 2).min(cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Database {
        name.parse().expect("a database")
    }

    fn probing() -> Probing {
        let checks = checks(&Grants::of([named("a"), named("b")], [named("a")]), None);
        Probing::new(checks, Arc::default()).expect("something to ask")
    }

    #[test]
    fn asks_for_every_database_and_action() {
        let asked: Vec<String> =
            probing().round().iter().map(|check| format!("{} {}", check.plane, check.database)).collect();
        assert_eq!(asked, ["write a", "query a", "query b"]);
        assert_eq!(checks(&Grants::of([Database::All], []), None).len(), 0);
        assert_eq!(checks(&Grants::of([Database::All], []), Some("x")).len(), 1);
    }

    proptest! {
        /// Whatever is answered: accepted means that the last `successes` answers of each plane were acceptances.
        #[test]
        fn accepted_only_after_a_row_of_acceptances(answers in prop::collection::vec((0_u8..4, 0_u8..4), 1..60)) {
            let mut probing = probing();
            let mut rows = [0_u32; 2];
            for (write, query) in answers {
                let verdict = |n: u8| match n {
                    0 | 1 => Verdict::Accepted,
                    2 => Verdict::Refused { status: 401 },
                    _ => Verdict::Unreachable { why: "no answer".into(), retry_after: None },
                };
                let asked = probing.round();
                let answers: Vec<_> = asked
                    .iter()
                    .map(|check| (check.clone(), verdict(if check.plane == Plane::Write { write } else { query })))
                    .collect();
                for (row, (plane, n)) in rows.iter_mut().zip([(Plane::Write, write), (Plane::Query, query)]) {
                    if asked.iter().any(|check| check.plane == plane) {
                        match n { 0 | 1 => *row += 1, 2 => *row = 0, _ => {} }
                    }
                }
                let round = probing.hear(&answers, false);
                prop_assert_eq!(round == Round::Accepted, rows == [3, 3]);
                if round == Round::Accepted { break; }
            }
        }
    }

    #[test]
    fn waits_grow_to_three_intervals_and_past_the_deadline_to_five_minutes() {
        let mut probing = probing();
        let mut refuse = |overdue| {
            let answers: Vec<_> =
                probing.round().into_iter().map(|check| (check, Verdict::Refused { status: 401 })).collect();
            match probing.hear(&answers, overdue) {
                Round::Refused(wait, _) => wait.as_secs(),
                other => panic!("{other:?}"),
            }
        };
        let before: Vec<u64> = (0..6).map(|_| refuse(false)).collect();
        assert_eq!(before, [1, 2, 4, 8, 15, 15]);
        let after: Vec<u64> = (0..6).map(|_| refuse(true)).collect();
        assert_eq!(after, [15, 30, 60, 120, 240, 300]);
    }
}
