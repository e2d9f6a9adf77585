//! Whether list, store and servers are as they should be.

use serde::{Deserialize, Serialize};

use super::{Keepers, plan::Told};
use crate::{
    config::Config,
    deliver::{Deliver, Hooks},
    store::Store,
};

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// How many tokens the list asks for.
    pub tokens: usize,
    /// On how many servers.
    pub servers: usize,
    /// What is wrong.
    pub faults: Vec<Told>,
}

impl Checked {
    /// A list without a fault.
    #[must_use]
    pub fn list(config: &Config) -> Self {
        Self { tokens: config.specs.len(), servers: config.servers.len(), faults: vec![] }
    }

    /// Reads the hooks beside the list.
    pub fn hooks(&mut self, hooks: &Hooks) {
        self.faults.extend(hooks.read().faults.iter().map(|fault| Told::of_error(fault)));
    }

    /// Lists each server's tokens and databases.
    pub async fn ask<T: Store, D: Deliver>(&mut self, keepers: Keepers<'_, T, D>) {
        for keeper in keepers {
            match keeper.look().await {
                Ok((plan, _)) => self.faults.extend(
                    plan.findings.iter().filter(|finding| finding.matter.waits_for_a_person()).map(Told::of),
                ),
                Err(error) => self.faults.push(Told::of_error(&error)),
            }
        }
    }
}
