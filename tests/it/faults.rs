//! Disks that fail and fill up, under a first run and under a rotation: nothing is lost, and once they work again nothing
//! is left over.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{
    foreign::Foreign,
    host::{Host, Ran, ran},
    peers::{find, missing},
    seals::{Unmount, mount},
};

/// So many tokens belong to others.
const FOREIGN: usize = 4;

/// That consumers have the current token, that it lives, and that nothing else of this name does but former ones in
/// their overlap that the store knows.
fn assert_sound(host: &Host, name: &str, context: &str) {
    let live = host.live(name);
    let status = host.status_of(name);
    let current = live.iter().find(|token| status["id"] == token.id.as_str());
    let current = current.unwrap_or_else(|| panic!("{context}: {name} has no token that works: {status}"));
    assert_eq!(host.delivered(name).as_deref(), Some(current.secret.as_str()), "{context}: {name}");
    assert_eq!(host.secrets(&["get", name]).stdout, current.secret, "{context}: {name}");
    let former: BTreeSet<&str> =
        status["retiring"].as_array().unwrap().iter().filter_map(|former| former["id"].as_str()).collect();
    let others: BTreeSet<&str> =
        live.iter().map(|token| token.id.as_str()).filter(|id| status["id"] != *id).collect();
    assert_eq!(others, former, "{context}: {name}: {status}");
}

/// After a first run that met faults: once more, without.
fn first_run_is_made_up_for(host: &Host, names: &[String], context: &str) {
    host.apply();
    for name in names {
        assert_sound(host, name, context);
        assert_eq!(host.live(name).len(), 1, "{context}: {name}");
    }
    host.assert_no_leftovers(context);
}

/// After a rotation that met faults: what is under way is finished, what was not begun is begun again. The token that
/// consumers had before works all the time.
fn rotation_is_made_up_for(host: &Host, before: &[(String, String)], context: &str) {
    let old_works = |when: &str| {
        let live = host.sandbox.live();
        for (name, secret) in before {
            assert!(live.iter().any(|token| token.secret == *secret), "{context}: {name} was cut off {when}");
        }
    };
    old_works("by the faults");
    host.apply();
    let behind: Vec<&str> = before
        .iter()
        .map(|(name, _)| name.as_str())
        .inspect(|name| assert_sound(host, name, context))
        .filter(|name| host.status_of(name)["generation"] == 1)
        .collect();
    if !behind.is_empty() {
        let again = host.tokend(&[&["rotate"], &behind[..]].concat());
        assert_eq!(again.code, Some(0), "{context}: {again:?}");
    }
    old_works("afterwards");
    for (name, _) in before {
        assert_sound(host, name, context);
        assert_eq!(
            (host.status_of(name)["generation"].as_u64(), host.live(name).len()),
            (Some(2), 2),
            "{context}"
        );
    }
    host.assert_no_leftovers(context);
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t{n}")).collect()
}

/// What consumers have of each.
fn held(host: &Host, names: &[String]) -> Vec<(String, String)> {
    names.iter().map(|name| (name.clone(), host.delivered(name).unwrap())).collect()
}

/// A file system of its own for a folder, with so much room.
fn small(host: &Host, folder: &str, room: &str) -> Option<Unmount> {
    let path = host.path(folder);
    let mode = if folder == "store" { "0700" } else { "0755" };
    mount(&path, &format!("size={room},mode={mode}"))
}

fn make_room(host: &Host, folder: &str) {
    let path = host.path(folder);
    let status = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&path).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_disk_that_fills_up_in_a_first_run_loses_nothing() {
    const TOKENS: usize = 20;
    for folder in ["store", "run"] {
        // Whatever page is the last that fits.
        for room in ["36k", "56k", "60k"] {
            let context = format!("{folder} with {room}");
            let host = Host::new();
            let foreign = Foreign::new(&host, FOREIGN);
            let Some(_mounted) = small(&host, folder, room) else { return };
            host.list_of(TOKENS);
            let ran = host.tokend(&["apply"]);
            assert!(ran.stderr.contains("No space left on device"), "{context}: {ran:?}");
            host.assert_no_leftovers(&context);
            make_room(&host, folder);
            first_run_is_made_up_for(&host, &names(TOKENS), &context);
            foreign.assert_untouched(&host, &context);
        }
    }
}

