//! A person who wants new values and undoes them, brings tokens of their own, ends some, edits the list, and confirms
//! what is to be confirmed; at odd times.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    parts::{Consumers, ModelClock, ModelServer, ModelStore},
    tamper::Break,
    world::World,
};
use crate::{
    lifecycle::{Import, Keeper, Shared, plan::Matter},
    model::{Database, Grants, Name, Spec, Word},
};

type ModelKeeper = Keeper<ModelServer, ModelStore, Consumers, ModelClock>;
type ModelShared = Shared<ModelStore, Consumers, ModelClock>;

/// Never ends.
pub(super) async fn act(world: &Arc<World>, keeper: &ModelKeeper, shared: &ModelShared) {
    let wishes = world.take_wishes();
    if let Err(errors) = keeper.rotate(&wishes) {
        world.tell(format!("what is wanted cannot be: {errors:?}"));
    }
    loop {
        let longest = fastrand::choice([30, 600, 7200]).unwrap_or(30);
        tokio::select! {
            biased;
            () = world.edited.notified() => {
                shared.set_specs(world.edit());
                shared.deliver_all().await;
                keeper.wake();
            }
            () = tokio::time::sleep(Duration::from_secs(fastrand::u64(1..=longest))) => {
                if world.is_healed() {
                    // Whatever it was that they wanted, they have what they need by now.
                    confirm(world, keeper).await;
                    tokio::time::sleep(Duration::from_secs(7200)).await;
                } else {
                    something(world, keeper).await;
                }
            }
        }
    }
}

async fn something(world: &Arc<World>, keeper: &ModelKeeper) {
    if world.broken() == Break::ReplacesForEver {
        // Who is asked for a new value is not counted.
        return;
    }
    // Whatever it is, it may be for a new value.
    world.note_excuse(None);
    match fastrand::u8(..8) {
        0 => import(world, keeper).await,
        1..=2 => undo(world, keeper).await,
        3 => end(world, keeper).await,
        4 => confirm(world, keeper).await,
        _ => rotate(world, keeper),
    }
}

fn rotate(world: &Arc<World>, keeper: &ModelKeeper) {
    let names = world.specs().into_keys().filter(|_| fastrand::bool()).collect();
    world.tell(format!("a person wants new values for {names:?}"));
    match keeper.rotate(&names) {
        Ok(()) => world.count("a person rotates"),
        Err(errors) => world.tell(format!("which cannot be: {errors:?}")),
    }
}

fn some_name(world: &Arc<World>) -> Option<Name> {
    fastrand::choice(world.specs().into_keys().collect::<Vec<_>>())
}

async fn undo(world: &Arc<World>, keeper: &ModelKeeper) {
    let Some(name) = some_name(world) else { return };
    world.tell(format!("a person wants the former value of {name}"));
    match keeper.undo(&name).await {
        Ok(id) => {
            world.tell(format!("which is {id}"));
            world.count("a person undoes a rotation");
        }
        Err(error) => world.tell(format!("which cannot be: {error}")),
    }
}

async fn end(world: &Arc<World>, keeper: &ModelKeeper) {
    let Some(name) = some_name(world) else { return };
    let Ok(id) = keeper.revocable(&name) else { return };
    world.tell(format!("a person ends {id} of {name}"));
    world.person_ends(&id);
    match keeper.revoke_now(&name).await {
        Ok(_) => world.count("a person ends a token"),
        Err(error) => world.tell(format!("which cannot be: {error}")),
    }
}

async fn confirm(world: &Arc<World>, keeper: &ModelKeeper) {
    let Ok((plan, _)) = keeper.look().await else { return };
    let waits = plan.findings.into_iter().filter(|finding| finding.matter == Matter::RevocationUnconfirmed);
    let names: BTreeSet<Name> = waits.filter_map(|finding| finding.name).collect();
    if !names.is_empty() {
        world.tell(format!("a person confirms the end of {names:?}"));
        world.count("a person confirms");
        world.person_confirms(names.iter().cloned());
        keeper.confirm(names, Word::Revoke);
        keeper.wake();
    }
}

async fn import(world: &Arc<World>, keeper: &ModelKeeper) {
    let spec = fastrand::choice(world.specs().into_values().collect::<Vec<Spec>>());
    let spec = spec.filter(|_| fastrand::u8(..4) > 0);
    let odd = || Grants::of([], ["a".parse::<Database>().expect("a database")]);
    let wanted = spec.as_ref().filter(|_| fastrand::u8(..4) > 0);
    let grants = wanted.map_or_else(odd, |spec| spec.grants.clone());
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
