//! Who may still hold a former value (rule 9): asked for before each plan, and told of when it has had its time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Keeper;
use crate::{
    deliver::Deliver,
    influxdb::Server,
    lifecycle::{Clock, plan::DAY},
    model::{Holders, Known, Record, RetiringState, Time, after},
    store::Store,
};

/// So many are told of one by one; `status` tells of more.
const MOST_TOLD: usize = 10;

/// What the log was told of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Since when the former value is one.
    since: Time,
    /// When, on the boot-time clock.
    at: Duration,
}

impl Told {
    /// Whether that is enough for now.
    fn will_do(self, since: Time, now: Duration) -> bool {
        self.since == since && now.saturating_sub(self.at) < DAY
    }
}

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Asks the deliveries, for the names that have a former token here.
    pub(super) async fn ask_for_holders(&self) {
        let mut found = BTreeMap::new();
        let known = self.shared.ledger.known();
        let records = known.values().filter_map(Known::record);
        let overlapping: Vec<&Record> =
            records.filter(|record| self.overlaps(record).next().is_some()).collect();
        for record in overlapping {
            let holders = self.shared.deliver.holders(&record.name, record.generation).await;
            self.tell_of_holders(record, &holders);
            found.insert(record.name.clone(), holders);
        }
        let mut state = self.state();
        state.told.retain(|name, _| found.contains_key(name));
        state.evidence.holders = found;
    }

    /// Since when each former token of this server is one.
    fn overlaps(&self, record: &Record) -> impl Iterator<Item = Time> {
        let here = record.retiring.iter().filter(|retiring| retiring.held.server == self.key);
        here.filter(|retiring| retiring.state == RetiringState::Overlap).map(|retiring| retiring.since)
    }

    /// Once a former value has had its least time, and daily from then on: whoever has not picked up the new one by
    /// then will hardly do so by itself.
    fn tell_of_holders(&self, record: &Record, holders: &Holders) {
        let (now, at) = (self.now(), self.shared.clock.since_boot());
        let over = |since: &Time| after(*since, self.settings.lifecycle.overlap) <= now;
        let Some(since) = self.overlaps(record).filter(over).max() else { return };
        if holders.known.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.told.get(&record.name).is_some_and(|told| told.will_do(since, at)) {
            return;
        }
        state.told.insert(record.name.clone(), Told { since, at });
        drop(state);
        tracing::warn!(name = %record.name, "a former value may still be held: {}", in_words(&holders.known));
    }
}

fn in_words(known: &BTreeSet<String>) -> String {
    let some: Vec<&str> = known.iter().take(MOST_TOLD).map(String::as_str).collect();
    let more = known.len() - some.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", some.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_former_value_is_told_of_once_and_daily_from_then_on() {
        let (first, second) = (Time::UNIX_EPOCH, after(Time::UNIX_EPOCH, DAY));
        let told = Told { since: first, at: DAY };
        assert!(told.will_do(first, DAY));
        assert!(told.will_do(first, DAY * 2 - Duration::from_secs(1)));
        assert!(!told.will_do(first, DAY * 2));
        assert!(!told.will_do(second, DAY), "another one's time is over");
    }

    #[test]
    fn a_line_has_an_end() {
        let known = |count: usize| (0..count).map(|n| format!("{n:02} has it")).collect();
        assert_eq!(in_words(&known(2)), "00 has it; 01 has it");
        assert!(in_words(&known(17)).ends_with("; 09 has it; and 7 more"));
    }
}
