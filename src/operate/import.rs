//! Which server a token that was made by hand lives on, and what came of taking it over.

use serde::{Deserialize, Serialize};

use super::{
    applied::ApplyReport,
    command::{Import, Refusal},
};
use crate::{
    config::Config,
    hint::Hint as _,
    lifecycle::{self, ImportError, Imported},
    model::ServerName,
};

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// The token.
    pub imported: Imported,
    /// What was done with it then, where the list asks for its name.
    pub applied: Option<ApplyReport>,
}

impl Import {
    /// The server that is named, or the list has the name on, or is the only one.
    ///
    /// # Errors
    /// That cannot be told, or the list does not have it.
    pub fn server_in(&self, config: &Config) -> Result<ServerName, Refusal> {
        let listed = || config.specs.get(&self.name).map(|spec| spec.server.clone());
        let mut all = config.servers.keys();
        let only = all.next().filter(|_| all.next().is_none()).cloned();
        match self.server.clone().or_else(listed).or(only) {
            Some(server) if config.servers.contains_key(&server) => Ok(server),
            Some(server) => Err(Refusal::new(format!("unknown server {:?}", server.0), one_of(config))),
            None if config.servers.is_empty() => {
                Err(Refusal::new("the list names no server", "add [server]"))
            }
            None => {
                let what = format!("the list does not have {} and knows several servers", self.name);
                Err(Refusal::new(what, one_of(config)))
            }
        }
    }

    /// As the keeper takes it.
    #[must_use]
    pub fn order(self) -> lifecycle::Import {
        let Self { name, id, secret, exclusive, despite_grants, .. } = self;
        lifecycle::Import { name, id, secret, exclusive, despite_grants }
    }
}

impl From<ImportError> for Refusal {
    /// Of two grants a person has to say which are right.
    fn from(error: ImportError) -> Self {
        let waits = matches!(error, ImportError::GrantsDiffer { .. });
        Self { what: error.to_string(), hint: error.hint(), waits }
    }
}

fn one_of(config: &Config) -> String {
    let names: Vec<String> = config.servers.keys().map(|name| format!("{:?}", name.0)).collect();
    format!("--server with one of {}", names.join(", "))
}
