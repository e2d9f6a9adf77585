//! Rotations, drifts and removals, struck at each of their steps by either signal, both commands and daemons.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::Signal;

use super::{
    asked_for,
    history::{self, Program, Strike},
    least,
    operation::{OPERATIONS, Operation},
    strike::Step,
};

/// So many histories at a time: most of their time they wait.
const AT_ONCE: usize = 6;
/// So often a history is tried in which the program ends before it is struck.
const TRIES: usize = 20;

const PROGRAMS: [Program; 2] = [Program::Command, Program::Daemon];
const SIGNALS: [Signal; 2] = [Signal::KILL, Signal::TERM];

/// A step of a stage of an operation.
type At = (Operation, usize, Step);

/// What has come of all strikes at a step.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Strikes by SIGKILL at a command and at a daemon, and the same by SIGTERM.
    struck: [usize; 4],
    /// Those that came too late.
    late: usize,
    /// Tokens that were minted and lost, and ended again.
    strays: usize,
}

#[test]
fn no_strike_at_a_change_loses_leaks_or_cuts_off_a_token() {
    let steps = steps();
    let (kills, seed) = asked_for(steps.len());
    let (next, tally) = (AtomicUsize::new(0), Mutex::<BTreeMap<At, Tally>>::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let _abort = Abort(&next);
                loop {
                    let history = next.fetch_add(1, Ordering::Relaxed);
                    if history >= kills {
                        return;
                    }
                    one_history(&steps, seed, history, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!("{kills} strikes (seed {seed})\n{}", table(&tally));
    for at in &steps {
        let times: usize = tally.get(at).map_or(0, |tally| tally.struck.iter().sum());
        assert!(times >= least(kills, steps.len()), "{at:?} was struck {times} times only");
    }
}

/// No further history is begun after one that failed.
struct Abort<'a>(&'a AtomicUsize);

impl Drop for Abort<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(usize::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// All steps of all stages of all operations.
fn steps() -> Vec<At> {
    let of_stage = |operation, (stage, steps): (usize, Vec<Step>)| {
        steps.into_iter().map(move |step| (operation, stage + 1, step))
    };
    let of_operation = |operation: Operation| {
        operation.stages().into_iter().enumerate().flat_map(move |stage| of_stage(operation, stage))
    };
    OPERATIONS.into_iter().flat_map(of_operation).collect()
}

/// In turn, so that each step is struck as often as any other, and in each of the four ways.
fn one_history(steps: &[At], seed: u64, history: usize, tally: &Mutex<BTreeMap<At, Tally>>) {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(history as u64));
    let at = steps[history % steps.len()];
    let way = (history / steps.len() + history % steps.len()) % 4;
    let (operation, stage, step) = at;
    let strike = Strike { operation, stage, step, program: PROGRAMS[way % 2], signal: SIGNALS[way / 2] };
    let context = format!("seed {seed}, history {history}");
    for late in 0..TRIES {
        if let Some(strays) = history::run(strike, &mut random, &context) {
            let mut tally = tally.lock().unwrap();
            let tally = tally.entry(at).or_default();
            tally.struck[way] += 1;
            tally.late += late;
            tally.strays += strays;
            return;
        }
    }
    panic!("{context}: {strike:?} always comes too late");
}

fn table(tally: &BTreeMap<At, Tally>) -> String {
    let mut table = format!("{:24}{:>16}{:>16}\n{:24}", "", "SIGKILL", "SIGTERM", "");
    table += &["command", "daemon", "command", "daemon", "late", "strays"]
        .map(|head| format!("{head:>8}"))
        .concat();
    for ((operation, _, step), Tally { struck, late, strays }) in tally {
        table += &format!("\n{:<12}{:<12}", format!("{operation:?}"), format!("{step:?}"));
        for count in struck.iter().chain([late, strays]) {
            table += &format!("{count:>8}");
        }
    }
    table
}
