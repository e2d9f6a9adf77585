//! What Cloud Dedicated has that no other kind of server has.

use std::fs;

use hyper::Method;
use influx_sandbox::{Dedicated, Effect, ExpirationType, Fault, Options, influxctl::StandIn};
use serde_json::Value;

use crate::{
    host::{Host, ran},
    kind::Kind,
    peers::missing,
};

const LASTING: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\nlifetime = \"30d\"\n\
    [[token]]\nname = \"t1\"\nread = [\"a\"]\n";

/// On a cluster that does not know `expirationType`.
fn without_expiration_type() -> Host {
    let unknown = Dedicated { expiration_type: ExpirationType::Unknown, ..Dedicated::default() };
    let host = Host::on_with(&Kind::DEDICATED, |options: &mut Options| options.dedicated = Some(unknown));
    host.list(LASTING);
    host
}

/// Body and status of each mint.
fn mints(host: &Host) -> Vec<(Value, Option<u16>)> {
    let tokens = host.api("/tokens");
    let requests = host.sandbox.requests().into_iter();
    requests
        .filter(|request| request.method == "POST" && request.path == tokens)
        .map(|request| (serde_json::from_str(&request.body).unwrap(), request.status))
        .collect()
}

#[test]
fn tokens_are_managed_at_one_host_and_tried_at_another() {
    let host = Host::on(&Kind::DEDICATED);
    host.list_of(1);
    host.apply();
    let (console, data) = (host.sandbox.address().to_string(), host.sandbox.data_address().to_string());
    assert_ne!(console, data);
    let mut probes = 0;
    for request in host.sandbox.requests() {
        let (_, asked) = request.headers.iter().find(|(name, _)| name == "host").unwrap();
        let is_managed = request.path.starts_with("/api/v0/");
        probes += usize::from(!is_managed);
        assert_eq!(*asked, if is_managed { &*console } else { &*data }, "{request:?}");
    }
    assert!(probes >= 3, "{probes} probes");
}

#[test]
fn which_cluster_it_is_a_persons_influxctl_may_tell() {
    if StandIn::program().is_none() {
        return missing("influxctl");
    }
    let host = Host::on(&Kind::DEDICATED);
    let stand_in = StandIn::new(host.path("bin"), "2.12.0").unwrap();
    stand_in.set_console(&host.sandbox.address().to_string());
    let Dedicated { account, cluster, .. } = Dedicated::default();
    let login = format!(
        "[[profile]]\nname = \"default\"\nproduct = \"dedicated\"\naccount_id = \"{account}\"\ncluster_id = \"{cluster}\"\n\
         mgmt_token = \"{}\"\n[profile.tls]\ndisable = true\n",
        host.sandbox.management_token()
    );
    fs::create_dir_all(host.path(".config/influxctl")).unwrap();
    host.write(".config/influxctl/config.toml", &login);
    host.list_of(1);
    let whole = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let ids = format!("account = \"{account}\"\ncluster = \"{cluster}\"\n");
    let without = whole.replace(&ids, "cluster = \"my-cluster\"\n");
    assert_ne!(without, whole);
    host.write("tokens.toml", &without);
    let check = |options: &[&str], path: &str| {
        let mut command = host.command(&["check"]);
        ran(command.args(options).env("HOME", host.folder.path()).env("PATH", path).output().unwrap())
    };
    let bin = host.path("bin").display().to_string();
    let told = check(&[], &bin);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(
        told.stderr.contains("needs \"account\"") && told.stderr.contains("found \"my-cluster\""),
        "{told:?}"
    );
    assert!(told.stdout.starts_with("influxctl knows 1 cluster\n\n# sandbox, "), "{told:?}");
    assert!(told.stdout.ends_with(&format!("\n{ids}\n")), "{told:?}");
    let told = check(&["--output", "json"], &bin);
    let known: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        (&known["clusters"][0]["account"], &known["clusters"][0]["cluster"]),
        (&account.into(), &cluster.into())
    );
    // Where there is none, or nobody is logged in, the faults are told all the same.
    assert_eq!(check(&[], "/nonexistent").stdout, "");
    host.sandbox.set_management_token("another");
    let told = check(&[], &bin);
    assert!(told.stdout.starts_with("note: which clusters there are: 401: "), "{told:?}");
    assert!(told.stderr.contains("needs \"account\""), "{told:?}");
    // What is whole needs nobody's help, nor is anybody asked about the list alone.
    let calls = stand_in.calls().len();
    assert_eq!(check(&["--list-only"], &bin).stdout, "");
    host.write("tokens.toml", &whole);
    assert_eq!(check(&["--list-only"], &bin).code, Some(0));
    assert_eq!(stand_in.calls().len(), calls);
}

