//! A host that gives up its tokens.

use std::{fs, process::Stdio};

use hyper::Method;
use influx_sandbox::{Effect, Event, Fault, Token};
use serde_json::Value;

use crate::{
    host::{Daemon, Host, Ran, files_below, ran, wait_until},
    import::imported,
    kind::{Kind, on},
};

const TOKENS: &str = "overlap_cap = \"1h\"\n[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n\
    [[token]]\nname = \"t1\"\nread = [\"telemetry\"]\n[[token]]\nname = \"shared\"\nwrite = [\"a\"]\n";

/// A host with a current and a former token of `t0`, one of `t1`, a token that others use too, one with this store's label
/// that a clone minted, and a stranger's. Returns the last three.
fn host() -> (Host, [Token; 3]) {
    let host = Host::new();
    let others = fill(&host);
    (host, others)
}

fn fill(host: &Host) -> [Token; 3] {
    host.list(TOKENS);
    let by_hand = find(host, &host.sandbox.add_token("by hand", &[("write", "a")]));
    imported(host, &["shared"], &by_hand);
    host.apply();
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    let label = host.live("t1")[0].description.rsplit_once('/').unwrap().0.to_owned();
    let stray = host.sandbox.add_token(&format!("{label}/{}]", "ab".repeat(16)), &[("write", "a")]);
    let foreign = host.sandbox.add_token("edge [influx-tokend of another]", &[("write", "a")]);
    let others = [by_hand.id.as_str(), &stray, &foreign].map(|id| find(host, id));
    assert_eq!(host.sandbox.live().len(), 6);
    others
}

fn find(host: &Host, id: &str) -> Token {
    host.sandbox.tokens().into_iter().find(|token| token.id == id).unwrap()
}

fn live_ids(host: &Host) -> Vec<String> {
    let mut ids: Vec<String> = host.sandbox.live().into_iter().map(|token| token.id).collect();
    ids.sort();
    ids
}

/// The digest that is shown.
fn show(host: &Host, also: &[&str]) -> (String, String) {
    let ran = host.tokend(&[&["retire"][..], also].concat());
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let digest = ran.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    (digest, ran.stdout)
}

fn retire(host: &Host) -> Ran {
    let (digest, _) = show(host, &[]);
    host.tokend(&["retire", &digest])
}

/// That nothing is left here, and on the server only what is not this host's.
fn assert_retired(host: &Host, others: &[Token; 3]) {
    let mut left = others.clone().map(|token| token.id);
    left.sort();
    assert_eq!(live_ids(host), left);
    let mut files: Vec<String> = files_below(&host.path("store"))
        .into_iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, ["lock", "retired"]);
    for name in ["t0", "t1", "shared"] {
        assert_eq!(host.delivered(name), None, "{name}");
    }
}

#[test]
fn a_person_sees_what_is_revoked_and_what_stays_and_confirms_that() {
    let kinds = Kind::all().into_iter().filter(|kind| kind.tells_grants);
    on(kinds, |host| {
        let others = fill(&host);
        let before = live_ids(&host);
        let (digest, shown) = show(&host, &[]);
        let [by_hand, stray, foreign] = &others;
        for token in host.live("t0").iter().chain(&host.live("t1")).filter(|token| token.id != stray.id) {
            assert!(shown.contains(&format!("({} on default)", token.id)), "{shown}");
        }
        assert!(shown.contains(&format!("t1 ({} on ", stray.id)), "{shown}");
        assert!(shown.contains("not minted here, a clone of this store may use it"), "{shown}");
        assert!(shown.contains(&format!("shared ({} on ", by_hand.id)), "{shown}");
        assert!(shown.contains("imported, others may use it"), "{shown}");
        assert!(!shown.contains(&foreign.id), "{shown}");
        let json: Value = serde_json::from_str(&host.tokend(&["retire", "--output", "json"]).stdout).unwrap();
        assert_eq!((json["digest"].as_str(), json["revokes"].as_array().unwrap().len()), (Some(&*digest), 3));
        assert_eq!(
            (&json["stays"][0]["why"], &json["stays"][1]["why"]),
            (&"imported".into(), &"unknown".into())
        );
        let ran = host.tokend(&["retire", "000000000000"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("does not match what would be done now"), "{ran:?}");
        assert_eq!(live_ids(&host), before, "nothing is done without it");

        let ran = host.tokend(&["retire", &digest]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("revoked 3 tokens and wiped"), "{ran:?}");
        assert_retired(&host, &others);
        let requests = host.sandbox.requests();
        assert_eq!(requests.iter().filter(|request| request.method == "DELETE").count(), 3);
    });
}

/// And so has nothing that others use too.
#[test]
fn a_host_that_cannot_import_anything_revokes_all_that_it_has_minted() {
    on(Kind::all().into_iter().filter(|kind| !kind.tells_grants), |host| {
        host.list(TOKENS);
        host.apply();
        assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
        let foreign = host.sandbox.add_token("edge [influx-tokend of another]", &[("write", "a")]);
        let ran = retire(&host);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("revoked 4 tokens and wiped"), "{ran:?}");
        assert_eq!(live_ids(&host), [foreign]);
        assert!(host.path("store/retired").exists());
        let ran = host.tokend(&["apply"]);
        assert!(ran.stderr.contains("was retired: its tokens are revoked"), "{ran:?}");
    });
}

