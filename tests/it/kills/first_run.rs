//! A first run, killed at each of its steps: afterwards every name has exactly one token.

use std::{collections::BTreeMap, fs, process::Stdio};

use rustix::process::Signal;

use super::{
    asked_for, least,
    strike::{RENEWAL, Step, Watch},
};
use crate::{
    foreign::Foreign,
    host::{Daemon, Host},
    kind::Kind,
};

/// So many tokens are minted in each history.
const TOKENS: usize = 20;
/// So many tokens belong to others.
const FOREIGN: usize = 500;

#[test]
fn no_kill_loses_or_leaks_a_token() {
    let (kills, seed) = asked_for(5 * RENEWAL.len());
    let mut random = fastrand::Rng::with_seed(seed);
    let mut struck: BTreeMap<Step, usize> = BTreeMap::new();
    let mut strays = 0;
    for history in 0..kills {
        // In turn, so that each is struck as often as any other.
        let step = RENEWAL[history % RENEWAL.len()];
        let (hit, left) = one_history(&Kind::CLUSTERED, step, &mut random, seed, history);
        *struck.entry(step).or_default() += usize::from(hit);
        strays += left;
    }
    println!(
        "{kills} kills (seed {seed}): {struck:?}; {strays} tokens were minted and lost, and ended again"
    );
    for step in RENEWAL {
        let times = struck.get(&step).copied().unwrap_or_default();
        assert!(times >= least(kills, RENEWAL.len()), "{step:?} was struck {times} times only: {struck:?}");
    }
}

/// The way to a server makes no difference to a kill: each step once on each of the other kinds.
#[test]
fn no_kill_loses_or_leaks_a_token_of_another_kind_of_server() {
    let (_, seed) = asked_for(0);
    let mut random = fastrand::Rng::with_seed(seed);
    for kind in Kind::all().into_iter().filter(|kind| kind.name != Kind::CLUSTERED.name) {
        let struck =
            RENEWAL.into_iter().filter(|step| one_history(kind, *step, &mut random, seed, 0).0).count();
        println!("{}: {struck} kills of {} (seed {seed})", kind.name, RENEWAL.len());
        assert!(struck >= RENEWAL.len() / 2, "{}: {struck} kills only (seed {seed})", kind.name);
    }
}

/// Whether the kill struck, and how many strays had to be ended.
fn one_history(
    kind: &'static Kind,
    step: Step,
    random: &mut fastrand::Rng,
    seed: u64,
    history: usize,
) -> (bool, usize) {
    let host = Host::on(kind);
    let foreign = Foreign::new(&host, FOREIGN);
    host.list_of(TOKENS);
    // Probes take a moment, so that there is something to strike.
    let text = fs::read_to_string(host.path("tokens.toml")).unwrap().replace("\"20ms\"", "\"10ms\"");
    host.write("tokens.toml", &text);
    let hit = run_and_kill(&host, step, random);
    let context = format!("{}, seed {seed}, history {history}, killed at {step:?}", kind.name);
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{context}: {ran:?}");
    for name in names() {
        let live = host.live(&name);
        assert_eq!(live.len(), 1, "{context}: live tokens of {name}: {live:#?}\n{ran:?}");
        assert_eq!(host.delivered(&name).as_deref(), Some(live[0].secret.as_str()), "{context}: {name}");
    }
    host.assert_settled(&format!("t{}", random.usize(..TOKENS)));
    foreign.assert_untouched(&host, &context);
    let live = host.sandbox.live();
    assert_eq!(live.len(), TOKENS + FOREIGN, "{context}");
    let ended = host.sandbox.tokens().len() - live.len();
    let touched: Vec<String> = host
        .sandbox
        .requests()
        .into_iter()
        .filter(|request| matches!(request.method.as_str(), "PATCH" | "DELETE"))
        .map(|request| request.path)
        .collect();
    assert_eq!(touched.len(), ended, "{context}: {touched:?}");
    (hit, ended)
}

fn names() -> Vec<String> {
    (0..TOKENS).map(|n| format!("t{n}")).collect()
}

/// Runs `apply` and kills it at the drawn step.
fn run_and_kill(host: &Host, step: Step, random: &mut fastrand::Rng) -> bool {
    let watch = Watch::new(host, &RENEWAL, step, &names(), random);
    let mut command = host.command(&["apply"]);
    command.stdout(Stdio::null());
    let mut program = Daemon::start(command);
    watch.strike(&mut program, Signal::KILL, random).is_some()
}
