//! A kill at each of the calls by which a ring is changed, in turn: the next run puts all right.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    host::wait_until,
    peers::find,
    rings::{RING, Relayed},
    scripted::{Running, Scripted},
};

/// What there is before, and what is to be there in the end: one stays, one changes, one goes, one comes.
const BEFORE: [(&str, &str); 3] = [("changes", "CANARY old"), ("goes", "CANARY"), ("stays", "CANARY stays")];
const AFTER: [(&str, &str); 3] =
    [("changes", "CANARY new"), ("comes", "CANARY comes"), ("stays", "CANARY stays")];

/// Answers what is asked until the one who asks has ended; whether it came to its own end.
fn serve(server: &Scripted, mut running: Running, tokens: &[(&str, &str)]) -> bool {
    let changed: Vec<(&str, u64)> = tokens.iter().map(|(name, _)| (*name, 1)).collect();
    let mut ended = None;
    wait_until(
        "its end",
        || {
            while let Some(asked) = server.try_next() {
                match asked.target().strip_prefix("/v1/secret/").map(str::to_owned) {
                    None => asked.changes("e.1", &changed),
                    Some(name) => match tokens.iter().find(|(token, _)| *token == name) {
                        Some((_, value)) => asked.answer(200, value),
                        None => asked.answer(404, ""),
                    },
                }
            }
            ended = ended.take().or_else(|| running.try_end());
            ended.is_some()
        },
        String::new,
    );
    ended == Some(0)
}

/// Killed before its n-th call, which is after the one before.
fn strike(relayed: &Relayed, strace: &Path, call: &str, number: u32) -> Command {
    let usual = relayed.command(&[]);
    // strace ends as what it has run does, by a signal.
    let mut struck = relayed.owner.command(Path::new("/bin/sh"));
    struck.args(["-c", "\"$@\" 2>/dev/null; exit $?", "sh"]).arg(strace).args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
    ]);
    struck.args(["-e", &format!("trace={call}")]);
    struck.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]);
    struck.arg(usual.get_program()).args(usual.get_args());
    struck.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    struck
}

#[test]
fn a_kill_at_each_call_leaves_what_the_next_run_puts_right() {
    let Some(strace) = find("strace", "STRACE") else { return };
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let mut strikes = 0;
    for call in ["add_key", "keyctl"] {
        for number in 1.. {
            assert!(number < 200, "it never comes to its end");
            let run = |tokens: &[(&str, &str)]| {
                assert!(serve(&server, Running::spawn(&mut relayed.command(&[])), tokens), "{call} {number}");
                relayed.owner.assert_has(tokens);
            };
            run(&BEFORE);
            // Back again, where what came must not be left, and on.
            let mut is_done = false;
            for goal in [&BEFORE, &AFTER] {
                let ring = relayed.owner.ring(RING);
                is_done =
                    serve(&server, Running::spawn(&mut strike(&relayed, &strace, call, number)), &AFTER);
                // What it has, Telegraf has had all along, in the one value or the other.
                for (name, old, new) in
                    [("changes", BEFORE[0].1, AFTER[0].1), ("stays", BEFORE[2].1, AFTER[2].1)]
                {
                    let value = relayed.owner.value(name);
                    let is_whole = [old, new].contains(&value.as_deref().unwrap_or_default());
                    assert!(is_whole, "{call} {number}: {name}");
                }
                assert_eq!(relayed.owner.ring(RING), ring, "{call} {number}");
                run(goal);
            }
            if is_done {
                break;
            }
            strikes += 2;
        }
    }
    println!("{strikes} strikes");
    assert!(strikes > 30, "{strikes} strikes");
}
