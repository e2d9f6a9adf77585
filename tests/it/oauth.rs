//! Management tokens that an identity provider issues: who is asked, how often, and what is said where it does not.

use std::{fs, os::unix::fs::PermissionsExt as _};

use hyper::Method;
use influx_sandbox::{Effect, Fault, Provider, Recorded};

use crate::{
    host::{Host, wait_until},
    kind::Kind,
};

const PATH: &str = "/oauth/token";

/// A host whose only way in is what the provider issues, with these lines of `oauth` more, and so many tokens to mint.
fn host(provider: Provider, more: &str, tokens: usize) -> Host {
    let secret = provider.client_secret.clone();
    let host = Host::on_with(&Kind::CLUSTERED, |options| options.provider = Some(provider));
    // That it is in no use, every test shows.
    fs::remove_file(host.path("management-token")).unwrap();
    host.write("client-secret", &secret);
    fs::set_permissions(host.path("client-secret"), fs::Permissions::from_mode(0o600)).unwrap();
    host.list_of(tokens);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let kept = format!("{{ file = \"{}\" }}", host.path("management-token").display());
    let issued = format!(
        "{{ oauth = {{ token_url = \"{}\", client_id = \"influx-tokend\", client_secret = {{ file = \"{}\" }}{more} }} }}",
        host.sandbox.token_url(),
        host.path("client-secret").display()
    );
    assert!(list.contains(&kept));
    host.write("tokens.toml", &list.replace(&kept, &issued));
    host
}

/// What the provider was asked.
fn asked(host: &Host) -> Vec<Recorded> {
    host.sandbox.requests().into_iter().filter(|request| request.path == PATH).collect()
}

fn lists(host: &Host) -> usize {
    let is_list = |request: &&Recorded| request.method == "GET" && request.path == "/api/v0/tokens";
    host.sandbox.requests().iter().filter(is_list).count()
}

#[test]
fn one_is_issued_and_does_for_all_there_is_to_do() {
    let parameters = [("scope", "manage openid"), ("audience", "influxdb"), ("resource", "urn:a b&c")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let more = ", scopes = [\"openid\", \"manage\"], audience = \"influxdb\", parameters = { resource = \"urn:a b&c\" }";
    for (in_body, authentication) in [(false, ""), (true, ", authentication = \"post\"")] {
        let provider = Provider { in_body, parameters: parameters.clone().into(), ..Provider::default() };
        let secret = provider.client_secret.clone();
        let host = host(provider, &format!("{more}{authentication}"), 20);
        let ran = host.apply();
        host.assert_settled("t0");
        host.assert_settled("t19");
        let asked = asked(&host);
        assert_eq!(asked.len(), 1, "{asked:?}");
        let header = |name: &str| asked[0].headers.iter().find(|(own, _)| own == name).unwrap().1.clone();
        assert_eq!((asked[0].method.as_str(), asked[0].query.as_str()), ("POST", ""));
        assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
        assert_eq!(header("accept"), "application/json");
        assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "{ran:?}");
    }
}

#[test]
fn a_daemon_asks_for_another_only_when_it_needs_one() {
    let host = host(Provider::default(), "", 1);
    let mut daemon = host.daemon();
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    host.apply();
    host.apply();
    assert_eq!((asked(&host).len(), lists(&host) >= 3), (1, true));
    // Its key is another: what it has issued is not taken any more, and that nobody could know.
    host.sandbox.end_issued();
    let ran = host.tokend(&["apply"]);
    let told = format!(
        "list tokens: 401: unauthorized: the server refuses the token from {}",
        host.sandbox.token_url()
    );
    assert!(ran.code == Some(4) && ran.stderr.contains(&told), "{ran:?}");
    assert!(ran.stderr.contains("hint: check that the cluster is set up with this provider"), "{ran:?}");
    host.apply();
    assert_eq!(asked(&host).len(), 2);
    assert!(!daemon.has_ended());
    assert_eq!(host.sandbox.tokens().len(), 1);
}

#[test]
fn one_whose_end_is_not_told_is_used_for_one_pass() {
    let host = host(Provider { expires_in: None, ..Provider::default() }, "", 3);
    let daemon = host.daemon();
    wait_until("t2", || host.delivered("t2").is_some(), || daemon.log());
    host.apply();
    // Each list begins a pass; asking for databases and minting belong to it.
    assert_eq!(asked(&host).len(), lists(&host));
}

#[test]
fn one_that_ends_soon_is_replaced_before_it_does() {
    // Shorter than one pass: the next request of the same pass has another.
    let host = host(Provider { expires_in: Some(0), ..Provider::default() }, "", 3);
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("401: unauthorized"), "one that never lives is of no use: {ran:?}");
    host.sandbox.set_provider(|provider| provider.expires_in = Some(u64::MAX / 2));
    host.sandbox.clear_requests();
    host.apply();
    assert_eq!(asked(&host).len(), 1);
}

