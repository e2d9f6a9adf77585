//! Creates and revokes that fail while all else works.

use hyper::Method;

use super::*;

const MINT_FAILED: &str = "the last mint failed (500: on demand), next try at ";

fn creates_fail(host: &Host) {
    host.sandbox.fault(Fault::status(Method::POST, "/api/v0/tokens", 500));
}

#[test]
fn creates_that_fail_hold_up_nothing_else() {
    let running = Running::new(&format!("overlap = \"0s\"\noverlap_cap = \"1h\"\n{T0}{T1}"));
    let host = &running.host;
    running.wait_for("t1", || host.delivered("t1").is_some());
    let (kept, former) = (only(host.live("t0")), only(host.live("t1")));
    assert_eq!(host.tokend(&["rotate", "t1"]).code, Some(0));
    let grown = only(others(host, "t1", &former));
    creates_fail(host);
    // An overlap that ends, grants that are not what they were, and a first token.
    let more = T1.replace("[\"telemetry\"]", "[\"a\", \"telemetry\"]");
    let new = T0.replace("t0", "new");
    running.save(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}{more}{new}"));
    running.wait_for("the end of the overlap", || !is_live(host, &former));
    running.wait_for("other grants", || can_write(host, &grown.secret, "a"));
    running.wait_for(MINT_FAILED, || running.waits("new").starts_with(MINT_FAILED));
    assert_eq!(running.token("new")["state"], "missing");
    // What a person asks for fails as well, and leaves the current one.
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("token t0: has no new value yet"), "{ran:?}");
    running.wait_for(MINT_FAILED, || running.waits("t0").starts_with(MINT_FAILED));
    assert_eq!(running.token("t0")["state"], "ready");
    running.assert_delivered("t0", &kept.secret);
    let told = running.told();
    let hint = "\n  hint for new, t0: fix the cause, then run `influx-tokend rotate` to retry at once\n";
    assert!(told.contains(MINT_FAILED) && told.contains(hint), "{told}");

    host.sandbox.clear_faults();
    let ran = host.tokend(&["rotate", "new", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    running.wait_for("one of each", || host.sandbox.live().len() == 3);
    running.assert_at_rest();
    for name in ["t0", "t1", "new"] {
        host.assert_settled(name);
        assert_eq!(running.waits(name), "");
    }
    running.stop();
}

/// Whoever looks meanwhile. One that has not been tried yet does not wait.
#[test]
fn a_create_that_failed_waits_for_the_moment_that_is_told_each_name_for_its_own() {
    let running = Running::new(T0);
    let host = &running.host;
    creates_fail(host);
    running.save(&format!("{T0}{T1}"));
    running.wait_for(MINT_FAILED, || running.waits("t1").starts_with(MINT_FAILED));
    let told = running.waits("t1");
    let until: Timestamp = told.strip_prefix(MINT_FAILED).unwrap().parse().unwrap();
    assert!(until > Timestamp::now(), "{until}");
    let asked = host.secrets_by_socket(&["get", "t1"]);
    assert!(asked.code == Some(1) && asked.stderr.contains(&told), "{asked:?}");
    running.save(&format!("{T0}{T1}{}", T0.replace("t0", "later")));
    running.wait_for("another name", || running.waits("later").starts_with(MINT_FAILED));
    let seen = lists(host);
    running.wait_for("more lists", || lists(host) >= seen + 2);
    assert_eq!((posts(host, "/t1/"), posts(host, "/later/"), running.waits("t1")), (1, 1, told.clone()));
    assert_eq!(running.daemon.log().matches(&format!("token t1: {told}")).count(), 1, "told once");
    running.stop();
}

#[test]
fn revokes_that_fail_hold_up_no_rotation_and_are_made_up_for() {
    let running = Running::new(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}"));
    let host = &running.host;
    let first = only(host.live("t0"));
    host.sandbox.fault(Fault::status(Method::DELETE, "/api/v0/tokens/", 500));
    host.tokend(&["rotate", "t0"]);
    let second = host.delivered("t0").unwrap();
    assert_ne!(second, first.secret);
    let failed = format!("cannot revoke {} (500: on demand), retrying", first.id);
    running.wait_for(&failed, || running.waits("t0") == failed);
    let during = running.token("t0");
    assert_eq!((&during["state"], during["retiring"].as_array().unwrap().len()), (&"ready".into(), 1));
    assert_eq!(during["retiring"][0]["id"], first.id);
    assert!(
        running
            .told()
            .contains("\n  hint for t0: fix the cause, then run `influx-tokend apply` to retry at once\n")
    );
    assert!(is_live(host, &first));

    host.tokend(&["rotate", "t0"]);
    let third = host.delivered("t0").unwrap();
    assert_ne!(third, second);
    running.assert_delivered("t0", &third);
    running.wait_for("both", || running.waits("t0").matches("cannot revoke ").count() == 2);
    let during = running.token("t0");
    assert_eq!((&during["generation"], during["retiring"].as_array().unwrap().len()), (&3.into(), 2));
    assert_eq!(host.live("t0").len(), 3);

    host.sandbox.clear_faults();
    running.wait_for("their end", || host.live("t0").len() == 1);
    running.assert_at_rest();
    host.assert_settled("t0");
    running.assert_delivered("t0", &third);
    let after = running.token("t0");
    assert_eq!((&after["waits"], &after["retiring"]), (&Value::Null, &Value::Array(vec![])));
    running.stop();
}