#[test]
fn a_disk_that_fills_up_in_a_rotation_loses_nothing() {
    const TOKENS: usize = 8;
    for folder in ["store", "run"] {
        for pages in [0, 1, 2, 5] {
            let context = format!("{folder} with {pages} pages left");
            let host = Host::new();
            let foreign = Foreign::new(&host, FOREIGN);
            let Some(_mounted) = small(&host, folder, "1m") else { return };
            host.list_of(TOKENS);
            host.apply();
            let before = held(&host, &names(TOKENS));
            fill(&host.path(folder), pages);
            let ran = host.tokend(
                &[&["rotate"], &names(TOKENS).iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
            );
            // With little room it may do: what is replaced makes room again.
            let is_told = ran.code != Some(0) && ran.stderr.contains("No space left on device");
            assert!(is_told || pages > 0, "{context}: {ran:?}");
            host.assert_no_leftovers(&context);
            fs::remove_file(host.path(folder).join("filler")).unwrap();
            rotation_is_made_up_for(&host, &before, &context);
            foreign.assert_untouched(&host, &context);
        }
    }
}

/// Leaves room for so many pages.
fn fill(folder: &Path, pages: u64) {
    let filler = folder.join("filler");
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err(), "full");
    let length = fs::metadata(&filler).unwrap().len();
    fs::OpenOptions::new().write(true).open(&filler).unwrap().set_len(length - pages * 4096).unwrap();
}

/// Runs a command in which, of each thread, the nth call of a kind fails; `None` where that cannot be had, else whether
/// any did.
fn with_fault(host: &Host, call: &str, nth: usize, arguments: &[&str]) -> Option<(bool, Ran)> {
    let strace = find("strace", "STRACE")?;
    let seen = host.path("strace");
    let inner = host.command(arguments);
    let mut command = Command::new(strace);
    command.args(["-f", "-qq", "-o"]).arg(&seen);
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error=EIO:when={nth}")]);
    command.arg(inner.get_program()).args(inner.get_args()).env_remove("NOTIFY_SOCKET");
    let ran = ran(command.output().unwrap());
    if ran.stderr.contains("Operation not permitted") {
        missing("the right to trace another process");
        return None;
    }
    let struck = fs::read_to_string(&seen).unwrap().contains("(INJECTED)");
    fs::remove_file(seen).unwrap();
    Some((struck, ran))
}

/// What a second try has mended need not be told: then all is done.
fn assert_told_or_done(host: &Host, ran: &Ran, names: &[String], error: &str, context: &str) {
    if ran.code == Some(0) {
        names.iter().for_each(|name| assert_sound(host, name, context));
    } else {
        assert!(ran.stderr.contains(error), "{context}: it is not told: {ran:?}");
    }
}

/// The calls by which a file becomes durable and gets its name. (A `write` injected so would fail for the runtime's own
/// wake-ups as well: see [`with_limit`].)
const CALLS: [&str; 2] = ["fsync", "rename,renameat,renameat2"];

/// Runs a history for each n for which an nth call was made, and tells how many that were.
fn each_fault(call: &str, history: impl Fn(usize, &str) -> Option<bool>) -> Option<usize> {
    for nth in 1..100 {
        if !history(nth, &format!("{call}, {nth}"))? {
            return Some(nth - 1);
        }
    }
    panic!("there is no end to {call}");
}

#[test]
fn no_failed_call_in_a_first_run_loses_a_token() {
    for call in CALLS {
        let struck = each_fault(call, |nth, context| {
            let host = Host::new();
            let foreign = Foreign::new(&host, FOREIGN);
            host.list_of(2);
            let (struck, ran) = with_fault(&host, call, nth, &["apply"])?;
            assert_told_or_done(&host, &ran, &names(2), "Input/output error", context);
            host.assert_no_leftovers(context);
            first_run_is_made_up_for(&host, &names(2), context);
            foreign.assert_untouched(&host, context);
            Some(struck)
        });
        let Some(struck) = struck else { return };
        println!("first run: {call} failed at each of {struck} places");
        assert!(struck >= 3, "{call}: {struck} places only");
    }
}

