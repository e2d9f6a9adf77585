//! InfluxDB Clustered and Cloud Dedicated: a way to manage tokens, and a data plane.

use std::collections::BTreeSet;

use super::{
    Check, MintError, Minted, Order, Server, ServerError, Verdict, data_plane::DataPlane, http::Http,
    management_api::ManagementApi,
};
use crate::{
    config::ServerConfig,
    model::{Capabilities, Credential, Grants, Listed, Listing, ServerName, TokenId},
};

/// One deployment.
#[derive(Debug)]
pub struct Cluster {
    management: ManagementApi,
    data: DataPlane,
}

impl Cluster {
    /// Sets a client up; sends nothing.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub fn new(name: &ServerName, config: &ServerConfig) -> Result<Self, ServerError> {
        let http = Http::new(name, config)?;
        Ok(Self { management: ManagementApi::new(http.clone(), config), data: DataPlane::new(http, config) })
    }
}

impl Server for Cluster {
    fn capabilities(&self) -> Capabilities {
        self.management.capabilities()
    }

    async fn list(&self, known: &BTreeSet<TokenId>) -> Result<Listing, ServerError> {
        self.management.list(known).await
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        self.management.databases().await
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        self.management.mint(order).await
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        self.management.get(id).await
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        self.management.patch(id, grants).await
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        self.management.revoke(id).await
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.data.check(credential, check).await
    }
}
