//! Tokens that were made by hand.

use std::{fs, io::Write as _, process::Stdio, time::Duration};

use influx_sandbox::{Activation, Token};
use jiff::SignedDuration;
use serde_json::Value;

use crate::host::{Host, Ran, ran};

const LISTED: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
const SHORT: &str = "overlap = \"0s\"\noverlap_cap = \"1ms\"\n";

fn host(list: &str) -> Host {
    let host = Host::new();
    host.list(list);
    host
}

/// A token that somebody made.
fn by_hand(host: &Host, permissions: &[(&str, &str)]) -> Token {
    let id = host.sandbox.add_token("made by hand", permissions);
    host.sandbox.tokens().into_iter().find(|token| token.id == id).unwrap()
}

fn feed(host: &Host, arguments: &[&str], stdin: &str) -> Ran {
    let mut command = host.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end without reading all of it.
    let _closed = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    ran(child.wait_with_output().unwrap())
}

fn import(host: &Host, arguments: &[&str], token: &Token) -> Ran {
    let arguments: Vec<&str> = ["import"].iter().chain(arguments).copied().collect();
    let ran = feed(host, &arguments, &format!("{} {}\n", token.id, token.secret));
    assert!(!format!("{ran:?}").contains(&token.secret), "{ran:?}");
    ran
}

pub(crate) fn imported(host: &Host, arguments: &[&str], token: &Token) {
    let ran = import(host, arguments, token);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn is_live(host: &Host, token: &Token) -> bool {
    host.is_live(&token.id)
}

fn count(host: &Host, method: &str, path: &str) -> usize {
    let requests = host.sandbox.requests();
    requests.iter().filter(|request| request.method == method && request.path.starts_with(path)).count()
}

/// Lets whatever is due happen.
fn later(host: &Host) {
    host.shift_clock(SignedDuration::from_secs(2));
    host.apply();
}

#[test]
fn a_listed_name_gets_it_and_nothing_is_minted() {
    let host = host(LISTED);
    let token = by_hand(&host, &[("write", "telemetry")]);
    imported(&host, &["t0"], &token);
    assert_eq!(host.delivered("t0"), Some(token.secret.clone()));
    host.apply();
    assert_eq!(host.secrets(&["get", "t0"]).stdout, token.secret);
    assert_eq!(count(&host, "POST", "/api/v0/tokens"), 0);
    let there = host.sandbox.live().into_iter().find(|live| live.id == token.id).unwrap();
    assert_eq!(there.description, "made by hand", "it is not relabelled");
}

#[test]
fn an_unlisted_name_waits_until_the_list_asks_for_it() {
    let host = host(LISTED);
    let token = by_hand(&host, &[("read", "a"), ("write", "b")]);
    let ran = import(&host, &["x", "--output", "json"], &token);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&json["imported"]["id"], &json["imported"]["listed"]),
        (&token.id.clone().into(), &false.into())
    );
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stderr.contains("left the list"), "{ran:?}");
    assert!(ran.stdout.contains("the list to name it"), "{ran:?}");
    assert_eq!(host.delivered("x"), None);
    host.sandbox.clear_requests();
    host.list(&format!("{LISTED}[[token]]\nname = \"x\"\nread = [\"a\"]\nwrite = [\"b\"]\n"));
    host.apply();
    assert_eq!(host.delivered("x"), Some(token.secret));
    assert_eq!(count(&host, "POST", "/api/v0/tokens"), 0);
}

#[test]
fn over_a_current_token_it_takes_its_place_and_the_old_one_retires() {
    let host = host(LISTED);
    host.apply();
    let old = host.live("t0")[0].clone();
    let token = by_hand(&host, &[("write", "telemetry")]);
    imported(&host, &["t0", "--exclusive"], &token);
    assert_eq!(host.delivered("t0"), Some(token.secret.clone()));
    assert!(is_live(&host, &old));
    host.list(&format!("{SHORT}{LISTED}"));
    later(&host);
    assert!(!is_live(&host, &old) && is_live(&host, &token));
}

