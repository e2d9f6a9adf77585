//! Hooks: units that want a reload or a restart when a token of theirs has a new value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Name, Unit};

/// Which generation of each name.
pub type Generations = BTreeMap<Name, u64>;

/// What a unit wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which unit.
    pub unit: Unit,
    /// The tokens it reads.
    pub tokens: BTreeSet<Name>,
    /// What is done to it when one of them has a new value.
    pub action: HookAction,
}

/// What is done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookAction {
    /// A reload; a restart, where the unit cannot reload.
    Reload,
    /// A restart.
    Restart,
}

impl HookAction {
    /// As it stands in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

impl Hook {
    /// What of all that is delivered concerns it.
    #[must_use]
    pub fn concerned(&self, delivered: &Generations) -> Generations {
        let concerns = |(name, _): &(&Name, &u64)| self.tokens.contains(*name);
        delivered.iter().filter(concerns).map(|(name, generation)| (name.clone(), *generation)).collect()
    }

    /// What of that it has not acknowledged. Another generation, and be it an older one from a restored backup, is
    /// another value.
    #[must_use]
    pub fn behind(&self, delivered: &Generations, acknowledged: &Generations) -> Generations {
        let mut behind = self.concerned(delivered);
        behind.retain(|name, generation| acknowledged.get(name) != Some(generation));
        behind
    }
}

/// A hook that has not acknowledged something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Whose.
    pub unit: Unit,
    /// What; never empty.
    pub generations: Generations,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(of: &[(&str, u64)]) -> Generations {
        of.iter().map(|(name, number)| (name.parse().expect("a name"), *number)).collect()
    }

    #[test]
    fn only_its_own_names_concern_it_and_any_other_generation_is_news() {
        let hook = Hook {
            unit: "telegraf".parse().expect("a unit"),
            tokens: generations(&[("a", 0), ("b", 0), ("gone", 0)]).into_keys().collect(),
            action: HookAction::Reload,
        };
        let delivered = generations(&[("a", 3), ("b", 1), ("other", 9)]);
        assert_eq!(hook.concerned(&delivered), generations(&[("a", 3), ("b", 1)]));
        for (acknowledged, behind) in [
            (&[][..], &[("a", 3), ("b", 1)][..]),
            (&[("a", 2), ("b", 1)], &[("a", 3)]),
            (&[("a", 3), ("b", 1), ("other", 1)], &[]),
            // After a restored backup the older number is the newer value.
            (&[("a", 5), ("b", 1)], &[("a", 3)]),
        ] {
            assert_eq!(hook.behind(&delivered, &generations(acknowledged)), generations(behind));
        }
    }
}
