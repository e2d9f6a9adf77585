//! The clusters that a person's influxctl knows: where the ids of Cloud Dedicated come from.

use serde::Serialize;

use super::{Given, Influxctl, answer};
use crate::influxdb::{ErrorKind, ServerError, http::MAX_BODY};

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

/// Asks for them as whoever runs this is logged in; `None` where there is no influxctl.
///
/// # Errors
/// It says none, or nothing that is understood.
pub async fn known_clusters(given: Given) -> Result<Option<Vec<KnownCluster>>, ServerError> {
    let influxctl = Influxctl::of_a_person(given);
    let verb = "list clusters";
    match influxctl.call(&["cluster", "list", "--format", "json"], MAX_BODY).await {
        Ok(said) => answer::clusters(&said.stdout).map(Some).map_err(|kind| influxctl.told(verb, kind)),
        Err(failed) if matches!(failed.kind, ErrorKind::NoProgram { .. }) => Ok(None),
        Err(failed) => Err(influxctl.error(verb, failed)),
    }
}
