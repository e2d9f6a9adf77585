//! The hooks of a host, and how far they are.

use serde::Serialize;

use crate::{
    deliver::{Hooks, ReadHooks},
    model::{HookAction, Name, Unit},
    operate::plan::Notice,
};

/// All hooks.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// Those that can be read, by unit.
    pub hooks: Vec<ListedHook>,
    /// What is wrong with the others.
    pub faults: Vec<Notice>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct ListedHook {
    /// Its unit.
    pub unit: Unit,
    /// What is done to it.
    pub action: HookAction,
    /// The tokens that it follows.
    pub tokens: Vec<ListedToken>,
}

/// A token that a hook follows.
#[derive(Clone, Debug, Serialize)]
pub struct ListedToken {
    /// Its name.
    pub name: Name,
    /// Which generation is delivered.
    pub delivered: Option<u64>,
    /// Which one the hook has acknowledged.
    pub acknowledged: Option<u64>,
}

/// Reads all hooks.
#[must_use]
pub fn list(hooks: &Hooks) -> Listing {
    // Before the first delivery there is nothing to read.
    let delivered = hooks.delivered().unwrap_or_default();
    let ReadHooks { hooks: read, faults } = hooks.read();
    let listed = read.into_iter().map(|hook| {
        let acknowledged = hooks.acknowledged(&hook.unit);
        let token = |name: Name| ListedToken {
            delivered: delivered.get(&name).copied(),
            acknowledged: acknowledged.get(&name).copied(),
            name,
        };
        let tokens = hook.tokens.into_iter().map(token).collect();
        ListedHook { unit: hook.unit, action: hook.action, tokens }
    });
    Listing { hooks: listed.collect(), faults: faults.iter().map(|fault| Notice::of_error(fault)).collect() }
}
