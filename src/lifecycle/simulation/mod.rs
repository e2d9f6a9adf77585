//! Seeded histories of the real plan and the real keeper over a modelled server, store, deliveries, consumers and clock,
//! with faults between any two steps. The rules are checked at every operation; at the end, faults off, everything must
//! converge.
//!
//! `INFLUX_TOKEND_SEEDS=1000000 cargo test --release --lib simulation -- --nocapture` runs more of them on all cores and
//! prints how often each fault hit each operation; `INFLUX_TOKEND_SEED=n` runs one and prints its history. A history that
//! breaks a rule is run again without each kind of fault in turn: what is printed has those that it takes.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Keeper, Ledger, Mode, Settings, Shared, Signals};
use crate::model::{Lifecycle, Name, Spec};

mod faults;
mod lists;
mod parts;
mod person;
mod tamper;
mod world;

use faults::{Fault, Struck};
use parts::{Consumers, ModelClock, ModelServer, ModelStore};
use tamper::{Break, CAUGHT};
use world::{EVENTS, World};

/// How many histories a usual run has.
const SEEDS: u64 = 2_000;
/// How long a failure is shrunk.
const SHRINKING: Duration = Duration::from_secs(20);
/// How many names a history has at most, as a rule.
const NAMES: usize = 5;
/// And one in so many has up to that.
const SELDOM: u32 = 16;
const MANY_NAMES: usize = 14;

/// A history, whole. Panics where a rule is broken.
async fn history(seed: u64, broken: Break, without: &[Fault]) -> Arc<World> {
    fastrand::seed(seed);
    let world = World::new(seed, broken, without);
    let count = match fastrand::u32(..SELDOM) {
        0 => fastrand::usize(NAMES..=MANY_NAMES),
        _ if broken == Break::RotatesTogether => MANY_NAMES,
        _ => fastrand::usize(1..=NAMES),
    };
    world.wants(lists::specs(count, &world.servers()));
    for life in 0..fastrand::usize(1..=5) {
        world.tell(format!("life {life}"));
        let limit =
            Duration::from_secs(fastrand::u64(1..=fastrand::choice([3, 60, 900, 7200]).unwrap_or(60)));
        // Replacements come a while apart.
        let takes_long = matches!(broken, Break::ReplacesForEver | Break::SkipsUnread);
        let limit = if takes_long { Duration::from_secs(7200) } else { limit };
        live(&world, limit).await;
        world.between_lives();
    }
    world.heal();
    // Intents are dropped, grants narrowed, and names that left the list ended, a day later at the latest.
    live(&world, Duration::from_secs(51 * 3600)).await;
    tell_findings(&world).await;
    world.assert_converged();
    rest(&world).await;
    world
}

/// Whoever reads the history of what did not converge wants to know what is waited for.
async fn tell_findings(world: &Arc<World>) {
    let Some(shared) = process(world).await else { return };
    for keeper in keepers(world, &shared) {
        if let Ok((plan, _)) = keeper.look().await {
            plan.findings.iter().for_each(|finding| world.tell(format!("found: {finding}")));
            plan.steps.iter().for_each(|step| world.tell(format!("planned: {step:?}")));
        }
    }
}

/// Rule 15: where there is nothing to do, a pass does nothing.
async fn rest(world: &Arc<World>) {
    let Some(shared) = process(world).await else { return };
    shared.deliver_all().await;
    let keepers = keepers(world, &shared);
    let mut is_idle = true;
    for keeper in &keepers {
        let soon = world.latest_date() + jiff::SignedDuration::from_secs(20);
        is_idle &= keeper
            .look()
            .await
            .is_ok_and(|(plan, _)| plan.steps.is_empty() && plan.next_due.is_none_or(|due| due > soon));
    }
    if is_idle || world.writes_for_nothing() {
        world.be_quiet();
        let (_stop, stopping) = watch::channel(false);
        let signals = Signals::new(stopping);
        let drives =
            keepers.iter().map(|keeper| keeper.drive(Mode::Daemon, Duration::ZERO, signals.clone(), |_| {}));
        let _ended = tokio::time::timeout(Duration::from_secs(5), join_all(drives)).await;
        world.tell("was quiet");
    }
}

type ModelKeeper = Keeper<ModelServer, ModelStore, Consumers, ModelClock>;
type ModelShared = Shared<ModelStore, Consumers, ModelClock>;

