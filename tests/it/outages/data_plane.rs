//! A data plane that cannot be reached, by the daemon or by anybody.

use std::process::{Child, Stdio};

use super::*;
use crate::gateway::Gateway;

/// Somebody asks for a new value, which may take a while.
fn ask_for_another(host: &Host) -> Child {
    host.command(&["rotate", "t0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The list of a host whose daemon reaches the data plane through a gateway, while others have a way of their own.
fn through(gateway: &Gateway, host: &Host, rest: &str) {
    let data_url = format!("[server]\ndata_url = \"{}\"\n", gateway.url());
    host.write("tokens.toml", &text(host, rest).replace("[server]\n", &data_url));
}

#[test]
fn a_data_plane_that_only_the_daemon_cannot_reach_delays_a_first_value_and_holds_back_a_second() {
    const REFUSED: &str = "cannot connect: Connection refused (os error 111) (write on \"telemetry\")";
    let (host, mut gateway) = (Host::new(), Gateway::closed());
    through(&gateway, &host, T0);
    let running = Running::of(host);
    let host = &running.host;
    running.daemon.wait_for("ready");
    // While there is nothing that works it is waited for until the deadline.
    running.wait_for(REFUSED, || running.token("t0")["probes"][0]["last"] == REFUSED);
    let first = only(host.live("t0"));
    running.wait_for("a first value", || host.delivered("t0").is_some());
    let early = first.created_at.saturating_add(SignedDuration::from_secs(1)).unwrap();
    assert!(Timestamp::now() > early, "before the deadline");
    running.daemon.wait_for(&format!("{} promoted unprobed: the server answers no probe", first.id));
    running.assert_delivered("t0", &first.secret);
    assert!(can_write(host, &first.secret, "telemetry"), "others reach it");
    let unprobed = format!("t0: {} could not be probed (since ", first.id);
    let told = running.told();
    assert!(told.contains(&unprobed) && told.contains(&format!("last answer: {REFUSED})")), "{told}");
    assert_eq!((&running.token("t0")["state"], &running.server()["error"]), (&"ready".into(), &Value::Null));

    // A second one waits for as long as the first one works.
    let mut asked = ask_for_another(host);
    let late = format!(", not accepted everywhere yet, past the deadline (last answer: {REFUSED})");
    running.wait_for(&late, || running.waits("t0").contains(&late));
    running.assert_delivered("t0", &first.secret);
    gateway.open(host.sandbox.address());
    running.wait_for("a second value", || host.delivered("t0").is_some_and(|value| value != first.secret));
    asked.wait().unwrap();
    running.assert_delivered("t0", &only(others(host, "t0", &first)).secret);
    assert!(!running.told().contains("could not be probed"), "{}", running.told());
    assert_eq!(running.daemon.log().matches("the server answers no probe").count(), 1);
    running.stop();
}

#[test]
fn with_less_than_an_hour_left_a_value_that_cannot_be_probed_is_delivered_and_the_old_one_kept() {
    let (host, mut gateway) = (Host::new(), Gateway::closed());
    gateway.open(host.sandbox.address());
    through(&gateway, &host, &format!("lifetime = \"40m\"\noverlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}"));
    let running = Running::of(host);
    let host = &running.host;
    running.wait_for("a first value", || host.delivered("t0").is_some());
    let first = only(host.live("t0"));
    gateway.fall_silent();
    let mut asked = ask_for_another(host);
    running.wait_for("a second value", || host.delivered("t0").is_some_and(|value| value != first.secret));
    asked.wait().unwrap();
    let second = only(others(host, "t0", &first));
    running.assert_delivered("t0", &second.secret);
    running.daemon.wait_for(&format!("{} promoted unprobed: the server answers no probe", second.id));
    // Whether anybody can work with the new one nobody knows: nothing is ended.
    let kept = format!("{} is due to be revoked, waiting until its successor is accepted again", first.id);
    running.wait_for(&kept, || running.waits("t0").contains(&kept));
    let told = running.told();
    let why = format!("t0: {} could not be probed (since ", second.id);
    assert!(told.contains(&why) && told.contains("last answer: timed out after 1 s (write on "), "{told}");
    for token in [&first, &second] {
        assert!(can_write(host, &token.secret, "telemetry"));
    }
    gateway.open(host.sandbox.address());
    // One answer counts once all of the server has had time to learn of it.
    host.shift_clock(SignedDuration::from_mins(11));
    running.wait_for("the end of the old one", || !is_live(host, &first));
    host.assert_settled("t0");
    running.stop();
}