/// Its marker was never sealed here.
#[test]
fn a_clones_token_stays_unless_a_person_names_it() {
    let (host, others) = host();
    let [_, clones, foreign] = &others;
    let (digest, shown) = show(&host, &[]);
    let stays = format!("  t1 ({} on ", clones.id);
    assert!(
        shown.contains(&stays) && shown.contains("not minted here, a clone of this store may use it"),
        "{shown}"
    );
    assert!(shown.contains("hint: to revoke one of these too: influx-tokend retire --also ID"), "{shown}");
    let before = live_ids(&host);
    let ran = host.tokend(&["retire", "--also", &clones.id, &digest]);
    assert_eq!(ran.code, Some(1), "the digest is of less: {ran:?}");
    let ran = host.tokend(&["retire", "--also", &foreign.id]);
    assert!(ran.code == Some(1) && ran.stderr.contains(&format!("{:?} is not", foreign.id)), "{ran:?}");
    assert_eq!(live_ids(&host), before);

    let ran = host.tokend(&["retire", &digest]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("revoked 3 tokens and wiped"), "{ran:?}");
    assert!(ran.stdout.contains("still live:\n") && ran.stdout.contains(&stays), "{ran:?}");
    assert_retired(&host, &others);
}

/// With the daemon and without.
#[test]
fn a_clones_token_that_a_person_names_is_revoked_too() {
    for with_daemon in [false, true] {
        let (host, others) = host();
        let daemon = with_daemon.then(|| host.daemon());
        daemon.iter().for_each(|daemon| daemon.wait_for("ready"));
        let also = ["--also", &others[1].id];
        let (digest, shown) = show(&host, &also);
        assert!(shown.contains(&format!("  t1 ({} on default), not in a record", others[1].id)), "{shown}");
        let ran = host.tokend(&["retire", also[0], also[1], &digest]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("revoked 4 tokens and wiped"), "{ran:?}");
        assert!(!host.is_live(&others[1].id));
        daemon.into_iter().for_each(|mut daemon| assert_eq!(daemon.wait(), Some(0)));
    }
}