#[test]
fn over_a_next_it_takes_its_place_and_that_one_is_revoked_as_nobody_had_it() {
    let host = host(LISTED);
    host.sandbox.set_activation(Activation::all(Duration::from_secs(3600)));
    host.list(&format!("{LISTED}probe = {{ deadline = \"10ms\" }}\n"));
    assert_eq!(host.tokend(&["apply"]).code, Some(1), "its own is not accepted in time");
    let next = host.live("t0")[0].clone();
    let token = by_hand(&host, &[("write", "telemetry")]);
    host.list(LISTED);
    imported(&host, &["t0"], &token);
    assert_eq!(host.delivered("t0"), Some(token.secret.clone()));
    host.apply();
    assert!(!is_live(&host, &next) && is_live(&host, &token), "it has no overlap");
}

#[test]
fn other_grants_are_a_persons_to_decide() {
    let host = host(LISTED);
    let token = by_hand(&host, &[("read", "telemetry")]);
    let ran = import(&host, &["t0"], &token);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("the list asks for write telemetry"), "{ran:?}");
    assert!(ran.stderr.contains("has read telemetry"), "{ran:?}");
    assert!(ran.stderr.contains("--despite-grants"), "{ran:?}");
    assert!(!host.path("store/tokens/t0.age").exists(), "nothing is sealed");
    let ran = import(&host, &["t0", "--despite-grants"], &token);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    host.apply();
    // It is as it was, and one with what the list asks for has taken its place.
    let delivered = host.delivered("t0").unwrap();
    assert_ne!(delivered, token.secret);
    assert!(crate::host::can_write(&host, &delivered, "telemetry"));
    assert!(crate::host::can_read(&host, &token.secret, "telemetry"), "others may use it");
}

#[test]
fn what_is_not_as_it_should_be_is_refused_and_nothing_is_sealed() {
    let host = host(LISTED);
    host.apply();
    let own = host.live("t0")[0].clone();
    let instance: Value =
        serde_json::from_str(&fs::read_to_string(host.path("store/instance")).unwrap()).unwrap();
    let label = format!("x [influx-tokend {}/t0/{}]", instance["current"].as_str().unwrap(), "0".repeat(32));
    let ours = host.sandbox.add_token(&label, &[("write", "telemetry")]);
    let ours = host.sandbox.tokens().into_iter().find(|token| token.id == ours).unwrap();
    let good = by_hand(&host, &[("write", "telemetry")]);
    let revoked = by_hand(&host, &[("write", "telemetry")]);
    host.sandbox.revoke(&revoked.id);
    let expired = by_hand(&host, &[("write", "telemetry")]);
    host.sandbox.expire(&expired.id);
    // The Date has whole seconds.
    host.shift_clock(SignedDuration::from_secs(2));
    let nothing = by_hand(&host, &[]);
    let strange = by_hand(&host, &[("administer", "telemetry")]);
    let altered = |change: fn(&mut Token, String), to: &str| {
        let mut token = good.clone();
        change(&mut token, to.to_owned());
        token
    };
    let wrong = altered(|token, secret| token.secret = secret, "apiv1_wrong");
    let unknown = altered(|token, id| token.id = id, "00000000-0000-4000-8000-000000000000");
    let taken = altered(|token, secret| token.secret = secret, &own.secret);
    let narrow = by_hand(&host, &[("read", "a")]).secret;
    let narrow = altered(|token, secret| token.secret = secret, &narrow);
    let before = fs::read(host.path("store/tokens/t0.age")).unwrap();
    for (token, said) in [
        (&wrong, "is not accepted: 401 (write on \"telemetry\")"),
        (&narrow, "is not accepted: "),
        (&unknown, "has no token"),
        (&revoked, "was revoked at"),
        (&expired, "expired at"),
        (&nothing, "has no grants, unreported grants"),
        (&strange, "has no grants, unreported grants"),
        (&own, "is a token of t0 already"),
        (&ours, "was minted by this store, for t0"),
        (&taken, "is that of another token, of t0"),
    ] {
        let ran = import(&host, &["x"], token);
        assert_eq!(ran.code, Some(1), "{said}: {ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.contains("hint: "), "{said}: {ran:?}");
        assert!(ran.stderr.contains(&token.id), "{said}: {ran:?}");
        assert!(!host.path("store/tokens/x.age").exists(), "{said}");
    }
    for stdin in ["", "canary", "id canary more", "id can\u{e4}ry"] {
        let ran = feed(&host, &["import", "x"], stdin);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("expected the token's id and its string"), "{ran:?}");
        assert!(!ran.stderr.contains("can"), "{ran:?}");
    }
    let ran = feed(&host, &["import", "x"], &"x".repeat(70_000));
    assert!(ran.stderr.contains("found more than 65536 bytes"), "{ran:?}");
    assert_eq!(fs::read(host.path("store/tokens/t0.age")).unwrap(), before);
}

