//! InfluxDB Clustered and Cloud Dedicated: tokens are managed over one API or by influxctl, and data is served alike.

use std::path::Path;

use super::{Server, ServerError, http::Http};
use crate::{
    config::{ServerConfig, Via},
    model::ServerName,
};

mod api;
mod data_plane;
mod ids;
mod influxctl;
mod list;
mod rows;

use api::ClusterApi;
use data_plane::DataPlane;
use influxctl::ClusterByInfluxctl;
pub use influxctl::{KnownCluster, known_clusters, remove_leftovers};

/// Sets a client up; sends nothing. `private`: a folder on tmpfs that is ours alone.
///
/// # Errors
/// Certificates cannot be read, or the system has none and some are needed.
pub(super) fn connect(
    name: &ServerName,
    config: &ServerConfig,
    private: &Path,
) -> Result<Box<dyn Server>, ServerError> {
    let http = Http::new(name, config)?;
    let data = DataPlane::new(http.clone(), config);
    Ok(match &config.via {
        Via::Http(token) => Box::new(ClusterApi::new(name, http, data, config, token.clone())?),
        Via::Influxctl(settings) => {
            Box::new(ClusterByInfluxctl::new(name, config, settings.clone(), data, private))
        }
    })
}
