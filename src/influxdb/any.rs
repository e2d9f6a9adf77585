//! A server of whatever product the list says.

use std::{collections::BTreeSet, path::Path};

use super::{Check, Cluster, Interest, MintError, Minted, Order, Server, ServerError, Verdict};
use crate::{
    config::ServerConfig,
    model::{Credential, Descriptor, Grants, Listed, Listing, Product, ServerName, TokenId},
};

/// One of the products.
#[derive(Debug)]
pub enum AnyServer {
    /// InfluxDB Clustered, and Cloud Dedicated.
    Cluster(Cluster),
}

impl AnyServer {
    /// Sets a client up; sends nothing. `private`: a folder on tmpfs that is ours alone.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub fn connect(name: &ServerName, config: &ServerConfig, private: &Path) -> Result<Self, ServerError> {
        match config.product {
            Product::Clustered | Product::Dedicated => Cluster::new(name, config, private).map(Self::Cluster),
        }
    }
}

impl Server for AnyServer {
    fn descriptor(&self) -> Descriptor {
        match self {
            Self::Cluster(server) => server.descriptor(),
        }
    }

    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        match self {
            Self::Cluster(server) => server.list(interest).await,
        }
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        match self {
            Self::Cluster(server) => server.databases().await,
        }
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        match self {
            Self::Cluster(server) => server.mint(order).await,
        }
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        match self {
            Self::Cluster(server) => server.get(id).await,
        }
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        match self {
            Self::Cluster(server) => server.patch(id, grants).await,
        }
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        match self {
            Self::Cluster(server) => server.revoke(id).await,
        }
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        match self {
            Self::Cluster(server) => server.check(credential, check).await,
        }
    }
}
