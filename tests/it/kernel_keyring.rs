//! `influx-secrets keyring`: what it puts into the kernel's keyring, and what it takes out.

use influx_tokend::keys::{self, Key, Kind};

use crate::{
    host::Ran,
    rings::{OWN, Owner, RING, Relayed},
    scripted::{Running, Scripted, errors},
};

mod follow;
mod limits;
mod strikes;
mod whole;

pub(crate) use whole::relay;

/// One run, which is asked about these tokens: the answer to the first question, and to each that follows, in their order.
fn fill(relayed: &Relayed, server: &Scripted, changed: &[(&str, u64)], answers: &[(&str, u16, &str)]) -> Ran {
    let running = Running::spawn(&mut relayed.command(&[]));
    server.asks("/v1/changes").changes("e.1", changed);
    for (name, status, body) in answers {
        server.asks(&format!("/v1/secret/{name}")).answer(*status, body);
    }
    let ran = running.end();
    server.assert_idle();
    assert!(!format!("{ran:?}").contains("CANARY"), "{ran:?}");
    assert_eq!(ran.stdout, "");
    ran
}

fn said(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().map(|line| line.strip_prefix("influx-secrets: ").unwrap_or(line)).collect()
}

#[test]
fn the_ring_is_what_telegraf_reads_and_has_what_is_ready() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let running = Running::spawn(&mut relayed.command(&[]));
    server.asks("/v1/changes").changes("e.1", &[("a", 1), ("b", 0), ("c", 7)]);
    for name in ["a", "c"] {
        let asked = server.asks(&format!("/v1/secret/{name}"));
        assert!(asked.request.contains("\r\nx-influx-secrets: relay\r\n"), "{}", asked.request);
        asked.answer(200, &format!("CANARY of {name} é"));
    }
    let ran = running.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    let ring = "in the ring \"telegraf\" (generation";
    let expected = [format!("token a is {ring} 1)"), format!("token c is {ring} 7)")];
    assert_eq!(said(&ran), [expected[0].as_str(), &expected[1], "warning: token b is not ready"]);
    relayed.owner.assert_has(&[("a", "CANARY of a é"), ("c", "CANARY of c é")]);
    // A second time there is nothing to do, and nothing is said.
    let (a, ring) = (relayed.owner.key("a"), relayed.owner.ring(RING));
    let answers = [("a", 200, "CANARY of a é"), ("c", 200, "CANARY of c é")];
    let ran = fill(&relayed, &server, &[("a", 1), ("c", 7)], &answers);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    // And a new value comes in place: to whoever reads meanwhile nothing is ever missing.
    let ran = fill(&relayed, &server, &[("a", 2), ("c", 7)], &[("a", 200, "CANARY"), answers[1]]);
    assert_eq!(said(&ran), ["token a is in the ring \"telegraf\" (generation 2)"]);
    assert_eq!((relayed.owner.key("a"), relayed.owner.ring(RING)), (a, ring));
    relayed.owner.assert_has(&[("a", "CANARY"), ("c", "CANARY of c é")]);
    // However large it is.
    let large = format!("CANARY{}", "x".repeat(12_000));
    let ran = fill(&relayed, &server, &[("a", 3), ("c", 7)], &[("a", 200, &large), answers[1]]);
    assert_eq!((ran.code, relayed.owner.key("a")), (Some(0), a), "{ran:?}");
    assert!(relayed.owner.value("a").is_some_and(|value| value == large));
    assert_eq!(relayed.owner.names_in(OWN), ["a", "c"]);
}

#[test]
fn what_is_nobodys_any_more_is_taken_out_and_what_is_not_ready_keeps_its_value() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let all = ["denied", "gone", "late", "ready", "unready"];
    let generations: Vec<(&str, u64)> = all.iter().map(|name| (*name, 1)).collect();
    let answers: Vec<(&str, u16, &str)> = all.iter().map(|name| (*name, 200, *name)).collect();
    assert_eq!(fill(&relayed, &server, &generations, &answers).code, Some(0));
    let theirs = relayed.owner.puts("theirs", "somebody's");

    // Those that are not named are asked about; the order is the kernel's.
    let running = Running::spawn(&mut relayed.command(&[]));
    server.asks("/v1/changes").changes("e.2", &[("ready", 1), ("unready", 0)]);
    for _ in 0..3 {
        let asked = server.next();
        match asked.target() {
            "/v1/secret/denied" => asked.answer(403, &errors("uid 7 may not read token denied")),
            "/v1/secret/gone" => asked.answer(404, &errors("there is no token gone")),
            "/v1/secret/late" => asked.answer(503, &errors("not ready, it came too late to be named")),
            other => panic!("asked {other}"),
        }
    }
    server.asks("/v1/secret/ready").answer(200, "ready");
    let ran = running.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut said = said(&ran);
    said.sort_unstable();
    let out = "is out of the ring \"telegraf\":";
    let expected = [
        &format!("token denied {out} uid 7 may not read token denied"),
        &format!("token gone {out} there is no token gone"),
        "warning: token unready is not ready",
    ];
    assert_eq!(said, expected);
    assert_eq!(relayed.owner.names_in(OWN), ["late", "ready", "unready"]);
    assert_eq!(relayed.owner.names_in(RING), ["late", "ready", "theirs", "unready"]);
    assert_eq!(relayed.owner.key("theirs"), Some(theirs));

    // Who may read nothing at all has nothing there, but for what others have put in.
    let running = Running::spawn(&mut relayed.command(&[]));
    server.asks("/v1/changes").answer(403, &errors("uid 7 may read none of these tokens"));
    let ran = running.end();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("error: uid 7 may read none of these tokens\n"), "{ran:?}");
    assert_eq!(
        (relayed.owner.names_in(OWN), relayed.owner.names_in(RING)),
        (vec![], vec!["theirs".to_owned()])
    );
}