/// One process, opened.
async fn process(world: &Arc<World>) -> Option<Arc<ModelShared>> {
    let Ok(ledger) = Ledger::open(ModelStore(world.clone())).await else {
        world.tell("the store is away");
        return None;
    };
    ledger.break_on_purpose(world.broken().ledger_mutant());
    let shared = Arc::new(Shared::new(ledger, Consumers(world.clone()), ModelClock(world.clone()), || {
        fastrand::u128(..).to_be_bytes()
    }));
    shared.set_specs(world.specs());
    Some(shared)
}

/// One for each server of the list.
fn keepers(world: &Arc<World>, shared: &Arc<ModelShared>) -> Vec<ModelKeeper> {
    let settings = Settings {
        // Once nothing goes wrong any more there is little to look for.
        reconcile: Duration::from_secs(if world.is_healed() { 3600 } else { 900 }),
        timeout: Duration::from_secs(30),
        lifecycle: world.lifecycle_of_keepers(),
    };
    let keeper = |(name, key, server)| {
        let server = ModelServer(world.clone(), server);
        let mut keeper = Keeper::new(name, key, server, shared.clone(), settings.clone());
        keeper.tamper = world.broken().tamper();
        keeper.mutant = world.broken().mutant();
        keeper
    };
    world.servers().into_iter().map(keeper).collect()
}

/// One process: opened, driven, and dropped at whatever await it has come to.
async fn live(world: &Arc<World>, limit: Duration) {
    let Some(shared) = process(world).await else { return };
    world.process_begins();
    let (stop, stopping) = watch::channel(false);
    let drive = async {
        shared.deliver_all().await;
        while look_after_servers(world, &shared, stopping.clone()).await == After::OtherServers {}
    };
    let drive = async {
        tokio::select! {
            biased;
            () = drive => {}
            () = world.crash.notified() => {}
        }
    };
    if fastrand::bool() {
        let _killed = tokio::time::timeout(limit, drive).await;
        world.tell("killed");
    } else {
        let stop = async {
            tokio::time::sleep(limit).await;
            world.stopping();
            if world.broken() != Break::HearsNoStop {
                stop.send_replace(true);
            }
            // One that does not hear goes on for a while.
            tokio::time::sleep(Duration::from_secs(1200)).await;
        };
        tokio::select! {
            biased;
            () = drive => {}
            () = stop => {}
        }
        world.tell("stopped");
    }
    drop(shared);
    world.process_ended();
    // What was being written ends with it, and of several crashes one is enough.
    tokio::task::yield_now().await;
    let _another = tokio::time::timeout(Duration::ZERO, world.crash.notified()).await;
}

/// What comes after keepers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// Others, for the servers that the list names now.
    OtherServers,
    Nothing,
}

/// The keepers of all servers of a list, for as long as it names these.
async fn look_after_servers(
    world: &Arc<World>,
    shared: &Arc<ModelShared>,
    mut stopping: watch::Receiver<bool>,
) -> After {
    world.keepers_begin();
    let keepers = keepers(world, shared);
    let (stop, hears) = watch::channel(false);
    let signals = Signals::new(hears);
    let told = std::sync::Mutex::new(BTreeSet::new());
    let drives = keepers.iter().map(|keeper| {
        keeper.drive(Mode::Daemon, Duration::ZERO, signals.clone(), |report| {
            for finding in &report.findings {
                let finding = format!("{}: {finding}", keeper.server_name());
                if told.lock().expect("one thread").insert(finding.clone()) {
                    world.tell(format!("found: {finding}"));
                }
            }
        })
    });
    let mut drives = std::pin::pin!(join_all(drives));
    let after = tokio::select! {
        biased;
        _ = &mut drives => return After::Nothing,
        () = person::act(world, &keepers, shared) => After::OtherServers,
        _ = stopping.wait_for(|stopping| *stopping) => After::Nothing,
    };
    stop.send_replace(true);
    let _ended = tokio::time::timeout(Duration::from_secs(60), drives).await;
    after
}

fn run(seed: u64, broken: Break, without: &[Fault]) -> Arc<World> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(history(seed, broken, without))
}

fn from_environment(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map_or("", String::as_str)
}

/// The rule that a history broke.
fn rule(text: &str) -> &str {
    text.split(" (seed").next().unwrap_or_default().split(": ").next().unwrap_or_default()
}

