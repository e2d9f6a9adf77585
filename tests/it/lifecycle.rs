//! What becomes of tokens in the course of time: replaced by schedule, undone, cut off, changed with the list, ended with it.

use hyper::Method;
use influx_sandbox::Fault;
use jiff::SignedDuration;

use crate::{
    host::{Host, can_write, wait_until},
    kind::{Kind, on, on_each, on_each_in_time},
};

/// So many names, each to write to `telemetry`, with these words in [lifecycle].
fn list(host: &Host, lifecycle: &str, names: &[&str]) {
    let tokens: String =
        names.iter().map(|name| format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\n")).collect();
    host.list(&format!("{lifecycle}{tokens}"));
}

fn settled(lifecycle: &str, names: &[&str]) -> Host {
    let host = Host::new();
    settle(&host, lifecycle, names);
    host
}

fn settle(host: &Host, lifecycle: &str, names: &[&str]) {
    list(host, lifecycle, names);
    host.apply();
}

#[test]
fn a_token_is_replaced_when_its_time_has_come_and_not_before() {
    on_each_in_time(|host| {
        settle(&host, "lifetime = \"9d\"\noverlap = \"1h\"\n", &["t0"]);
        let old = host.live("t0")[0].clone();
        let rotates = host.status_of("t0")["rotates_at"].clone();
        assert!(rotates.is_string(), "{rotates}");
        // Half of nine days, less a tenth at most.
        host.shift_clock(SignedDuration::from_hours(85));
        host.apply();
        assert_eq!(host.live("t0").len(), 1);
        host.shift_clock(SignedDuration::from_hours(24));
        let ran = host.apply();
        assert!(ran.stdout.contains("t0"), "{ran:?}");
        assert_eq!(host.status_of("t0")["generation"], 2);
        assert!(host.is_live(&old.id), "it lives to its own expiry");
        assert!(can_write(&host, &old.secret, "telemetry"));
        assert_ne!(host.delivered("t0"), Some(old.secret));
    });
}

#[test]
fn a_rotation_is_undone_and_the_schedule_waits_for_a_person() {
    let host = settled("lifetime = \"9d\"\n", &["t0"]);
    let old = host.live("t0")[0].clone();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    let ran = host.tokend(&["rotate", "--undo", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(host.delivered("t0"), Some(old.secret.clone()));
    let after = host.status_of("t0");
    assert_eq!((&after["generation"], &after["id"]), (&3.into(), &old.id.clone().into()));
    assert!(after["waits"].as_str().unwrap().contains("its schedule is suspended"), "{after}");
    host.shift_clock(SignedDuration::from_hours(6 * 24));
    host.apply();
    assert_eq!(host.delivered("t0"), Some(old.secret), "the schedule is suspended");
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    assert_eq!(host.status_of("t0")["generation"], 4);
    let ran = host.tokend(&["rotate", "--undo", "nope"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("token nope: is not in the list"), "{ran:?}");
}

#[test]
fn there_is_nothing_to_undo_without_a_former_token_that_is_accepted() {
    let host = settled("", &["t0"]);
    let ran = host.tokend(&["rotate", "--undo", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("has no former token that still works"), "{ran:?}");
    let old = host.live("t0")[0].id.clone();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    let new = host.delivered("t0");
    host.sandbox.revoke(&old);
    let ran = host.tokend(&["rotate", "--undo", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&format!("its former token {old} is not accepted any more")), "{ran:?}");
    assert_eq!(host.delivered("t0"), new);
}

#[test]
fn a_token_is_ended_at_once_when_a_person_says_now_and_another_is_minted() {
    on_each(|host| {
        settle(&host, "", &["t0", "t1"]);
        let old = host.live("t0")[0].id.clone();
        assert_eq!(host.tokend(&["revoke", "t0"]).code, Some(2), "it has to be said");
        assert!(host.is_live(&old));
        let ran = host.tokend(&["revoke", "t0", "--now"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!("revoked {old} of t0")), "{ran:?}");
        assert!(!host.is_live(&old));
        host.assert_settled("t0");
        host.assert_settled("t1");
        assert_eq!(host.status_of("t0")["generation"], 2);
    });
}

#[test]
fn a_daemon_that_ends_a_token_says_who_is_cut_off() {
    let host = settled("", &["t0"]);
    let daemon = host.daemon();
    daemon.wait_for("ready");
    assert_eq!(host.secrets_by_socket(&["get", "t0"]).code, Some(0));
    let old = host.live("t0")[0].id.clone();
    let ran = host.tokend(&["revoke", "t0", "--now"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("cut off: ") && ran.stderr.contains("influx-secrets"), "{ran:?}");
    assert!(!host.is_live(&old));
    host.assert_settled("t0");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let new = host.delivered("t0");
    let ran = host.tokend(&["rotate", "--undo", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_ne!(host.delivered("t0"), new);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_name_that_leaves_the_list_is_delivered_through_its_grace_and_then_ended() {
    on_each_in_time(|host| {
        settle(&host, "grace = \"1h\"\n", &["t0", "t1"]);
        let (left, secret) = (host.live("t1")[0].id.clone(), host.delivered("t1"));
        list(&host, "grace = \"1h\"\n", &["t0"]);
        host.apply();
        let waits = host.status_of("t1");
        assert_eq!(waits["state"], "removed");
        assert!(
            waits["waits"].as_str().unwrap().contains("left the list, its token is revoked at"),
            "{waits}"
        );
        assert_eq!(host.delivered("t1"), secret, "unchanged");
        // Put back in time, nothing has happened.
        host.shift_clock(SignedDuration::from_mins(50));
        list(&host, "grace = \"1h\"\n", &["t0", "t1"]);
        host.apply();
        host.shift_clock(SignedDuration::from_mins(20));
        host.apply();
        assert_eq!((host.delivered("t1"), host.is_live(&left)), (secret, true));
        list(&host, "grace = \"1ms\"\n", &["t0"]);
        host.apply();
        host.shift_clock(SignedDuration::from_secs(2));
        host.apply();
        assert!(!host.is_live(&left));
        assert_eq!(host.delivered("t1"), None);
        assert_eq!(
            host.status_of("t1")["state"],
            "removed",
            "still known, so that nobody gets an empty secret"
        );
        host.assert_settled("t0");
    });
}

#[test]
fn many_names_that_leave_the_list_wait_for_a_persons_word() {
    let names = ["t0", "t1", "t2", "t3", "t4"];
    let host = settled("grace = \"1ms\"\n", &names);
    list(&host, "grace = \"1ms\"\n", &["t0", "new"]);
    host.tokend(&["apply"]);
    host.shift_clock(SignedDuration::from_secs(2));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("its token is revoked once you confirm it"), "{ran:?}");
    assert!(names.iter().all(|name| host.live(name).len() == 1), "nothing is ended");
    host.assert_settled("new");
    let shown = host.tokend(&["confirm"]);
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(names[1..].iter().all(|name| shown.stdout.contains(&format!("  {name} ("))), "{shown:?}");
    assert_eq!(host.tokend(&["confirm", "000000000000"]).code, Some(1));
    let digest = shown.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    let ran = host.tokend(&["confirm", &digest]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(names[1..].iter().all(|name| host.live(name).is_empty() && host.delivered(name).is_none()));
    host.assert_settled("t0");
}

#[test]
fn other_grants_are_given_in_place_and_taken_after_the_grace() {
    let kinds = Kind::all_in_time().into_iter().filter(|kind| kind.tells_grants);
    on(kinds, |host| {
        settle(&host, "grace = \"1h\"\n", &["t0"]);
        let token = host.live("t0")[0].clone();
        let wants = |databases: &str| {
            host.list(&format!("grace = \"1h\"\n[[token]]\nname = \"t0\"\nwrite = [{databases}]\n"));
        };
        wants("\"a\"");
        host.apply();
        assert!(can_write(&host, &token.secret, "a") && can_write(&host, &token.secret, "telemetry"));
        assert_eq!(host.delivered("t0"), Some(token.secret.clone()), "the same token");
        // A server's clock that is set ahead takes nothing.
        host.shift_clock(SignedDuration::from_mins(61));
        host.apply();
        assert!(can_write(&host, &token.secret, "telemetry"));
        host.list("grace = \"1ms\"\n[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n");
        host.apply();
        assert!(can_write(&host, &token.secret, "a") && !can_write(&host, &token.secret, "telemetry"));
        assert_eq!(host.sandbox.tokens().len(), 1, "none was minted for it");
    });
}

#[test]
fn where_nobody_tells_what_a_token_may_do_another_takes_its_place_for_other_grants() {
    on(Kind::all().into_iter().filter(|kind| !kind.tells_grants), |host| {
        settle(&host, "", &["t0"]);
        let ran = host.apply();
        assert!(ran.stderr.contains("server default: this server does not report grants"), "{ran:?}");
        assert!(!ran.stderr.contains("were changed on the server"), "{ran:?}");
        let old = host.live("t0")[0].clone();
        host.list("[[token]]\nname = \"t0\"\nwrite = [\"a\"]\n");
        for _ in 0..2 {
            host.apply();
            let new = host.delivered("t0").unwrap();
            assert!(can_write(&host, &new, "a") && !can_write(&host, &new, "telemetry"));
            assert!(can_write(&host, &old.secret, "telemetry"), "who has the old one goes on");
            assert_eq!((host.mints(), host.status_of("t0")["generation"].clone()), (2, 2.into()));
        }
    });
}

#[test]
fn a_refused_mint_is_told_at_once_and_other_names_go_on() {
    let host = Host::new();
    list(&host, "", &["t0", "t1"]);
    host.sandbox.fault(Fault::status(Method::POST, "/api/v0/tokens", 400).times(1));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("400"), "{ran:?}");
    let minted = ["t0", "t1"].iter().filter(|name| host.live(name).len() == 1).count();
    assert_eq!(minted, 1);
    host.apply();
    host.assert_settled("t0");
    host.assert_settled("t1");
}

#[test]
fn a_daemon_replaces_a_token_whose_time_comes_while_it_runs() {
    let host = settled("lifetime = \"9d\"\n", &["t0"]);
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let old = host.delivered("t0");
    host.shift_clock(SignedDuration::from_hours(5 * 24 + 1));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until("another value", || host.delivered("t0") != old, || daemon.log());
    let told = host.tokend(&["status"]);
    assert!(told.stdout.contains("its clock is 5d ahead of this host's"), "{told:?}");
    assert_eq!(daemon.stop().0, Some(0));
}