#[test]
fn a_token_for_all_databases_is_asked_about_on_one() {
    let host = host("[[token]]\nname = \"all\"\nread = [\"*\"]\n");
    let token = by_hand(&host, &[("read", "*")]);
    imported(&host, &["all"], &token);
    assert_eq!(host.delivered("all"), Some(token.secret));
}

#[test]
fn the_server_is_named_where_the_list_cannot_tell() {
    let host = Host::new();
    let folder = host.folder.path().display();
    let port = host.sandbox.address().port();
    let server = |name: &str, address: &str| {
        format!(
            "[servers.{name}]\nproduct = \"clustered\"\nurl = \"http://{address}:{port}\"\n\
             management_token = {{ file = \"{folder}/management-token\" }}\n",
        )
    };
    host.write(
        "tokens.toml",
        &format!(
            "{}{}[store]\npath = \"{folder}/store\"\n[deliver.socket]\npath = \"{folder}/run/secrets.sock\"\n\
             [lifecycle]\nprobe = {{ interval = \"20ms\" }}\n{LISTED}server = \"one\"\n",
            server("one", "127.0.0.1"),
            server("two", "localhost")
        ),
    );
    let token = by_hand(&host, &[("write", "telemetry")]);
    let ran = import(&host, &["x"], &token);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("--server with one of \"one\", \"two\""), "{ran:?}");
    let ran = import(&host, &["x", "--server", "three"], &token);
    assert!(ran.stderr.contains("unknown server \"three\""), "{ran:?}");
    let ran = import(&host, &["t0", "--server", "two"], &token);
    assert!(ran.stderr.contains("the list has it on server one, not on two"), "{ran:?}");
    imported(&host, &["x", "--server", "two"], &token);
    imported(&host, &["t0"], &by_hand(&host, &[("write", "telemetry")]));
}

#[test]
fn one_that_others_use_is_never_ended_whatever_replaces_it() {
    let host = host(&format!("{SHORT}{LISTED}"));
    let token = by_hand(&host, &[("write", "telemetry")]);
    imported(&host, &["t0"], &token);
    for _ in 0..2 {
        let ran = host.tokend(&["rotate", "t0"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        later(&host);
    }
    assert!(is_live(&host, &token));
    assert_eq!(host.live("t0").len(), 1, "what was minted between is ended");
    assert_eq!(count(&host, "PATCH", "/"), 0);
    let ran = host.tokend(&["apply"]);
    assert!(
        ran.stderr.contains(&format!("imported token {} is not used here any more", token.id)),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("you to revoke the former"), "{ran:?}");
}

#[test]
fn one_that_nobody_else_uses_is_ended_once_it_is_replaced() {
    let host = host(LISTED);
    let token = by_hand(&host, &[("write", "telemetry")]);
    imported(&host, &["t0", "--exclusive"], &token);
    later(&host);
    assert!(is_live(&host, &token), "it is current");
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    assert!(is_live(&host, &token), "its overlap");
    host.list(&format!("{SHORT}{LISTED}"));
    later(&host);
    assert!(!is_live(&host, &token));
    host.assert_settled("t0");
}
