//! New values: what a person asks for, and what becomes of the old ones.

use std::{fs, process::Command, time::Duration};

use hyper::Method;
use influx_sandbox::{Activation, Effect, Fault};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    host::{Host, can_write, ran, wait_until},
    kind::{on_each, on_each_in_time},
    peers::{find, missing},
};

const TOKENS: &str =
    "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n[[token]]\nname = \"t1\"\nwrite = [\"telemetry\"]\n";

/// A host with two settled tokens and these words in [lifecycle].
fn settled(lifecycle: &str) -> Host {
    let host = Host::new();
    settle(&host, lifecycle);
    host
}

fn settle(host: &Host, lifecycle: &str) {
    host.list(&format!("{lifecycle}{TOKENS}"));
    host.apply();
}

#[test]
fn a_rotation_mints_one_delivers_it_and_leaves_the_old_one_alone() {
    on_each(|host| {
        settle(&host, "overlap = \"0s\"\noverlap_cap = \"1h\"\n");
        let (old, other) = (host.live("t0")[0].clone(), host.live("t1")[0].clone());
        host.sandbox.clear_requests();
        let ran = host.tokend(&["rotate", "t0"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(host.mints(), 1);
        let live = host.live("t0");
        let new = live.iter().find(|token| token.id != old.id).unwrap();
        assert_eq!(live.len(), 2);
        assert_eq!(host.delivered("t0").as_deref(), Some(new.secret.as_str()));
        assert!(can_write(&host, &old.secret, "telemetry"), "who has not picked up the new one goes on");
        assert_eq!(host.delivered("t1").as_deref(), Some(other.secret.as_str()));
        let status = host.status_of("t0");
        assert_eq!((&status["generation"], &status["id"]), (&2.into(), &new.id.clone().into()));
        assert_eq!(status["retiring"][0]["id"], old.id);
        let until: Timestamp = status["retiring"][0]["until"].as_str().unwrap().parse().unwrap();
        let since: Timestamp = status["retiring"][0]["since"].as_str().unwrap().parse().unwrap();
        assert_eq!(until.duration_since(since), SignedDuration::from_hours(1));
        assert!(ran.stdout.contains("the overlap of the former"), "{ran:?}");
        host.sandbox.clear_requests();
        host.apply();
        assert_eq!(host.mints(), 0, "what was asked for is done");
        assert!(host.is_live(&old.id));
    });
}

#[test]
fn the_old_one_is_ended_when_its_time_is_over_and_the_new_one_was_asked_once_more() {
    on_each(|host| {
        settle(&host, "overlap = \"0s\"\noverlap_cap = \"1s\"\n");
        let old = host.live("t0")[0].id.clone();
        assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
        let new = host.live("t0").into_iter().find(|token| token.id != old).unwrap();
        let since: Timestamp =
            host.status_of("t0")["retiring"][0]["since"].as_str().unwrap().parse().unwrap();
        host.sandbox.clear_requests();
        let daemon = host.daemon();
        wait_until("the end of the old one", || !host.is_live(&old), || daemon.log());
        let tokens = host.sandbox.tokens();
        let ended = tokens.iter().find(|token| token.id == old).unwrap().revoked_at.unwrap();
        assert!(
            ended.duration_since(since) >= SignedDuration::from_secs(1),
            "ended {ended}, retired {since}"
        );
        daemon.wait_for("overlap is over");
        let requests = host.sandbox.requests();
        let end = requests.iter().position(|request| request.method == "DELETE").unwrap();
        assert_eq!(requests[end].path, host.api(&format!("/tokens/{old}")));
        assert!(requests[..end].iter().any(|request| request.token.as_deref() == Some(new.id.as_str())));
        assert_eq!(requests.iter().filter(|request| request.method == "DELETE").count(), 1);
        assert_eq!(daemon.stop().0, Some(0));
        host.assert_settled("t0");
        host.assert_settled("t1");
    });
}

#[test]
fn without_a_daemon_apply_ends_what_is_due_and_waits_for_nothing() {
    let host = settled("overlap = \"0s\"\noverlap_cap = \"1h\"\n");
    let old = host.live("t0")[0].id.clone();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    host.apply();
    assert!(host.is_live(&old), "not due");
    host.list(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{TOKENS}"));
    // The Date has whole seconds.
    host.shift_clock(SignedDuration::from_secs(2));
    let new = host.live("t0").into_iter().find(|token| token.id != old).unwrap();
    let plan = host.tokend(&["plan"]);
    assert!(plan.stdout.contains(&format!("verify t0: whether {} still works", new.id)), "{plan:?}");
    assert!(host.is_live(&old), "a plan does nothing");
    host.apply();
    host.assert_settled("t0");
}

/// A host whose `t0` has a new value, and the id of the former token.
fn rotated_and_due() -> (Host, String) {
    let host = Host::new();
    let old = rotate_until_due(&host);
    (host, old)
}

/// Gives `t0` a new value; the id of the former token, which the next run ends. The overlap is
/// shortened after the rotation, which could otherwise end it itself.
fn rotate_until_due(host: &Host) -> String {
    settle(host, "overlap = \"0s\"\noverlap_cap = \"1h\"\n");
    let old = host.live("t0")[0].id.clone();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    assert!(host.is_live(&old));
    host.list(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{TOKENS}"));
    // The Date has whole seconds.
    host.shift_clock(SignedDuration::from_secs(2));
    old
}

#[test]
fn nothing_is_ended_while_the_new_one_is_refused_or_cannot_be_delivered() {
    let (host, old) = rotated_and_due();
    host.sandbox.fault(Fault::status(Method::POST, "/api/v2/write", 401));
    host.tokend(&["apply"]);
    assert!(host.is_live(&old), "the new one is refused");
    host.sandbox.clear_faults();
    // A folder where the file should be.
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    fs::create_dir(host.path("run/secrets/t0")).unwrap();
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(host.is_live(&old), "the new one has not arrived");
    fs::remove_dir(host.path("run/secrets/t0")).unwrap();
    host.apply();
    host.assert_settled("t0");
}

#[test]
fn an_end_that_nobody_heard_of_is_settled_by_the_list() {
    on_each_in_time(|host| {
        let old = rotate_until_due(&host);
        host.sandbox.fault(Fault::on(Some(Method::DELETE), &host.api("/tokens/"), Effect::CutAfter).times(1));
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(!host.is_live(&old));
        // Lists do not judge tokens younger than ten minutes.
        host.shift_clock(SignedDuration::from_mins(11));
        host.apply();
        assert_eq!(host.status_of("t0")["retiring"], Value::Array(vec![]));
        host.assert_settled("t0");
    });
}

/// Consumers sleep when the host does, and pick nothing up.
#[test]
fn time_asleep_is_no_part_of_an_overlap() {
    const WEEK: &str = "691200";
    let Some(unshare) = find("unshare", "UNSHARE") else { return };
    let host = settled("overlap_cap = \"7d\"\n");
    let old = host.live("t0")[0].id.clone();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    host.shift_clock(SignedDuration::from_hours(8 * 24));
    // The clock that counts time asleep, and the one that does not, in a time namespace of its own.
    let later = |clocks: &[&str]| {
        let inner = host.command(&["apply"]);
        let mut command = Command::new(&unshare);
        command.args(["--time", "--fork"]).args(clocks).arg("--");
        command.arg(inner.get_program()).args(inner.get_args()).env_remove("NOTIFY_SOCKET");
        ran(command.output().unwrap())
    };
    let slept = later(&["--boottime", WEEK]);
    if slept.stderr.starts_with("unshare: ") {
        return missing("the right to make a time namespace");
    }
    assert_eq!(slept.code, Some(0), "{slept:?}");
    assert!(host.is_live(&old), "after a sleep of a week");
    let awake = later(&["--boottime", WEEK, "--monotonic", WEEK]);
    assert_eq!(awake.code, Some(0), "{awake:?}");
    assert!(!host.is_live(&old), "after a week awake");
    host.assert_settled("t0");
}

#[test]
fn what_cannot_have_a_new_value_is_said_and_nothing_is_done() {
    let host = settled("");
    fs::write(host.path("store/tokens/t1.age"), "").unwrap();
    host.sandbox.clear_requests();
    let ran = host.tokend(&["rotate", "t0", "t1", "nope"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("token nope: is not in the list"), "{ran:?}");
    assert!(ran.stderr.contains("token t1: the record cannot be read"), "{ran:?}");
    assert_eq!(ran.stderr.matches("hint: ").count(), 2, "{ran:?}");
    assert_eq!(host.sandbox.requests().len(), 0, "not even for the one that could");
    assert_eq!(host.tokend(&["rotate"]).code, Some(2));
}

#[test]
fn a_database_that_is_gone_keeps_a_rotation_waiting_for_a_person() {
    let host = settled("");
    host.sandbox.drop_database("telemetry");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("has no database \"telemetry\""), "{ran:?}");
    assert_eq!(host.live("t0").len(), 1);
}

#[test]
fn a_mint_that_fails_leaves_the_old_value_and_says_so() {
    let host = settled("");
    host.sandbox.fault(Fault::status(Method::POST, "/api/v0/tokens", 500));
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("token t0: has no new value yet"), "{ran:?}");
    host.assert_settled("t0");
}

#[test]
fn a_person_goes_over_the_brake_on_replacements() {
    let host = settled("");
    host.shift_clock(SignedDuration::from_mins(11));
    host.sandbox.revoke(&host.live("t0")[0].id);
    host.apply();
    // Half a minute has to pass on the clock that nobody sets.
    host.shift_clock(SignedDuration::from_mins(11));
    host.sandbox.revoke(&host.live("t0")[0].id);
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("replaced 1 time within a day"), "{ran:?}");
    assert_eq!(host.live("t0").len(), 0, "{ran:?}");
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    host.assert_settled("t0");
    host.shift_clock(SignedDuration::from_mins(11));
    host.sandbox.revoke(&host.live("t0")[0].id);
    host.apply();
    host.assert_settled("t0");
}

#[test]
fn a_cut_off_rotation_is_finished_by_the_next_run() {
    let host = settled("");
    let old = host.live("t0")[0].secret.clone();
    host.sandbox.set_activation(Activation::all(Duration::from_secs(3600)));
    let mut command = host.command(&["rotate", "t0"]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_until("a mint", || host.live("t0").len() == 2, || format!("{:?}", host.tokend(&["status"])));
    wait_until(
        "its seal",
        || host.status_of("t0")["waits"].to_string().contains("its successor"),
        || format!("{:?}", host.tokend(&["status"])),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(host.delivered("t0"), Some(old));
    host.shift_clock(SignedDuration::from_hours(1));
    host.apply();
    assert_eq!(host.status_of("t0")["generation"], 2);
    assert_eq!(host.live("t0").len(), 2, "one new, and the old one in its overlap");
}

#[test]
fn a_former_token_that_is_being_revoked_does_not_become_current_again() {
    let host = Host::new();
    let old = rotate_until_due(&host);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("timeout = \"1s\"", "timeout = \"20s\""));
    let new = host.delivered("t0");
    host.sandbox.clear_requests();
    // The request waits at the server, and the old token works meanwhile.
    host.sandbox.fault(Fault::on(
        Some(Method::DELETE),
        "/api/v0/tokens",
        Effect::Delay(Duration::from_secs(4)),
    ));
    let daemon = host.daemon();
    let is_asked = || host.sandbox.requests().iter().any(|request| request.method == "DELETE");
    wait_until("the revocation", is_asked, || daemon.log());
    let ran = host.tokend(&["rotate", "--undo", "t0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("token t0: has no former token that still works"), "{ran:?}");
    wait_until("the old one is revoked", || !host.is_live(&old), || daemon.log());
    assert_eq!(host.delivered("t0"), new);
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t0");
}

#[test]
fn a_rotation_is_logged_as_one_promotion() {
    let host = settled("");
    let ran = host.tokend(&["--log", "info", "rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let promotions = ran.stderr.lines().filter(|line| line.contains(" promoted ") && line.contains("t0"));
    assert_eq!(promotions.count(), 1, "{ran:?}");
}