#[test]
fn no_failed_call_in_a_rotation_loses_a_token() {
    for call in CALLS {
        let struck = each_fault(call, |nth, context| {
            let host = Host::new();
            let foreign = Foreign::new(&host, FOREIGN);
            host.list_of(2);
            host.apply();
            let before = held(&host, &names(2));
            let (struck, ran) = with_fault(&host, call, nth, &["rotate", "t0", "t1"])?;
            assert_told_or_done(&host, &ran, &names(2), "Input/output error", context);
            host.assert_no_leftovers(context);
            rotation_is_made_up_for(&host, &before, context);
            foreign.assert_untouched(&host, context);
            Some(struck)
        });
        let Some(struck) = struck else { return };
        println!("rotation: {call} failed at each of {struck} places");
        assert!(struck >= 2, "{call}: {struck} places only");
    }
}

/// Runs a command of which each `write` fails that would make a file longer than this. What is written first and then fails
/// depends on the limit: a record grows with what is in it.
fn with_limit(host: &Host, bytes: u64, arguments: &[&str]) -> Ran {
    let inner = host.command(arguments);
    let mut command = Command::new("sh");
    // By the signal that comes with the error it would end. It waits until it has its limit.
    command.args(["-c", "trap '' XFSZ; read -r _; exec \"$0\" \"$@\" </dev/null"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_remove("NOTIFY_SOCKET");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let pid = Pid::from_raw(child.id().cast_signed());
    prlimit(pid, Resource::Fsize, limit).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    ran(child.wait_with_output().unwrap())
}

/// Runs a history with each limit, up to one that is none, and tells how many were.
fn each_limit(history: impl Fn(u64, &str) -> Ran) -> usize {
    for (before, bytes) in (0..20_000).step_by(100).enumerate() {
        let ran = history(bytes, &format!("no file longer than {bytes} bytes"));
        if ran.code == Some(0) {
            return before;
        }
    }
    panic!("it always fails");
}

#[test]
fn no_failed_write_in_a_first_run_loses_a_token() {
    let limits = each_limit(|bytes, context| {
        let host = Host::new();
        let foreign = Foreign::new(&host, FOREIGN);
        host.list_of(2);
        let ran = with_limit(&host, bytes, &["apply"]);
        assert_told_or_done(&host, &ran, &names(2), "File too large", context);
        host.assert_no_leftovers(context);
        first_run_is_made_up_for(&host, &names(2), context);
        foreign.assert_untouched(&host, context);
        ran
    });
    println!("first run: writes failed under each of {limits} limits");
    assert!(limits >= 5, "{limits}");
}

#[test]
fn no_failed_write_in_a_rotation_loses_a_token() {
    let mints = std::cell::RefCell::new(BTreeSet::new());
    let limits = each_limit(|bytes, context| {
        let host = Host::new();
        let foreign = Foreign::new(&host, FOREIGN);
        host.list_of(2);
        host.apply();
        let before = held(&host, &names(2));
        host.sandbox.clear_requests();
        let ran = with_limit(&host, bytes, &["rotate", "t0", "t1"]);
        let minted = host.sandbox.requests().into_iter().filter(|request| request.path == "/api/v0/tokens");
        mints.borrow_mut().insert(minted.filter(|request| request.method == "POST").count());
        assert_told_or_done(&host, &ran, &names(2), "File too large", context);
        host.assert_no_leftovers(context);
        rotation_is_made_up_for(&host, &before, context);
        foreign.assert_untouched(&host, context);
        ran
    });
    println!("rotation: writes failed under each of {limits} limits, mints before that: {mints:?}");
    assert!(limits >= 5, "{limits}");
    assert!(mints.borrow().len() > 1, "some before the mint, some after");
}