/// A daemon whose store does not open answers, and knows the names of the list alone.
#[test]
fn a_daemon_whose_store_does_not_open_empties_nothing() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let (a, grace) = (("a", 200, "CANARY a"), ("in_grace", 200, "CANARY"));
    fill(&relayed, &server, &[("a", 1), ("in_grace", 1)], &[a, grace]);
    let unknown = errors("there is no token in_grace");
    let ran = fill(&relayed, &server, &[("a", 0)], &[("in_grace", 404, &unknown)]);
    assert_eq!((ran.code, said(&ran)), (Some(0), vec!["warning: token a is not ready"]));
    relayed.owner.assert_has(&[("a", "CANARY a"), ("in_grace", "CANARY")]);
    // What is denied is, whatever else there is.
    let denied = errors("not yours");
    fill(&relayed, &server, &[("a", 0)], &[("in_grace", 403, &denied)]);
    relayed.owner.assert_has(&[("a", "CANARY a")]);
    // A list without a token is one.
    fill(&relayed, &server, &[], &[("a", 404, &unknown)]);
    relayed.owner.assert_has(&[]);
}

#[test]
fn a_name_of_the_list_is_the_lists_whoever_has_put_a_key_there() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    // Made by hand, with what the kernel lets a ring and a key do: Telegraf could not get in.
    let (ring, theirs) = relayed.owner.does_as_owner(|| {
        let ring = keys::add(Kind::Ring, RING, b"", Key::OF_USER).unwrap();
        (ring, keys::add(Kind::Value, "a", b"somebody's", ring).unwrap())
    });
    assert!(relayed.owner.does(|| keys::search(ring, Kind::Value, "a")).is_err());
    assert!(relayed.owner.does(|| keys::read(theirs, &mut [0; 99])).is_err());
    let ran = fill(&relayed, &server, &[("a", 1)], &[("a", 200, "CANARY")]);
    assert_eq!(
        said(&ran),
        [
            "token a is in the ring \"telegraf\" (generation 1), in place of a key that somebody else had put there"
        ]
    );
    assert_eq!((relayed.owner.ring(RING), relayed.owner.key("a")), (Some(ring), Some(theirs)), "in place");
    relayed.owner.assert_has(&[("a", "CANARY")]);

    // Another key under the name, while ours is the list's.
    relayed.owner.puts("a", "set by hand");
    // It is no longer ours, and so it stays when the name is not.
    let gone = errors("there is no token a");
    let ran = fill(&relayed, &server, &[("b", 1)], &[("a", 404, &gone), ("b", 200, "CANARY b")]);
    assert_eq!(said(&ran), ["token b is in the ring \"telegraf\" (generation 1)"], "{ran:?}");
    assert_eq!(relayed.owner.names_in(RING), ["a", "b"]);
    assert_eq!(relayed.owner.names_in(OWN), ["b"]);
}

/// What a kill leaves between two calls, put there by hand.
#[test]
fn what_a_killed_run_leaves_the_next_one_puts_right() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let answers = [("a", 200, "CANARY a"), ("b", 200, "CANARY b"), ("c", 200, "CANARY c")];
    let all = [("a", 1), ("b", 1), ("c", 1)];
    fill(&relayed, &server, &all, &answers);
    let (ring, own) = (relayed.owner.ring(RING).unwrap(), relayed.owner.ring(OWN).unwrap());
    let (a, b) = (relayed.owner.key("a").unwrap(), relayed.owner.key("b").unwrap());
    relayed.owner.does_as_owner(|| {
        // Said to be ours, and not in Telegraf's ring yet, or not any more; and the other way round.
        keys::unlink(a, ring).unwrap();
        keys::unlink(b, own).unwrap();
    });
    fill(&relayed, &server, &all, &answers);
    relayed.owner.assert_has(&[("a", "CANARY a"), ("b", "CANARY b"), ("c", "CANARY c")]);
    let a = relayed.owner.key("a").unwrap();
    relayed.owner.does_as_owner(|| keys::unlink(a, ring).unwrap());
    let gone = errors("gone");
    let ran = fill(&relayed, &server, &all[1..], &[("a", 404, &gone), answers[1], answers[2]]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "there was nothing to be taken out");
    relayed.owner.assert_has(&[("b", "CANARY b"), ("c", "CANARY c")]);
    // The ring itself is gone, or what says what is ours.
    relayed.owner.does_as_owner(|| keys::unlink(own, Key::OF_USER).unwrap());
    fill(&relayed, &server, &all[1..], &answers[1..]);
    relayed.owner.assert_has(&[("b", "CANARY b"), ("c", "CANARY c")]);
    relayed.owner.does_as_owner(|| keys::unlink(ring, Key::OF_USER).unwrap());
    fill(&relayed, &server, &all, &answers);
    relayed.owner.assert_has(&[("a", "CANARY a"), ("b", "CANARY b"), ("c", "CANARY c")]);
}

