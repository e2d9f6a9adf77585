//! A person who wants new values and undoes them, brings tokens of their own, ends some, edits the list, and confirms
//! what is to be confirmed; at odd times.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    parts::{Consumers, ModelClock, ModelServer, ModelStore},
    tamper::Break,
    world::World,
};
use crate::{
    lifecycle::{self, Import, Keeper, Shared, plan::Matter},
    model::{Database, Grants, Name, Spec, Word},
};

type ModelKeeper = Keeper<ModelServer, ModelStore, Consumers, ModelClock>;
type ModelShared = Shared<ModelStore, Consumers, ModelClock>;

/// Ends when the list names other servers.
pub(super) async fn act(world: &Arc<World>, keepers: &[ModelKeeper], shared: &ModelShared) {
    let wishes = world.take_wishes();
    if let Err(errors) = lifecycle::rotate(keepers, &wishes) {
        world.tell(format!("what is wanted cannot be: {errors:?}"));
    }
    loop {
        let longest = fastrand::choice([30, 600, 7200]).unwrap_or(30);
        tokio::select! {
            biased;
            () = world.edited.notified() => {
                let is_regrouped = world.edit();
                shared.set_specs(world.specs());
                shared.deliver_all().await;
                if is_regrouped {
                    // What is delivered may take its time.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(..3000))).await;
                    return;
                }
                keepers.iter().for_each(Keeper::wake);
            }
            () = tokio::time::sleep(Duration::from_secs(fastrand::u64(1..=longest))) => {
                if world.is_healed() {
                    // Whatever it was that they wanted, they have what they need by now.
                    confirm(world, keepers).await;
                    tokio::time::sleep(Duration::from_secs(7200)).await;
                } else {
                    something(world, keepers).await;
                }
            }
        }
    }
}

async fn something(world: &Arc<World>, keepers: &[ModelKeeper]) {
    if world.broken() == Break::ReplacesForEver {
        // Who is asked for a new value is not counted.
        return;
    }
    // Whatever it is, it may be for a new value.
    world.note_excuse(None);
    match fastrand::u8(..8) {
        0 => import(world, keepers).await,
        1..=2 => undo(world, keepers).await,
        3 => end(world, keepers).await,
        4 => confirm(world, keepers).await,
        _ => rotate(world, keepers),
    }
}

fn rotate(world: &Arc<World>, keepers: &[ModelKeeper]) {
    let names = world.specs().into_keys().filter(|_| fastrand::bool()).collect();
    world.tell(format!("a person wants new values for {names:?}"));
    match lifecycle::rotate(keepers, &names) {
        Ok(()) => world.count("a person rotates"),
        Err(errors) => world.tell(format!("which cannot be: {errors:?}")),
    }
}

/// Some name, and the keeper of its server.
fn some_name<'a>(world: &Arc<World>, keepers: &'a [ModelKeeper]) -> Option<(Name, &'a ModelKeeper)> {
    let name = fastrand::choice(world.specs().into_keys().collect::<Vec<_>>())?;
    let keeper = keepers.iter().find(|keeper| keeper.lists(&name))?;
    Some((name, keeper))
}

async fn undo(world: &Arc<World>, keepers: &[ModelKeeper]) {
    let Some((name, keeper)) = some_name(world, keepers) else { return };
    world.tell(format!("a person wants the former value of {name}"));
    match keeper.undo(&name).await {
        Ok(id) => {
            world.tell(format!("which is {id}"));
            world.count("a person undoes a rotation");
        }
        Err(error) => world.tell(format!("which cannot be: {error}")),
    }
}

async fn end(world: &Arc<World>, keepers: &[ModelKeeper]) {
    let Some((name, keeper)) = some_name(world, keepers) else { return };
    let Ok(id) = keeper.revocable(&name) else { return };
    world.tell(format!("a person ends {id} of {name}"));
    world.person_ends(&id);
    match keeper.revoke_now(&name).await {
        Ok(_) => world.count("a person ends a token"),
        Err(error) => world.tell(format!("which cannot be: {error}")),
    }
}

async fn confirm(world: &Arc<World>, keepers: &[ModelKeeper]) {
    let (mut ends, mut moves) = (BTreeSet::new(), BTreeSet::new());
    for keeper in keepers {
        // Who sees nothing of one server confirms nothing of any.
        let Ok((plan, _)) = keeper.look().await else { return };
        for finding in plan.findings {
            match finding.matter {
                Matter::RevocationUnconfirmed => ends.extend(finding.name),
                Matter::ServerChanged { .. } => moves.extend(finding.name),
                _ => {}
            }
        }
    }
    if !ends.is_empty() {
        world.tell(format!("a person confirms the end of {ends:?}"));
        world.count("a person confirms");
        world.person_confirms(ends.iter().cloned());
    }
    if !moves.is_empty() {
        world.tell(format!("a person confirms the move of {moves:?}"));
        world.count("a person confirms a move");
        world.person_moves(moves.iter().cloned());
    }
    if ends.is_empty() && moves.is_empty() {
        return;
    }
    for keeper in keepers {
        keeper.confirm(ends.iter().cloned(), Word::Revoke);
        keeper.confirm(moves.iter().cloned(), Word::Move);
        keeper.wake();
    }
}

async fn import(world: &Arc<World>, keepers: &[ModelKeeper]) {
    let spec = fastrand::choice(world.specs().into_values().collect::<Vec<Spec>>());
    let spec = spec.filter(|_| fastrand::u8(..4) > 0);
    let odd = || Grants::of([], ["a".parse::<Database>().expect("a database")]);
    let wanted = spec.as_ref().filter(|_| fastrand::u8(..4) > 0);
    let grants = wanted.map_or_else(odd, |spec| spec.grants.clone());
    let exclusive = fastrand::bool();
    let of_spec = spec.as_ref().and_then(|spec| keepers.iter().find(|keeper| keeper.lists(&spec.name)));
    let Some(keeper) = of_spec.or(fastrand::choice(keepers)) else { return };
    let servers = world.servers();
    let Some((.., server)) = servers.into_iter().find(|(_, key, _)| key == keeper.server_key()) else {
        return;
    };
    let (id, secret) = world.make_by_hand(server, grants, exclusive);
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
