//! Readers of one name that count for good, each kind of them in one place: there may be thousands.

use std::collections::{BTreeMap, BTreeSet};

use super::super::reads::Who;

/// So many kinds are told apart; the rest are counted in one.
const MAX_LOTS: usize = 32;

/// Why a reader counts whatever it reads later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// It has ended.
    Ended,
    /// It hands on what it reads.
    Relay,
    /// It is a unit that was given a credential at its start: which of its processes have it nobody can tell.
    Credential,
    /// It has no number here: its pid namespace is none of ours.
    Unseen,
    /// There were too many to follow it.
    Crowded,
}

/// Readers of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Lot {
    generation: u64,
    fate: Fate,
    who: Who,
}

/// How many they are.
#[derive(Debug)]
struct Count {
    times: u64,
    /// The first one's number.
    pid: Option<u32>,
}

/// Those of one name.
#[derive(Debug, Default)]
pub(super) struct Tally {
    lots: BTreeMap<Lot, Count>,
    /// The generations of those beyond: the oldest and the latest, and how many.
    rest: Option<(u64, u64, u64)>,
}

impl Tally {
    pub(super) fn count(&mut self, fate: Fate, who: &Who, pid: Option<u32>, generation: u64) {
        let lot = Lot { generation, fate, who: who.clone() };
        if let Some(count) = self.lots.get_mut(&lot) {
            // One process that reads again is still one.
            if count.times > 1 || count.pid != pid {
                count.times = count.times.saturating_add(1);
            }
        } else if self.lots.len() < MAX_LOTS {
            self.lots.insert(lot, Count { times: 1, pid });
        } else {
            let (oldest, latest, times) = self.rest.unwrap_or((generation, generation, 0));
            self.rest = Some((oldest.min(generation), latest.max(generation), times.saturating_add(1)));
        }
    }

    /// The values before this generation have ended.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.lots.retain(|lot, _| lot.generation >= oldest);
        self.rest = self.rest.filter(|(_, latest, _)| *latest >= oldest);
    }

    /// Those that have read another value than this.
    pub(super) fn holders(&self, generation: u64) -> BTreeSet<String> {
        let lots = self.lots.iter().filter(|(lot, _)| lot.generation != generation);
        let rest = self.rest.filter(|(oldest, latest, _)| (*oldest, *latest) != (generation, generation));
        let rest = rest.map(|(_, latest, times)| {
            format!("{times} more reads, by too many to be told apart, of generations up to {latest}")
        });
        lots.map(|(lot, count)| lot.in_words(count)).chain(rest).collect()
    }
}

impl Lot {
    fn in_words(&self, count: &Count) -> String {
        let Self { generation, fate, who } = self;
        match (fate, count.times, count.pid) {
            (Fate::Ended, 1, Some(pid)) => {
                format!("a process of {who} that has ended (pid {pid}) had generation {generation}")
            }
            (Fate::Ended, times, _) => {
                format!("{times} processes of {who} that have ended had generation {generation}")
            }
            (Fate::Relay, times, pid) => {
                let by = relayed_by(who, pid.filter(|_| times == 1));
                let often = if times == 1 { String::new() } else { format!(", {times} times") };
                format!("relay influx-secrets {by} handed on generation {generation}{often}")
            }
            (Fate::Credential, ..) => {
                format!("{who} was given generation {generation}, which it keeps while it runs")
            }
            (Fate::Unseen, ..) => {
                format!("{who} read generation {generation} from where processes cannot be seen")
            }
            (Fate::Crowded, ..) => {
                format!("{who} read generation {generation} in more processes than are followed")
            }
        }
    }
}

fn relayed_by(who: &Who, pid: Option<u32>) -> String {
    let Who::Process { uid, unit } = who else { return format!("of {who}") };
    let unit = unit.as_ref().map(|unit| format!("in {unit} ")).unwrap_or_default();
    let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    format!("{unit}(uid {uid}{pid})")
}
