//! A person who wants new values and brings tokens of their own, at odd times.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    parts::{Consumers, ModelClock, ModelServer, ModelStore},
    world::World,
};
use crate::{
    lifecycle::{Import, Keeper},
    model::{Database, Grants, Name, Spec},
};

type ModelKeeper = Keeper<ModelServer, ModelStore, Consumers, ModelClock>;

/// Never ends. Does nothing once the world is healed.
pub(super) async fn act(world: &Arc<World>, keeper: &ModelKeeper, specs: &BTreeMap<Name, Spec>) {
    let wishes = world.take_wishes();
    if let Err(errors) = keeper.rotate(&wishes) {
        world.tell(format!("what is wanted cannot be: {errors:?}"));
    }
    if world.is_healed() {
        return std::future::pending().await;
    }
    loop {
        let longest = fastrand::choice([30, 600, 7200]).unwrap_or(30);
        tokio::time::sleep(Duration::from_secs(fastrand::u64(1..=longest))).await;
        match fastrand::u8(..3) {
            0 => import(world, keeper, specs).await,
            _ => rotate(world, keeper, specs),
        }
    }
}

fn rotate(world: &Arc<World>, keeper: &ModelKeeper, specs: &BTreeMap<Name, Spec>) {
    let names = specs.keys().filter(|_| fastrand::bool()).cloned().collect();
    world.tell(format!("a person wants new values for {names:?}"));
    match keeper.rotate(&names) {
        Ok(()) => world.count("a person rotates"),
        Err(errors) => world.tell(format!("which cannot be: {errors:?}")),
    }
}

async fn import(world: &Arc<World>, keeper: &ModelKeeper, specs: &BTreeMap<Name, Spec>) {
    let spec = fastrand::choice(specs.values()).filter(|_| fastrand::u8(..4) > 0);
    let odd = || Grants::of([], ["a".parse::<Database>().expect("a database")]);
    let grants = spec.filter(|_| fastrand::u8(..4) > 0).map_or_else(odd, |spec| spec.grants.clone());
    let exclusive = fastrand::bool();
    let (id, secret) = world.make_by_hand(grants, exclusive);
    let import = Import {
        name: spec.map_or_else(|| "unlisted".parse().expect("a name"), |spec| spec.name.clone()),
        id,
        secret,
        exclusive: exclusive || world.takes_others_for_its_own(),
        despite_grants: fastrand::bool(),
    };
    world.tell(format!("a person brings {} for {}", import.id, import.name));
    match keeper.import(&import).await {
        Ok(imported) => {
            world.tell(format!("{} is imported", imported.id));
            world.count("a token is imported");
        }
        Err(error) => world.tell(format!("it is not taken: {error}")),
    }
}
