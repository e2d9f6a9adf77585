//! Lists that take long, and too long.

use std::time::Instant;

use hyper::Method;

use super::*;

/// A list whose server may take this long to answer.
fn patient(host: &Host, timeout: &str, rest: &str) {
    let timeout = format!("timeout = \"{timeout}\"");
    host.write("tokens.toml", &text(host, rest).replace("timeout = \"1s\"", &timeout));
}

#[test]
fn a_list_that_takes_half_a_minute_holds_up_nobody_and_misleads_nobody() {
    const HALF_A_MINUTE: Duration = Duration::from_secs(30);
    let host = Host::new();
    host.sandbox.shift_clock(-BEHIND);
    patient(&host, "1m", &format!("{T0}{T1}"));
    host.apply();
    // Old enough to be judged by it.
    host.sandbox.shift_clock(BEHIND);
    let before = host.sandbox.tokens();
    patient(&host, "1m", &format!("{T0}{T1}{}", T0.replace("t0", "t2")));
    // It shows how things were when it was asked for.
    for effect in [Effect::Delay(HALF_A_MINUTE), Effect::Lag(HALF_A_MINUTE)] {
        host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", effect).times(1));
    }
    host.sandbox.clear_requests();
    let running = Running::of(host);
    let host = &running.host;
    running.daemon.wait_for("ready");
    running.wait_for("the question", || host.list_is_open());
    let asked = Instant::now();
    running.wait_for("no answer", || running.told().contains("server default: was asked at "));
    let server = running.server();
    assert!(server["asked_since"].is_string() && server["error"] == Value::Null, "{server}");
    assert_eq!((running.waits("t0"), running.waits("t2")), (String::new(), "not minted yet".to_owned()));
    for token in &before {
        let name = if token.description.contains("/t0/") { "t0" } else { "t1" };
        running.assert_delivered(name, &token.secret);
    }
    let ran = host.secrets_by_socket(&["get", "t2"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not ready"), "{ran:?}");
    patient(host, "1m", &format!("{T0}{T1}{}{}", T0.replace("t0", "t2"), T0.replace("t0", "t3")));
    running.daemon.wait_for("list accepted");
    assert!(host.list_is_open() && lists(host) == 1, "all of that before it was answered");

    running.wait_for("the answer", || !host.list_is_open());
    assert!(asked.elapsed() > HALF_A_MINUTE - Duration::from_secs(5), "{:?}", asked.elapsed());
    running.wait_for("what waited", || host.delivered("t2").is_some() && host.delivered("t3").is_some());
    for name in ["t0", "t1", "t2", "t3"] {
        host.assert_settled(name);
        assert_eq!(running.waits(name), "");
    }
    assert!(before.iter().all(|token| is_live(host, token)));
    assert_eq!(host.sandbox.tokens().len(), 4, "each was minted once");
    let changes = |method: &str| matches!(method, "PATCH" | "DELETE");
    assert!(!host.sandbox.requests().iter().any(|request| changes(&request.method)));
    running.stop();
}

#[test]
fn a_list_that_takes_longer_than_it_may_is_told_and_changes_nothing() {
    let running = Running::new(T0);
    let host = &running.host;
    let slow = Effect::Delay(Duration::from_millis(1500));
    host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", slow));
    running.assert_away("list tokens: timed out after 1 s");
    let told = running.told();
    assert!(told.contains("a long list may need a longer `timeout`"), "{told}");
    running.assert_delivered("t0", &only(host.live("t0")).secret);
    // As the hint says.
    patient(host, "10s", T0);
    running.wait_for("an answer", || running.server()["error"] == Value::Null);
    running.daemon.wait_for("answers again, after ");
    host.assert_settled("t0");
    assert_eq!(host.sandbox.tokens().len(), 1);
    running.stop();
}