#[test]
fn a_retired_host_mints_nothing_until_a_person_says_so() {
    let (host, others) = host();
    assert_eq!(retire(&host).code, Some(0));
    host.sandbox.clear_requests();
    for arguments in [&["apply"][..], &["status"], &["plan"], &["rotate", "t0"]] {
        let ran = host.tokend(arguments);
        assert_eq!(ran.code, Some(1), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("was retired: its tokens are revoked"), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("hint: remove "), "{arguments:?}: {ran:?}");
    }
    let daemon = host.daemon();
    daemon.wait_for("was retired");
    wait_until(
        "an answer",
        || host.secrets_by_socket(&["get", "t0"]).stderr.contains("was retired"),
        || daemon.log(),
    );
    let again = host.tokend(&["retire"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(host.sandbox.requests().len(), 0);
    assert_retired(&host, &others);

    fs::remove_file(host.path("store/retired")).unwrap();
    daemon.wait_for("ready");
    wait_until("tokens", || host.delivered("t1").is_some(), || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    host.assert_settled("t1");
}

#[test]
fn a_running_daemon_does_it_and_exits() {
    let (host, others) = host();
    let mut daemon = host.daemon();
    daemon.wait_for("ready");
    let ran = retire(&host);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    assert!(ran.stderr.contains("revoking 3 tokens"), "{ran:?}");
    assert_eq!(daemon.wait(), Some(0));
    assert_retired(&host, &others);
}

fn refuse_one_revocation(host: &Host) -> String {
    let kept = host.status_of("t1")["id"].as_str().unwrap().to_owned();
    host.sandbox.fault(Fault::status(Method::DELETE, &format!("/api/v0/tokens/{kept}"), 500));
    kept
}

fn assert_partly(ran: &Ran, kept: &str) {
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("revoked 2 tokens\n"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("token t1: cannot revoke {kept}: ")), "{ran:?}");
    assert!(ran.stderr.contains("run `influx-tokend retire` again"), "{ran:?}");
}

#[test]
fn what_the_server_does_not_revoke_is_reported_and_revoked_later() {
    let (host, others) = host();
    let kept = refuse_one_revocation(&host);
    assert_partly(&retire(&host), &kept);
    assert!(live_ids(&host).contains(&kept));
    let ran = host.tokend(&["apply"]);
    assert!(ran.stderr.contains("is being retired"), "{ran:?}");
    host.sandbox.clear_faults();
    let ran = retire(&host);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("revoked 1 token and wiped"), "{ran:?}");
    assert_retired(&host, &others);
}

#[test]
fn a_daemon_that_could_not_revoke_all_mints_nothing_and_goes_on_when_asked() {
    let (host, others) = host();
    let mut daemon = host.daemon();
    daemon.wait_for("ready");
    let kept = refuse_one_revocation(&host);
    assert_partly(&retire(&host), &kept);
    host.sandbox.clear_requests();
    // Neither another list nor a signal sets it to work again.
    host.list(&format!("{TOKENS}[[token]]\nname = \"t2\"\nwrite = [\"telemetry\"]\n"));
    daemon.signal(rustix::process::Signal::HUP);
    assert_partly(&Ran { stdout: "revoked 2 tokens\n".into(), ..retire(&host) }, &kept);
    assert!(host.sandbox.requests().iter().all(|request| request.method != "POST"));
    assert_eq!(host.delivered("t0"), None, "what is revoked is not handed out");
    host.sandbox.clear_faults();
    assert_eq!(retire(&host).code, Some(0));
    assert_eq!(daemon.wait(), Some(0));
    assert_retired(&host, &others);
}

/// It has stopped minting and revoking by then.
#[test]
fn a_daemon_that_cannot_see_what_to_revoke_after_all_takes_up_its_work_again() {
    let (host, others) = host();
    let mut daemon = host.daemon();
    // Of its first pass.
    daemon.wait_for("has this store's label");
    let before = live_ids(&host);
    let (digest, _) = show(&host, &[]);
    // It looks twice: once for what to confirm, and again when nothing else is under way any more.
    host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", Effect::Silence).after(1).times(1));
    host.sandbox.clear_requests();
    let mut command = host.command(&["retire", &digest]);
    let retire = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the second look", || host.sandbox.requests().len() == 2, || daemon.log());
    host.list(&format!("{TOKENS}[[token]]\nname = \"t2\"\nwrite = [\"telemetry\"]\n"));
    let ran = ran(retire.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("list tokens: timed out after 1 s"), "{ran:?}");
    assert!(!host.path("store/retired").exists());
    assert!(before.iter().all(|id| host.is_live(id)));
    daemon.wait_for("the host is not retired: its tokens are looked after again");
    // By itself, what was put into the list meanwhile, and what a person asks for.
    wait_until("t2", || host.delivered("t2").is_some(), || daemon.log());
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    assert_eq!(host.status_of("t0")["generation"], 3);
    assert_eq!(self::retire(&host).code, Some(0));
    assert_eq!(daemon.wait(), Some(0));
    assert_retired(&host, &others);
}

#[test]
fn one_that_was_cut_off_is_gone_on_with() {
    let (host, others) = host();
    let (digest, _) = show(&host, &[]);
    let events = host.sandbox.events();
    // Its answer comes after the kill.
    host.sandbox.fault(Fault::on(
        Some(Method::DELETE),
        "/api/v0/tokens/",
        Effect::Delay(std::time::Duration::from_millis(300)),
    ));
    let mut child =
        host.command(&["retire", &digest]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_end = |event: &Event| matches!(event, Event::Received { what } if what.starts_with("DELETE"));
    assert!(events.iter().any(|event| is_end(&event)));
    child.kill().unwrap();
    child.wait().unwrap();
    host.sandbox.clear_faults();
    let daemon: Daemon = host.daemon();
    daemon.wait_for("is being retired");
    let ran = retire(&host);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(daemon.stop().0, Some(0));
    assert_retired(&host, &others);
}

#[test]
fn while_a_mint_may_still_come_the_store_is_kept() {
    let (host, _) = host();
    host.sandbox.fault(Fault::on(Some(Method::POST), "/api/v0/tokens", Effect::Silence).times(1));
    host.tokend(&["rotate", "t0"]);
    host.sandbox.clear_faults();
    let (digest, shown) = show(&host, &[]);
    assert!(
        shown.contains("server default did not answer a mint for t0: the store is kept until"),
        "{shown}"
    );
    let ran = host.tokend(&["retire", &digest]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("did not answer a mint, its outcome is known by"), "{ran:?}");
    assert!(host.path("store/tokens/t0.age").exists());
    assert_eq!(host.live("t0").len(), 0);
}

#[test]
fn where_there_is_nothing_to_retire_nothing_is_made() {
    let host = Host::new();
    host.list(TOKENS);
    let ran = host.tokend(&["retire"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("nothing to retire"), "{ran:?}");
    assert!(!host.path("store").exists());
}

#[test]
fn a_server_that_cannot_be_asked_keeps_everything_as_it_is() {
    let (host, _) = host();
    let before = live_ids(&host);
    let (digest, _) = show(&host, &[]);
    host.sandbox.fault(Fault::status(Method::GET, "/api/v0/tokens", 503));
    let ran = host.tokend(&["retire", &digest]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    host.sandbox.clear_faults();
    assert_eq!(live_ids(&host), before);
    assert!(!host.path("store/retired").exists());
    let ran = host.tokend(&["apply"]);
    assert!(ran.stdout.contains("ready"), "{ran:?}");
}
