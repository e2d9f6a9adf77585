//! Servers that answer wrongly, slowly, partly or not at all.

use std::time::Duration;

use hyper::Method;
use influx_sandbox::{Effect, Fault};

use crate::{host::Host, kind::on_each};

/// A fault of the list of tokens, what a person reads, and the fix.
fn list_faults() -> Vec<(&'static str, Effect, &'static str, &'static str)> {
    let status = |status, body: &str, headers: &[(&str, &str)]| Effect::Status {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_owned(),
    };
    let html = [("content-type", "text/html; charset=utf-8")];
    vec![
        (
            "401",
            status(401, "{\"code\":401,\"message\":\"unauthorized\"}", &[]),
            "list tokens: 401: unauthorized",
            "influxctl management create",
        ),
        (
            "403",
            status(403, "{\"code\":403,\"message\":\"forbidden\"}", &[]),
            "list tokens: 403: forbidden",
            "no right",
        ),
        ("404", status(404, "", &[]), "list tokens: 404", "since release 20250508"),
        ("429", status(429, "slow down", &[("retry-after", "7")]), "list tokens: 429: slow down", ""),
        ("500", status(500, "{\"code\":500,\"message\":\"oops\\u0007\"}", &[]), "list tokens: 500: oops", ""),
        (
            "html",
            status(200, "<html>hello</html>", &html),
            "unexpected answer: an HTML page",
            "another program than InfluxDB",
        ),
        ("html 502", status(502, "<html>bad gateway</html>", &html), "list tokens: 502: an HTML page", ""),
        (
            "redirect",
            status(302, "", &[("location", "https://elsewhere.example.com/")]),
            "302: redirected to \"https://elsewhere.example.com/\"",
            "no management API at `url`",
        ),
        (
            "not json",
            status(200, "[{]", &[]),
            "unexpected answer: the body is not JSON",
            "another program than InfluxDB",
        ),
        ("null", status(200, "null", &[]), "unexpected answer: the body is not what the API describes", ""),
        ("cut", Effect::CutBefore, "the answer was cut off", ""),
        ("half", Effect::HalfBody, "the answer was cut off", ""),
        ("nothing", Effect::Silence, "timed out after 1 s", ""),
        ("endless", Effect::EndlessBody, "the answer is larger than 67108864 bytes", ""),
    ]
}

#[test]
fn what_a_person_reads_when_the_list_fails() {
    let host = Host::new();
    host.list_of(1);
    for (name, effect, expected, hint) in list_faults() {
        host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", effect));
        let ran = host.tokend(&["apply"]);
        host.sandbox.clear_faults();
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        // A large answer may run into the time limit first.
        let slow = name == "endless" && ran.stderr.contains("timed out after 1 s");
        assert!(slow || ran.stderr.contains(expected), "{name}: {ran:?}");
        assert!(ran.stderr.contains("server \"default\""), "{name}: {ran:?}");
        assert!(ran.stderr.contains(hint), "{name}: {ran:?}");
        assert!(!ran.stderr.contains(&host.sandbox.management_token()), "{name}: {ran:?}");
    }
    assert_eq!(host.sandbox.tokens().len(), 0, "nothing was minted without a list");
}

#[test]
fn a_mint_that_fails_is_told_and_leaves_no_stray_behind() {
    type Make = fn(&str) -> Fault;
    let faults: [(&str, Make, &str); 9] = [
        ("401", |path| Fault::status(Method::POST, path, 401), "401: on demand"),
        ("403", |path| Fault::status(Method::POST, path, 403), "403: on demand"),
        ("409", |path| Fault::status(Method::POST, path, 409), "409: on demand"),
        ("429", |path| Fault::status(Method::POST, path, 429), "429: on demand"),
        ("500", |path| Fault::status(Method::POST, path, 500), "500: on demand"),
        ("cut before", |path| on_mint(path, Effect::CutBefore), "the answer was cut off"),
        ("cut after", |path| on_mint(path, Effect::CutAfter), "the answer was cut off"),
        ("half", |path| on_mint(path, Effect::HalfBody), "the answer was cut off"),
        ("nothing", |path| on_mint(path, Effect::SilenceAfter), "timed out after 1 s"),
    ];
    for (name, fault, expected) in faults {
        on_each(|host| {
            host.list_of(1);
            host.sandbox.fault(fault(&host.api("/tokens")).times(1));
            let ran = host.tokend(&["apply"]);
            assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
            // influxctl has words of its own for it.
            let expected = if host.kind.has_date { expected } else { "" };
            assert!(ran.stderr.contains(&format!("mint token: {expected}")), "{name}: {ran:?}");
            assert_eq!(host.mints(), 1, "{name}: never repeated");
            assert!(host.delivered("t0").is_none(), "{name}");
            host.apply();
            host.assert_settled("t0");
            assert_eq!(host.mints(), 2, "{name}");
        });
    }
}

fn on_mint(path: &str, effect: Effect) -> Fault {
    Fault::on(Some(Method::POST), path, effect)
}

#[test]
fn a_list_that_lags_makes_nobody_mint_twice() {
    on_each(|host| {
        host.list_of(2);
        host.sandbox.fault(Fault::on(
            Some(Method::GET),
            &host.api("/tokens"),
            Effect::Lag(Duration::from_secs(30)),
        ));
        host.apply();
        host.apply();
        host.assert_settled("t0");
        host.assert_settled("t1");
        assert_eq!(host.sandbox.tokens().len(), 2);
    });
}

#[test]
fn an_unreachable_server_is_told() {
    let host = Host::new();
    let list = host.list_text("http://127.0.0.1:1", "[[token]]\nname = \"t\"\nwrite = [\"a\"]\n");
    host.write("tokens.toml", &list);
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot connect: Connection refused"), "{ran:?}");
    assert!(ran.stderr.contains("check host and port"), "{ran:?}");
    host.write("tokens.toml", &list.replace("http://127.0.0.1:1", "https://no-such-host.invalid"));
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("no address for the host") || ran.stderr.contains("tls:"), "{ran:?}");
}

#[test]
fn without_the_right_to_list_databases_it_mints_and_warns() {
    let host = Host::new();
    host.list_of(1);
    host.sandbox.fault(Fault::status(Method::GET, "/api/v0/databases", 403));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("cannot list the server's databases: 403"), "{ran:?}");
    host.assert_settled("t0");
}