#[test]
fn clearing_takes_out_what_is_ours_without_a_daemon() {
    let Some(relayed) = Relayed::new() else { return };
    let clear = || Running::spawn(&mut relayed.command(&["--clear"])).end();
    let none = "influx-secrets: 0 tokens taken out of the ring \"telegraf\"\n";
    assert_eq!((clear().code, clear().stderr.as_str()), (Some(0), none));
    assert_eq!(relayed.owner.ring(RING), None, "nothing is made for it");
    let server = relayed.serve();
    fill(&relayed, &server, &[("a", 1), ("b", 1)], &[("a", 200, "CANARY"), ("b", 200, "CANARY")]);
    server.kill();
    relayed.owner.puts("theirs", "somebody's");
    let ring = relayed.owner.ring(RING);
    let ran = clear();
    assert_eq!(ran.stderr, "influx-secrets: 2 tokens taken out of the ring \"telegraf\"\n");
    assert_eq!(relayed.owner.ring(RING), ring, "a Telegraf that runs would see no other");
    assert_eq!((relayed.owner.names_in(RING), relayed.owner.ring(OWN)), (vec!["theirs".to_owned()], None));
    assert_eq!(clear().stderr, none);
    // Of a ring that is gone nothing is left either.
    let server = relayed.serve();
    fill(&relayed, &server, &[("a", 1)], &[("a", 200, "CANARY")]);
    let ring = ring.unwrap();
    relayed.owner.does_as_owner(|| keys::unlink(ring, Key::OF_USER).unwrap());
    assert_eq!((clear().stderr.as_str(), relayed.owner.ring(OWN)), (none, None));
}

#[test]
fn another_ring_has_its_own_name_and_its_own() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    let running = Running::spawn(&mut relayed.command(&["--ring", "edge 2"]));
    server.asks("/v1/changes").changes("e.1", &[("a", 1)]);
    server.asks("/v1/secret/a").answer(200, "CANARY");
    assert_eq!(running.end().code, Some(0));
    assert_eq!(relayed.owner.names_in("edge 2"), ["a"]);
    assert_eq!(relayed.owner.names_in("influx-secrets:edge 2"), ["a"]);
    assert_eq!((relayed.owner.ring(RING), relayed.owner.ring(OWN)), (None, None));
    let clear = Running::spawn(&mut relayed.command(&["--clear", "--ring=edge 2"])).end();
    assert_eq!(clear.code, Some(0), "{clear:?}");
    assert_eq!(relayed.owner.names_in("edge 2"), [""; 0]);
    relayed.owner.does_as_owner(|| {
        let ring = keys::search(Key::OF_USER, Kind::Ring, "edge 2").unwrap().unwrap();
        keys::unlink(ring, Key::OF_USER).unwrap();
    });
}

#[test]
fn without_a_daemon_one_run_says_so_and_leaves_the_ring() {
    let Some(relayed) = Relayed::new() else { return };
    let server = relayed.serve();
    fill(&relayed, &server, &[("a", 1)], &[("a", 200, "CANARY")]);
    server.kill();
    let ran = Running::spawn(&mut relayed.command(&[])).end();
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("error: the daemon cannot be reached"), "{ran:?}");
    relayed.owner.assert_has(&[("a", "CANARY")]);
}

/// That what the other tests look at is what nobody else's program could.
#[test]
fn a_ring_is_its_users_alone() {
    let (Some(relayed), Some(other)) = (Relayed::new(), Owner::new()) else { return };
    let server = relayed.serve();
    fill(&relayed, &server, &[("a", 1)], &[("a", 200, "CANARY")]);
    let (ring, key) = (relayed.owner.ring(RING).unwrap(), relayed.owner.key("a").unwrap());
    assert_eq!(other.ring(RING), None);
    other.does(|| {
        assert!(keys::search(ring, Kind::Value, "a").is_err());
        assert!(keys::read(key, &mut [0; 99]).is_err());
        assert!(keys::describe(key).is_err());
    });
    assert_eq!(relayed.owner.value("a").as_deref(), Some("CANARY"));
}
