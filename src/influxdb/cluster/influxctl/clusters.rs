//! The clusters that a person's influxctl knows: where the ids of Cloud Dedicated come from.

use serde::Serialize;

use super::{answer, program::InfluxctlProgram};
use crate::{
    config::InfluxctlConfig,
    influxdb::{ErrorKind, ServerError, http::MAX_BODY},
};

/// A cluster of Cloud Dedicated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownCluster {
    /// `account` of a list.
    pub account: String,
    /// `cluster` of a list.
    pub cluster: String,
    /// What people call it.
    pub name: Option<String>,
    /// Where its data is written and queried.
    pub url: Option<String>,
}

/// Asks influxctl, with the login of the current user; `None` if influxctl is not installed.
///
/// # Errors
/// It fails, or its answer is not a list of clusters.
pub async fn known_clusters(settings: InfluxctlConfig) -> Result<Option<Vec<KnownCluster>>, ServerError> {
    let program = InfluxctlProgram::of_a_person(settings);
    let verb = "list clusters";
    match program.call(&["cluster", "list", "--format", "json"], MAX_BODY).await {
        Ok(said) => answer::clusters(&said.stdout).map(Some).map_err(|kind| program.error(verb, kind)),
        Err(failed) if matches!(failed.kind, ErrorKind::NoProgram { .. }) => Ok(None),
        Err(failed) => Err(program.error(verb, failed.kind)),
    }
}
