//! Seeded histories of the real plan and the real keeper over a modelled server, store, deliveries and clock, with
//! faults between any two steps. The rules are checked at every operation; at the end, faults off, everything must
//! converge.
//!
//! `INFLUX_TOKEND_SEEDS=100000 cargo test --release --lib simulation` runs more of them, `INFLUX_TOKEND_SEED=n` one, and
//! prints its history.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Keeper, Ledger, Mode, Settings, Shared, Signals};
use crate::model::{Allow, Database, Grants, Lifecycle, Name, Pickup, Probe, Spec};

mod parts;
mod person;
mod world;

use parts::{Consumers, ModelClock, ModelServer, ModelStore, key, server_name};
use world::{Break, World};

/// How many histories a usual run has.
const SEEDS: u64 = 2_000;
/// How many names a history has at most.
const NAMES: usize = 5;

/// A history, whole. Panics where a rule is broken.
async fn history(seed: u64, broken: Break) -> Arc<World> {
    fastrand::seed(seed);
    let world = World::new(seed, broken);
    let mut specs = specs(fastrand::usize(1..=NAMES));
    for life in 0..fastrand::usize(1..=5) {
        world.tell(format!("life {life}"));
        let limit =
            Duration::from_secs(fastrand::u64(1..=fastrand::choice([3, 60, 900, 7200]).unwrap_or(60)));
        live(&world, &specs, limit).await;
        world.between_lives();
        if fastrand::u8(..) < 60 {
            specs = self::specs(specs.len() + 1);
        }
    }
    world.heal();
    live(&world, &specs, Duration::from_secs(27 * 3600)).await;
    world.assert_converged(&specs);
    world
}

/// One process: opened, driven, and dropped at whatever await it has come to.
async fn live(world: &Arc<World>, specs: &BTreeMap<Name, Spec>, limit: Duration) {
    let Ok(ledger) = Ledger::open(ModelStore(world.clone())).await else {
        return world.tell("the store is away");
    };
    let shared = Arc::new(Shared::new(ledger, Consumers(world.clone()), ModelClock(world.clone()), || {
        fastrand::u128(..).to_be_bytes()
    }));
    shared.set_specs(specs.clone());
    world.lists(specs.keys());
    shared.deliver_all().await;
    let settings = Settings {
        // Once nothing goes wrong any more there is little to look for.
        reconcile: Duration::from_secs(if world.is_healed() { 3600 } else { 900 }),
        timeout: Duration::from_secs(30),
        lifecycle: world.lifecycle_of_keepers(),
    };
    let keeper = Keeper::new(server_name(), key(), ModelServer(world.clone()), shared, settings);
    let (stop, stopping) = watch::channel(false);
    let drive = keeper.drive(Mode::Daemon, Duration::ZERO, Signals::new(stopping), |_| {});
    let drive = async {
        tokio::select! {
            biased;
            () = drive => {}
            () = person::act(world, &keeper, specs) => {}
        }
    };
    if fastrand::bool() {
        let _killed = tokio::time::timeout(limit, drive).await;
        world.tell("killed");
    } else {
        let (_, ()) = tokio::join!(drive, async {
            tokio::time::sleep(limit).await;
            world.stopping();
            stop.send_replace(true);
        });
        world.tell("stopped");
    }
    world.process_ended();
}

fn specs(count: usize) -> BTreeMap<Name, Spec> {
    let database = |name: &str| -> Database { name.parse().expect("a database") };
    (0..count)
        .map(|n| {
            let name: Name = format!("t{n}").parse().expect("a name");
            let grants = match n % 3 {
                0 => Grants::of([], [database("a")]),
                1 => Grants::of([database("a"), database("b")], [database("b")]),
                _ => Grants::of([Database::All], []),
            };
            let spec = Spec {
                name: name.clone(),
                server: server_name(),
                key: key(),
                grants,
                description: format!("token {n}"),
                lifetime: None,
                allow: Allow::default(),
                pickup: Pickup::Unknown,
                probe: Some(Probe::default()),
            };
            (name, spec)
        })
        .collect()
}

fn run(seed: u64, broken: Break) -> Arc<World> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(history(seed, broken))
}

fn from_environment(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "how often each fault struck")]
fn every_history_keeps_the_rules_and_converges() {
    if let Some(seed) = from_environment("INFLUX_TOKEND_SEED") {
        println!("{}", run(seed, Break::Nothing).history());
        return;
    }
    let seeds = from_environment("INFLUX_TOKEND_SEEDS").unwrap_or(SEEDS);
    let struck = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || struck_in((half..seeds).step_by(2))));
        halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let struck = struck.into_iter().flatten().fold(BTreeMap::<_, usize>::new(), |mut all, (fault, times)| {
        *all.entry(fault).or_default() += times;
        all
    });
    println!("{struck:#?}");
    for fault in world::FAULTS {
        assert!(struck.get(fault).is_some_and(|times| *times > 0), "{fault:?} never struck: {struck:?}");
    }
}

