//! Whether list, store and servers are as they should be.

use serde::{Deserialize, Serialize};

use super::{Keepers, plan::Notice};
use crate::{
    config::{Config, InfluxctlConfig, Login, ServerConfig, Via},
    deliver::{Deliver, Hooks},
    lifecycle::plan::Matter,
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
    pub faults: Vec<Notice>,
    /// What is not, and is to be known.
    #[serde(default)]
    pub notes: Vec<Notice>,
}

impl Checked {
    /// A list without a fault.
    #[must_use]
    pub fn list(config: &Config) -> Self {
        let is_a_persons = |server: &ServerConfig| {
            matches!(&server.via, Via::Influxctl(InfluxctlConfig { login: Login::Profile { .. }, .. }))
        };
        let by_login = config.servers.iter().filter(|(_, server)| is_a_persons(server));
        let notes = by_login.map(|(name, _)| Notice {
            what: format!(
                "server {name}: influxctl logs in as its profile says; a person's login, which it keeps, ends"
            ),
            hint: Some(
                "that does for one-shot commands; a daemon needs `management_token`, or one in the profile"
                    .to_owned(),
            ),
        });
        let (tokens, servers) = (config.specs.len(), config.servers.len());
        Self { tokens, servers, faults: vec![], notes: notes.collect() }
    }

    /// Reads the hooks beside the list.
    pub fn hooks(&mut self, hooks: &Hooks) {
        self.faults.extend(hooks.read().faults.iter().map(|fault| Notice::of_error(fault)));
    }

    /// Lists each server's tokens and databases.
    pub async fn ask<T: Store, D: Deliver>(&mut self, keepers: Keepers<'_, T, D>) {
        for keeper in keepers {
            match keeper.look().await {
                Ok((plan, _)) => {
                    let found = |is_it: fn(&Matter) -> bool| {
                        plan.findings.iter().filter(move |finding| is_it(&finding.matter)).map(Notice::of)
                    };
                    self.faults.extend(found(Matter::waits_for_a_person));
                    self.notes.extend(found(Matter::is_odd));
                }
                Err(error) => self.faults.push(Notice::of_error(&error)),
            }
        }
    }
}
