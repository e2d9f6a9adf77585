//! Server, store, deliveries and clock over the modelled world.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::world::World;
use crate::{
    deliver::{Deliver, DeliverError, Delivered, Delivery},
    influxdb::{Check, MintError, Minted, Order, Server, ServerError, Verdict},
    lifecycle::Clock,
    model::{
        BootTime, Capabilities, Credential, Grants, Listed, Listing, Name, Product, Record, ServerKey,
        ServerName, Time, TokenId,
    },
    store::{Instances, RecordError, Records, Revision, SealError, Store, StoreError, Stored},
};

pub(super) fn key() -> ServerKey {
    ServerKey { product: Product::Clustered, origin: "https://model".into(), cluster: None }
}

pub(super) fn server_name() -> ServerName {
    ServerName("default".into())
}

/// Any operation takes a moment: whoever waits for it can be dropped there.
async fn moment() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..120))).await;
}

pub(super) struct ModelClock(pub(super) Arc<World>);

impl Clock for ModelClock {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn since_boot(&self) -> Duration {
        self.0.since_boot()
    }

    fn boot_time(&self) -> Option<BootTime> {
        let millis = u64::try_from(self.since_boot().as_millis()).ok()?;
        Some(BootTime { boot: "one".into(), millis })
    }

    fn is_synchronised(&self) -> bool {
        !self.0.is_ahead()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

pub(super) struct ModelServer(pub(super) Arc<World>);

impl Server for ModelServer {
    fn capabilities(&self) -> Capabilities {
        Capabilities { patch: true, expiry: true, lists_revoked: true }
    }

    async fn list(&self, _: &BTreeSet<TokenId>) -> Result<Listing, ServerError> {
        moment().await;
        self.0.list()
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        moment().await;
        self.0.databases()
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        self.0.mint_begins(order);
        moment().await;
        let outcome = self.0.mint(order);
        moment().await;
        self.0.mint_ends();
        outcome
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        moment().await;
        self.0.get(id)
    }

    async fn patch(&self, _: &TokenId, _: &Grants) -> Result<Listed, ServerError> {
        unreachable!("nothing changes grants yet")
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        moment().await;
        self.0.revoke(id)
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.0.check_begins();
        moment().await;
        let verdict = self.0.check(credential.secret(), check);
        self.0.check_ends();
        verdict
    }
}

pub(super) struct ModelStore(pub(super) Arc<World>);

impl Store for ModelStore {
    async fn load(&self) -> Result<Records, StoreError> {
        moment().await;
        self.0.load()
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        moment().await;
        Ok(self.0.read(name))
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        moment().await;
        let outcome = self.0.seal(record, read);
        moment().await;
        self.0.seal_is_heard(&record.name);
        outcome
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        Ok(self.0.instances())
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        moment().await;
        Ok(self.0.renew_instance())
    }
}

pub(super) struct Consumers(pub(super) Arc<World>);

impl Deliver for Consumers {
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<Delivered, DeliverError> {
        self.0.deliver(&delivery)
    }
}