/// A failed history again, with no more kinds of faults than it takes to break the same rule.
fn shrunk(seed: u64, told: String) -> String {
    let (mut without, mut shortest) = (Vec::new(), told);
    let begun = std::time::Instant::now();
    for fault in World::faults().take_while(|_| begun.elapsed() < SHRINKING) {
        let fewer: Vec<Fault> = without.iter().copied().chain([fault]).collect();
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, Break::Nothing, &fewer))) else {
            continue;
        };
        if rule(text(&*panic)) == rule(&shortest) {
            (without, shortest) = (fewer, text(&*panic).to_owned());
        }
    }
    format!("without {without:?}:\n{shortest}")
}

#[test]
#[expect(clippy::print_stdout, reason = "how often each fault struck")]
fn every_history_keeps_the_rules_and_converges() {
    if let Some(seed) = from_environment("INFLUX_TOKEND_SEED") {
        println!("{}", run(seed, Break::Nothing, &[]).history());
        return;
    }
    let seeds = from_environment("INFLUX_TOKEND_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let begun: Vec<_> = (0..threads as u64)
            .map(|part| scope.spawn(move || struck_in((part..seeds).step_by(threads))))
            .collect();
        begun
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let (mut struck, mut events) = (Struck::default(), BTreeMap::<_, usize>::new());
    for (part, seen) in parts {
        struck.add(&part);
        seen.into_iter().for_each(|(event, times)| *events.entry(event).or_default() += times);
    }
    println!("{seeds} histories\n{struck}\n{events:#?}");
    assert_eq!(struck.empty(), Vec::<String>::new());
    for event in EVENTS {
        assert!(events.contains_key(event), "it never happened that {event}");
    }
}

fn struck_in(seeds: impl Iterator<Item = u64>) -> (Struck, BTreeMap<&'static str, usize>) {
    let (mut struck, mut events) = (Struck::default(), BTreeMap::new());
    for seed in seeds {
        let world = match catch_unwind(|| run(seed, Break::Nothing, &[])) {
            Ok(world) => world,
            Err(panic) => panic!("{}", shrunk(seed, text(&*panic).to_owned())),
        };
        struck.add(&world.table());
        world.events().into_iter().for_each(|(event, times)| *events.entry(event).or_default() += times);
    }
    (struck, events)
}

/// A rule that is broken on purpose is seen, or the simulation sees nothing.
#[test]
#[expect(clippy::print_stdout, reason = "how many seeds each took")]
fn what_is_broken_on_purpose_is_caught() {
    // One alone, where only that is asked for.
    let only = std::env::var("INFLUX_TOKEND_BREAK").ok();
    let is_wanted = |broken: Break| only.as_ref().is_none_or(|only| *only == format!("{broken:?}"));
    std::thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || {
                for (broken, rule) in
                    CAUGHT.iter().skip(part).step_by(2).filter(|(broken, _)| is_wanted(*broken))
                {
                    let is_caught = |seed: &u64| {
                        let told = catch_unwind(|| run(*seed, *broken, &[]));
                        told.is_err_and(|panic| text(&*panic).contains(rule))
                    };
                    let seed = (0..SEEDS).find(is_caught);
                    println!("{broken:?}: {seed:?}");
                    assert!(seed.is_some(), "{broken:?} was not caught as {rule:?}");
                }
            });
        }
    });
}

/// A world without faults in which these are wanted.
fn sound(seed: u64, specs: usize, lifecycle: Lifecycle) -> (Arc<World>, BTreeMap<Name, Spec>) {
    fastrand::seed(seed);
    let world = World::with(seed, Break::Nothing, &[], lifecycle);
    world.heal();
    world.have_one_server();
    let specs = lists::plain(specs, &world.servers()[0]);
    world.wants(specs.clone());
    (world, specs)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_delivered_before_three_minutes_of_activation_are_over() {
    let (world, _) = sound(1, 3, Lifecycle::default());
    world.activation(Duration::from_secs(180));
    live(&world, Duration::from_secs(170)).await;
    assert_eq!(world.delivered(), 0, "{}", world.history());
    live(&world, Duration::from_secs(240)).await;
    assert_eq!(world.delivered(), 3, "{}", world.history());
}

#[tokio::test(start_paused = true)]
async fn creates_that_fail_for_a_day_are_made_up_for() {
    let (world, _) = sound(2, 3, Lifecycle::default());
    world.refuse_mints(true);
    live(&world, Duration::from_secs(24 * 3600)).await;
    assert_eq!(world.delivered(), 0);
    let tries = world.mints();
    assert!((3..3 * 24 * 15).contains(&tries), "{tries} tries in a day");
    world.refuse_mints(false);
    live(&world, Duration::from_secs(3600)).await;
    assert_eq!(world.delivered(), 3, "{}", world.history());
    // Their intents are dropped when a list a day later lacks them.
    live(&world, Duration::from_secs(27 * 3600)).await;
    world.assert_converged();
}

/// The model counts the requests of each hour.
#[tokio::test(start_paused = true)]
async fn where_nothing_helps_the_server_is_asked_now_and_then() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (world, mut specs) = sound(7, 3, Lifecycle::default());
    specs.values_mut().for_each(|spec| spec.lifetime = Some(8 * HOUR));
    world.wants(specs);
    live(&world, HOUR).await;
    world.refuse_mints(true);
    world.silence_data(true);
    // All have expired, none is minted, and nobody says whether they work.
    live(&world, 14 * HOUR).await;
    assert!(world.lists() >= 7, "{}", world.history());
    world.refuse_mints(false);
    world.silence_data(false);
    live(&world, HOUR).await;
    assert!(world.generation("t0").is_some_and(|values| values > 1), "{}", world.history());
}