#[test]
fn a_server_that_does_not_know_the_kind_of_expiry_is_asked_without() {
    let host = without_expiration_type();
    host.apply();
    host.assert_settled("t0");
    host.assert_settled("t1");
    assert!(host.live("t0")[0].expires_at.is_some() && host.live("t1")[0].expires_at.is_none());
    assert_eq!(host.sandbox.tokens().len(), 2, "what was refused has minted nothing");
    let mints = mints(&host);
    let minted: Vec<_> = mints.iter().filter(|(_, status)| *status == Some(200)).collect();
    assert_eq!(minted.len(), 2, "{mints:#?}");
    assert!(minted.iter().all(|(body, _)| body.get("expirationType").is_none()), "{mints:#?}");
    // Both may have been asked for at once; from then on it is known.
    host.sandbox.clear_requests();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    for number in [1, 2] {
        assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
        assert_eq!(self::mints(&host).len(), number + 1, "refused once in a process's life");
    }
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_second_form_that_is_cut_off_is_an_unknown_mint_and_leaves_no_stray_behind() {
    for effect in [Effect::CutBefore, Effect::CutAfter, Effect::HalfBody] {
        let host = without_expiration_type();
        host.list_of(1);
        let second = Fault::on(Some(Method::POST), &host.api("/tokens"), effect.clone()).after(1);
        host.sandbox.fault(second.times(1));
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(1), "{effect:?}: {ran:?}");
        assert!(ran.stderr.contains("mint token: the answer was cut off"), "{effect:?}: {ran:?}");
        assert_eq!(host.mints(), 2, "{effect:?}: never repeated");
        host.apply();
        host.assert_settled("t0");
    }
}

/// The second has what is left of the time of the first: an intent's deadline holds for both.
#[test]
fn both_forms_together_take_no_longer_than_one_request() {
    let host = without_expiration_type();
    host.list_of(1);
    let slow = |effect| Fault::on(Some(Method::POST), &host.api("/tokens"), effect);
    host.sandbox.fault(slow(Effect::Delay(std::time::Duration::from_millis(600))).times(1));
    host.sandbox.fault(slow(Effect::Silence).after(1).times(1));
    let begun = std::time::Instant::now();
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("mint token: timed out after 1 s"), "{ran:?}");
    assert!(begun.elapsed() < std::time::Duration::from_millis(1600), "{:?}", begun.elapsed());
    host.apply();
    host.assert_settled("t0");
}

#[test]
fn another_cluster_is_another_server() {
    let host = Host::on(&Kind::DEDICATED);
    host.list_of(1);
    host.apply();
    let before = host.delivered("t0");
    let list = std::fs::read_to_string(host.path("tokens.toml")).unwrap();
    let own = Dedicated::default().cluster;
    host.write("tokens.toml", &list.replace(&own, "99999999-9999-4999-8999-999999999999"));
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("list tokens: 404"), "{ran:?}");
    assert!(ran.stderr.contains("`influxctl cluster list --format json`"), "{ran:?}");
    assert_eq!((host.sandbox.live().len(), host.delivered("t0")), (1, before));
    let status = host.tokend(&["status"]);
    assert!(
        status.stdout.contains(&format!("(cluster {}/{own})", Dedicated::default().account)),
        "{status:?}"
    );
    host.write("tokens.toml", &list);
    host.apply();
    host.assert_settled("t0");
}
