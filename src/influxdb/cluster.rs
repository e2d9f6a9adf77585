//! InfluxDB Clustered and Cloud Dedicated: a way to manage tokens, and a data plane.

use std::{collections::BTreeSet, path::Path};

use super::{
    Check, Interest, MintError, Minted, Order, Server, ServerError, Verdict, data_plane::DataPlane,
    http::Http, influxctl::Influxctl, management_api::ManagementApi,
};
use crate::{
    config::{ServerConfig, Via},
    model::{Credential, Descriptor, Grants, Listed, Listing, ServerName, TokenId},
};

/// One deployment.
#[derive(Debug)]
pub struct Cluster {
    management: Management,
    data: DataPlane,
}

/// How its tokens are managed.
#[derive(Debug)]
enum Management {
    Api(Box<ManagementApi>),
    Influxctl(Box<Influxctl>),
}

impl Cluster {
    /// Sets a client up; sends nothing. `private`: a folder on tmpfs that is ours alone.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub fn new(name: &ServerName, config: &ServerConfig, private: &Path) -> Result<Self, ServerError> {
        let http = Http::new(name, config)?;
        let management = match &config.via {
            Via::Http(token) => {
                Management::Api(Box::new(ManagementApi::new(name, http.clone(), config, token.clone())?))
            }
            Via::Influxctl(given) => {
                Management::Influxctl(Box::new(Influxctl::new(name, config, given.clone(), private)))
            }
        };
        Ok(Self { management, data: DataPlane::new(http, config) })
    }
}

impl Server for Cluster {
    fn descriptor(&self) -> Descriptor {
        match &self.management {
            Management::Api(api) => api.descriptor(),
            Management::Influxctl(influxctl) => influxctl.descriptor(),
        }
    }

    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        match &self.management {
            Management::Api(api) => api.list(interest).await,
            Management::Influxctl(influxctl) => influxctl.list(interest).await,
        }
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        match &self.management {
            Management::Api(api) => api.databases().await,
            Management::Influxctl(influxctl) => influxctl.databases().await,
        }
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        match &self.management {
            Management::Api(api) => api.mint(order).await,
            Management::Influxctl(influxctl) => influxctl.mint(order).await,
        }
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        match &self.management {
            Management::Api(api) => api.get(id).await,
            Management::Influxctl(influxctl) => influxctl.get(id).await,
        }
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        match &self.management {
            Management::Api(api) => api.patch(id, grants).await,
            Management::Influxctl(influxctl) => influxctl.patch(id, grants).await,
        }
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        match &self.management {
            Management::Api(api) => api.revoke(id).await,
            Management::Influxctl(influxctl) => influxctl.revoke(id).await,
        }
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.data.check(credential, check).await
    }
}