/// A world without faults in which `t0` is settled and is to have a new value; its overlap takes ten minutes.
async fn to_be_rotated(seed: u64) -> Arc<World> {
    let overlap_cap = Some(Duration::from_secs(600));
    let lifecycle = Lifecycle { overlap: Duration::ZERO, overlap_cap, ..Lifecycle::default() };
    let (world, specs) = sound(seed, 1, lifecycle);
    live(&world, Duration::from_secs(60)).await;
    assert_eq!(world.live(), 1, "{}", world.history());
    world.wish(specs.keys());
    world
}

#[tokio::test(start_paused = true)]
async fn a_rotation_delivers_a_new_value_and_ends_the_old_one_in_time() {
    let world = to_be_rotated(3).await;
    live(&world, Duration::from_secs(60)).await;
    assert_eq!(world.generation("t0"), Some(2), "{}", world.history());
    // Other processes, which have not seen it retire.
    live(&world, Duration::from_secs(500)).await;
    assert_eq!(world.live(), 2, "{}", world.history());
    live(&world, Duration::from_secs(100)).await;
    assert_eq!(world.live(), 1, "{}", world.history());
    world.assert_converged();
}

#[tokio::test(start_paused = true)]
async fn former_tokens_are_let_go_when_they_have_expired() {
    const HOUR: Duration = Duration::from_secs(3600);
    let (world, mut specs) = sound(6, 1, Lifecycle::default());
    specs.values_mut().for_each(|spec| spec.lifetime = Some(8 * HOUR));
    world.wants(specs);
    live(&world, 48 * HOUR).await;
    assert!(world.generation("t0").is_some_and(|values| values > 10), "{}", world.history());
    // A new one every four hours, and of the former ones those that have not expired, or not long ago.
    assert!(world.held() <= 3, "{} are held\n{}", world.held(), world.history());
    world.assert_converged();
}

#[tokio::test(start_paused = true)]
async fn a_date_that_jumps_a_year_ahead_ends_no_overlap() {
    let world = to_be_rotated(4).await;
    live(&world, Duration::from_secs(5)).await;
    world.jump_ahead(0, Duration::from_secs(1000));
    // Also not by another process, which has not seen it retire.
    live(&world, Duration::from_secs(250)).await;
    live(&world, Duration::from_secs(300)).await;
    assert_eq!((world.generation("t0"), world.live()), (Some(2), 2), "{}", world.history());
    live(&world, Duration::from_secs(100)).await;
    assert_eq!(world.live(), 1, "{}", world.history());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_left_the_list_is_delivered_for_a_day_then_ended_and_forgotten_after_a_month() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (world, mut specs) = sound(5, 2, Lifecycle::default());
    live(&world, Duration::from_secs(60)).await;
    specs.remove("t1");
    world.wants(specs);
    live(&world, DAY - Duration::from_secs(60)).await;
    assert_eq!((world.delivered(), world.live()), (2, 2), "{}", world.history());
    live(&world, Duration::from_secs(2 * 3600)).await;
    assert_eq!((world.delivered(), world.live(), world.records()), (1, 1, 2), "{}", world.history());
    // And a look or two.
    live(&world, 30 * DAY + Duration::from_secs(3 * 3600)).await;
    assert_eq!(world.records(), 1, "{}", world.history());
}
