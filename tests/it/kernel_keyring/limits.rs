//! What the kernel refuses.

use influx_tokend::keys::{self, Kind};

use super::{fill, said};
use crate::{
    host::wait_until,
    rings::{OWN, RING, Relayed, has_usual_quota},
    scripted::{Reader, Running},
};

#[test]
fn a_quota_is_told_once_with_what_raises_it_and_the_rest_is_there() {
    let Some(relayed) = Relayed::new().filter(|_| has_usual_quota()) else { return };
    let server = relayed.serve();
    let names: Vec<String> = (0..220).map(|n| format!("t{n:03}")).collect();
    let changed: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let answers: Vec<(&str, u16, &str)> = names.iter().map(|name| (name.as_str(), 200, "CANARY")).collect();
    let ran = fill(&relayed, &server, &changed, &answers);
    let there = relayed.owner.names_in(RING);
    assert_eq!(relayed.owner.names_in(OWN), there, "nothing is half there");
    assert_eq!(there, names[..there.len()]);
    let left = names.len() - there.len();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let uid = relayed.owner.uid;
    let said: Vec<&str> = said(&ran).into_iter().filter(|line| !line.contains(" is in the ring ")).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    let first = format!(
        "warning: cannot put token {} into the ring \"telegraf\": the kernel holds no more keys for user {uid}, who has 200 \
         of 200 keys and ",
        names[there.len()]
    );
    assert!(said[0].starts_with(&first), "{said:?}");
    let hint = "hint: raise `kernel.keys.maxkeys` (how many) or `kernel.keys.maxbytes` (how large, all together), for \
                instance `sysctl -w kernel.keys.maxkeys=2000`";
    assert!(said[1].starts_with(hint), "{said:?}");
    assert_eq!(said[2], format!("warning: and {} more tokens, for the same reason", left - 1));
    assert_eq!(said[3], format!("error: {left} of 220 tokens are not in the ring \"telegraf\""));

    // Large values are another quota, and what has gone makes room: a moment later, for the kernel counts it that long.
    let large = "x".repeat(9_000);
    let mut last = String::new();
    wait_until(
        "room for two",
        || {
            let ours = relayed.owner.names_in(OWN);
            let running = Running::spawn(&mut relayed.command(&[]));
            server.asks("/v1/changes").changes("e.2", &[("l1", 1), ("l2", 1), ("l3", 1)]);
            ours.iter().filter(|name| name.starts_with('t')).for_each(|_| server.next().answer(404, ""));
            for name in ["l1", "l2", "l3"] {
                server.asks(&format!("/v1/secret/{name}")).answer(200, &large);
            }
            let ran = running.end();
            assert_eq!(ran.code, Some(4), "{ran:?}");
            last = ran.stderr;
            relayed.owner.names_in(RING) == ["l1", "l2"]
        },
        String::new,
    );
    assert!(last.contains("cannot put token l3 into the ring"), "{last}");
    assert!(last.contains("`sysctl -w kernel.keys.maxbytes=200000`"), "{last}");
    relayed.owner.assert_has(&[("l1", &large), ("l2", &large)]);

    // With not a byte to spare: what is there is changed in place, and can be taken out.
    let ring = relayed.owner.ring(RING).unwrap();
    let fill_up = || {
        for (n, size) in [2000, 200, 20, 4, 3, 2, 1].into_iter().cycle().take(100).enumerate() {
            let _full = keys::add(Kind::Value, &format!("{n}"), &vec![b'x'; size], ring);
        }
    };
    let is = |name: &str, value: &str| relayed.owner.value(name).as_deref() == Some(value);
    wait_until(
        "no room",
        || {
            relayed.owner.does(fill_up);
            // Not even for the link by which it would possess the ring.
            let is_full = relayed.owner.bytes_left() < 4;
            let running = Running::spawn(&mut relayed.command(&[]));
            server.asks("/v1/changes").changes("e.3", &[("l1", 2), ("l2", 2)]);
            server.asks("/v1/secret/l1").answer(200, &"y".repeat(9_000));
            server.asks("/v1/secret/l2").answer(200, &"y".repeat(19_000));
            let ran = running.end();
            assert!(is("l1", &"y".repeat(9_000)), "{}", ran.stderr);
            assert!(is("l2", &large), "a value is never half there");
            assert!(ran.stderr.contains("cannot put token l2 into the ring"), "{}", ran.stderr);
            is_full
        },
        String::new,
    );
    let ran = Running::spawn(&mut relayed.command(&["--clear"])).end();
    assert_eq!(ran.stderr, "influx-secrets: 2 tokens taken out of the ring \"telegraf\"\n");
}

#[test]
fn a_value_that_no_key_holds_is_told_and_the_others_are_there() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let large = format!("CANARY{}", "x".repeat(32_768));
    let ran = fill(&relayed, &server, &[("a", 1), ("b", 1)], &[("a", 200, &large), ("b", 200, "CANARY")]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let expected = [
        "token b is in the ring \"telegraf\" (generation 1)",
        "warning: cannot put token a into a ring: it has 32774 bytes, and a key holds 32767 at most",
        "hint: deliver it in another way: as a file, or over the socket",
        "error: 1 of 2 tokens are not in the ring \"telegraf\"",
    ];
    assert_eq!(said(&ran), expected);
    relayed.owner.assert_has(&[("b", "CANARY")]);
}

/// As in a container: the filter is the thread's, and of what it starts.
#[test]
fn where_the_kernels_keys_are_forbidden_that_is_told() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    for (errno, reason) in
        [(libc::EPERM, "Operation not permitted"), (libc::ENOSYS, "Function not implemented")]
    {
        let denied = || {
            let filter = SeccompFilter::new(
                [(libc::SYS_keyctl, vec![]), (libc::SYS_add_key, vec![])].into(),
                SeccompAction::Allow,
                SeccompAction::Errno(errno.unsigned_abs()),
                std::env::consts::ARCH.try_into().unwrap(),
            );
            let program: BpfProgram = filter.unwrap().try_into().unwrap();
            seccompiler::apply_filter(&program).unwrap();
            let reader = Reader::new();
            [&["keyring"][..], &["keyring", "--follow"], &["keyring", "--clear"]].map(|line| reader.run(line))
        };
        for ran in std::thread::scope(|scope| scope.spawn(denied).join().unwrap()) {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            let what = "error: cannot open the ring \"telegraf\": the kernel's keys may not be used here:";
            assert!(ran.stderr.starts_with(&format!("influx-secrets: {what} {reason}")), "{ran:?}");
            assert!(ran.stderr.contains("hint: containers forbid it unless told otherwise"), "{ran:?}");
            assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
        }
    }
}