fn struck_in(seeds: impl Iterator<Item = u64>) -> BTreeMap<&'static str, usize> {
    let mut struck = BTreeMap::new();
    for seed in seeds {
        for (fault, times) in run(seed, Break::Nothing).struck() {
            *struck.entry(fault).or_default() += times;
        }
    }
    struck
}

/// A rule that is broken on purpose is seen, or the simulation sees nothing.
fn is_caught(broken: Break, rule: &str) {
    let caught = (0..SEEDS).any(|seed| {
        let told = std::panic::catch_unwind(|| run(seed, broken));
        told.is_err_and(|panic| {
            let text = panic.downcast_ref::<String>().map_or("", String::as_str);
            text.contains(rule)
        })
    });
    assert!(caught, "{broken:?} was not caught as {rule:?}");
}

#[test]
fn what_is_broken_on_purpose_is_caught() {
    is_caught(Break::SealsNothing, "rule 2");
    is_caught(Break::ForgetsWhatItMinted, "rule 1");
    is_caught(Break::AcceptsTooSoon, "rule 6");
    is_caught(Break::ListsOthersAsOurs, "rule 8");
    is_caught(Break::RepeatsMints, "converge");
    is_caught(Break::EndsTooSoon, "rule 9: before its time");
    is_caught(Break::DeliversOnce, "rule 9: before the new value has arrived");
    is_caught(Break::HidesEnds, "rule 7");
    is_caught(Break::TakesOthersForItsOwn, "rule 8");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_delivered_before_three_minutes_of_activation_are_over() {
    let world = World::new(1, Break::Nothing);
    world.heal();
    world.activation(Duration::from_secs(180));
    let specs = specs(3);
    live(&world, &specs, Duration::from_secs(170)).await;
    assert_eq!(world.delivered(), 0, "{}", world.history());
    live(&world, &specs, Duration::from_secs(240)).await;
    assert_eq!(world.delivered(), 3, "{}", world.history());
}

#[tokio::test(start_paused = true)]
async fn creates_that_fail_for_a_day_are_made_up_for() {
    let world = World::new(2, Break::Nothing);
    world.heal();
    world.refuse_mints(true);
    let specs = specs(3);
    live(&world, &specs, Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.delivered(), 0);
    let tries = world.mints();
    assert!((3..3 * 24 * 15).contains(&tries), "{tries} tries in a day");
    world.refuse_mints(false);
    live(&world, &specs, Duration::from_secs(3600)).await;
    assert_eq!(world.delivered(), 3, "{}", world.history());
    // Their intents are dropped when a list a day later lacks them.
    live(&world, &specs, Duration::from_secs(27 * 3600)).await;
    world.assert_converged(&specs);
}

/// A world without faults in which `t0` is settled and is to have a new value; its overlap takes ten minutes.
async fn to_be_rotated(seed: u64) -> (Arc<World>, BTreeMap<Name, Spec>) {
    let overlap_cap = Some(Duration::from_secs(600));
    let lifecycle = Lifecycle { overlap: Duration::ZERO, overlap_cap, ..Lifecycle::default() };
    let world = World::with(seed, Break::Nothing, lifecycle);
    world.heal();
    let specs = specs(1);
    live(&world, &specs, Duration::from_secs(60)).await;
    assert_eq!(world.live(), 1, "{}", world.history());
    world.wish(specs.keys());
    (world, specs)
}

#[tokio::test(start_paused = true)]
async fn a_rotation_delivers_a_new_value_and_ends_the_old_one_in_time() {
    let (world, specs) = to_be_rotated(3).await;
    live(&world, &specs, Duration::from_secs(60)).await;
    assert_eq!(world.generation("t0"), Some(2), "{}", world.history());
    // Other processes, which have not seen it retire.
    live(&world, &specs, Duration::from_secs(500)).await;
    assert_eq!(world.live(), 2, "{}", world.history());
    live(&world, &specs, Duration::from_secs(100)).await;
    assert_eq!(world.live(), 1, "{}", world.history());
    world.assert_converged(&specs);
}

#[tokio::test(start_paused = true)]
async fn a_date_that_jumps_a_year_ahead_ends_no_overlap() {
    let (world, specs) = to_be_rotated(4).await;
    tokio::join!(live(&world, &specs, Duration::from_secs(1000)), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.jump_ahead(Duration::from_secs(366 * 24 * 3600));
        tokio::time::sleep(Duration::from_secs(550)).await;
        assert_eq!((world.generation("t0"), world.live()), (Some(2), 2), "{}", world.history());
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(world.live(), 1, "{}", world.history());
    });
}
