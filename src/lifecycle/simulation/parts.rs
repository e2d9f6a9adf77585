//! Server, store, deliveries and clock over the modelled world.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use super::{
    faults::{Fault, Op},
    tamper::Break,
    world::World,
};
use async_trait::async_trait;

use crate::{
    deliver::{Deliver, DeliverError, Delivered, Delivery},
    influxdb::{Check, Interest, MintError, Minted, Order, Server, ServerError, Verdict},
    lifecycle::Clock,
    model::{
        BootTime, Credential, Descriptor, Grants, Holders, Listed, Listing, Name, Record, Time, TokenId,
    },
    store::{Instances, RecordError, Records, Revision, SealError, Store, StoreError, Stored},
};

/// Any operation takes a moment: whoever waits for it can be dropped there.
async fn moment() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..120))).await;
}

/// An operation under way: one that is dropped before it is over was hit by a crash.
struct Doing<'w> {
    world: &'w World,
    op: Op,
    is_over: bool,
}

impl<'w> Doing<'w> {
    fn begin(world: &'w World, op: Op) -> Self {
        world.before(op);
        Self { world, op, is_over: false }
    }

    fn over(mut self) {
        self.is_over = true;
        self.world.after();
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.world.struck(Fault::Crash, self.op);
        }
    }
}

/// The operation, a moment before and after what it does.
async fn operate<R>(world: &World, op: Op, act: impl FnOnce() -> R) -> R {
    let doing = Doing::begin(world, op);
    moment().await;
    if world.crashes(op) {
        std::future::pending::<()>().await;
    }
    let outcome = act();
    moment().await;
    if world.crashes(op) {
        std::future::pending::<()>().await;
    }
    doing.over();
    outcome
}

pub(super) struct ModelClock(pub(super) Arc<World>);

impl Clock for ModelClock {
    fn now(&self) -> Time {
        if self.0.broken() == Break::AgreesWithAnyDate { self.0.latest_date() } else { self.0.now() }
    }

    fn since_boot(&self) -> Duration {
        self.0.since_boot()
    }

    fn boot_time(&self) -> Option<BootTime> {
        (self.0.broken() != Break::TrustsTheDate).then(|| self.0.boot_time())
    }

    fn is_synchronised(&self) -> bool {
        !self.0.is_ahead()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The deployment with this number.
pub(super) struct ModelServer(pub(super) Arc<World>, pub(super) usize);

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelServer")
    }
}

#[async_trait]
impl Server for ModelServer {
    fn descriptor(&self) -> Descriptor {
        self.0.descriptor(self.1)
    }

    async fn list(&self, _: &Interest<'_>) -> Result<Listing, ServerError> {
        self.0.tell(format!("list {}", self.1));
        operate(&self.0, Op::List, || self.0.list(self.1)).await
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        operate(&self.0, Op::Databases, || self.0.databases(self.1)).await
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        self.0.mint_begins(self.1, order);
        let outcome = operate(&self.0, Op::Mint, || self.0.mint(self.1, order)).await;
        self.0.mint_ends(self.1);
        outcome
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        operate(&self.0, Op::Get, || self.0.get(self.1, id)).await
    }

    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        operate(&self.0, Op::Patch, || self.0.patch(self.1, id, grants)).await
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        operate(&self.0, Op::Revoke, || self.0.revoke(self.1, id)).await
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.0.check_begins(self.1);
        let verdict = operate(&self.0, Op::Check, || self.0.check(self.1, credential.secret(), check)).await;
        self.0.check_ends(self.1);
        verdict
    }
}

pub(super) struct ModelStore(pub(super) Arc<World>);

impl Store for ModelStore {
    async fn load(&self) -> Result<Records, StoreError> {
        operate(&self.0, Op::Load, || self.0.load()).await
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        operate(&self.0, Op::Read, || self.0.read(name)).await
    }

    async fn seal(&self, record: &Record, read: Option<Revision>) -> Result<Revision, SealError> {
        let op = self.0.seal_op(record);
        let outcome = operate(&self.0, op, || self.0.seal(record, read, op)).await;
        // Of one that failed a look tells what is there.
        if !matches!(outcome, Err(SealError::Failed(_))) {
            self.0.seal_is_heard(&record.name);
        }
        outcome
    }

    async fn remove(&self, name: &Name, read: Revision) -> Result<(), SealError> {
        moment().await;
        self.0.remove(name, read)
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
        if !self.0.would_change(&delivery) {
            return Ok(Delivered::Done);
        }
        operate(&self.0, Op::Deliver, || self.0.deliver(&delivery)).await
    }

    async fn generation(&self, name: &Name) -> Option<u64> {
        self.0.generation_of(name)
    }

    async fn holders(&self, name: &Name, generation: u64) -> Holders {
        self.0.holders(name, generation)
    }
}