/// Status, headers and body of an answer, what is told of it, and with what hint.
type Case<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

/// What the provider answers to everything.
fn answers(host: &Host, status: u16, headers: &[(&str, &str)], body: &str) {
    host.sandbox.clear_faults();
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let effect = Effect::Status { status, headers, body: body.to_owned() };
    host.sandbox.fault(Fault::on(Some(Method::POST), PATH, effect));
}

#[test]
fn what_a_person_reads_when_none_is_issued() {
    let host = host(Provider::default(), "", 1);
    let secret = fs::read_to_string(host.path("client-secret")).unwrap();
    let echo = format!("{{\"error\":\"invalid_client\",\"error_description\":\"not {secret}\"}}");
    let long = format!("{{\"access_token\":\"{}\",\"token_type\":\"bearer\"}}", "x".repeat(70_000));
    let cases: &[Case<'_>] = &[
        (
            401,
            &[],
            "{\"error\":\"invalid_client\",\"error_description\":\"who is that\"}",
            "401: invalid_client: who is that",
            "check that `client_id` and what `client_secret` names are the provider's",
        ),
        (400, &[], "{\"error\":\"invalid_scope\"}", "400: invalid_scope", "with these `scopes`"),
        (401, &[], &echo, "401\n", "check that `client_id`"),
        (
            404,
            &[("content-type", "text/html")],
            "<html>",
            "404: an HTML page",
            "`token_endpoint` in what it shows",
        ),
        (
            200,
            &[("content-type", "text/html")],
            "<html>",
            "an HTML page",
            "`token_endpoint` in what it shows",
        ),
        (200, &[], "{\"access_token\":\"x\"}", "not what the API describes", "`token_url`"),
        (200, &[], "{\"access_token\":\"x\",\"token_type\":\"mac\"}", "not a bearer token", "`token_url`"),
        (
            200,
            &[],
            "{\"access_token\":\"x y\",\"token_type\":\"Bearer\"}",
            "characters not valid in a header",
            "`token_url`",
        ),
        (
            200,
            &[],
            "{\"access_token\":\"\",\"token_type\":\"Bearer\"}",
            "characters not valid in a header",
            "`token_url`",
        ),
        (200, &[], &long, "larger than 65536 bytes", ""),
        (
            302,
            &[("location", "https://elsewhere")],
            "",
            "redirected to \"https://elsewhere\"",
            "as `token_url`",
        ),
        (503, &[("retry-after", "7")], "", "503", ""),
    ];
    for (status, headers, body, told, hint) in cases {
        answers(&host, *status, headers, body);
        let ran = host.tokend(&["check"]);
        let whole = &ran.stdout;
        assert_eq!(ran.code, Some(1), "{body}: {ran:?}");
        let from = format!("list tokens: no management token from {}: ", host.sandbox.token_url());
        assert!(whole.contains(&from), "{body}: {ran:?}");
        assert!(whole.contains(told) && whole.contains(hint), "{body}: {ran:?}");
        assert!(!whole.contains(&secret) && !whole.contains("x y"), "{body}: {ran:?}");
    }
    host.sandbox.clear_faults();
    assert_eq!(host.tokend(&["check"]).code, Some(0));
    assert_eq!(host.mints(), 0);
}

#[test]
fn its_secret_may_be_missing_and_may_be_replaced_without_a_restart() {
    let host = host(Provider::default(), "", 1);
    let secret = fs::read_to_string(host.path("client-secret")).unwrap();
    fs::remove_file(host.path("client-secret")).unwrap();
    let ran = host.tokend(&["check"]);
    assert!(ran.stdout.contains("client secret: cannot read "), "{ran:?}");
    let daemon = host.daemon();
    daemon.wait_for("client secret: cannot read ");
    host.write("client-secret", "canary-of-before\n");
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("401: invalid_client: no such client"), "{ran:?}");
    host.write("client-secret", &secret);
    host.apply();
    host.assert_settled("t0");
    assert!(!daemon.log().contains("canary"), "{}", daemon.log());
}

#[test]
fn while_the_provider_is_away_what_is_sealed_is_delivered() {
    let host = host(Provider::default(), "", 1);
    host.apply();
    let before = host.delivered("t0").unwrap();
    fs::remove_dir_all(host.path("run/secrets")).unwrap();
    host.sandbox.fault(Fault::on(Some(Method::POST), PATH, Effect::CutBefore));
    let daemon = host.daemon();
    daemon.wait_for("no management token from ");
    wait_until("t0", || host.delivered("t0").is_some(), || daemon.log());
    assert_eq!(host.delivered("t0").unwrap(), before);
    let status = host.status();
    let error = status["servers"][0]["error"].as_str().unwrap();
    assert!(error.contains("no management token from "), "{status}");
    host.sandbox.clear_faults();
    host.apply();
    assert_eq!(host.tokend(&["status"]).code, Some(0));
}
