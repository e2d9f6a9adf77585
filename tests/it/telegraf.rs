//! A stock Telegraf, started from each of the shipped snippets, across changes of its tokens and faults of ours.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use hyper::Method;
use influx_sandbox::{Effect, Fault, influxctl::StandIn};
use rustix::process::Signal;

use crate::{
    agent::{Agent, Points, refused, snippet},
    host::{Host, wait_until},
    kind::Kind,
    peers::{find, missing},
    pickup::holders,
};

mod os;
mod rotations;

fn telegraf() -> Option<PathBuf> {
    find("telegraf", "TELEGRAF")
}

/// A host with these tokens, the overlap of which ends after this.
fn host(overlap_cap: &str, tokens: &[&str]) -> Host {
    host_on(&Kind::CLUSTERED, overlap_cap, tokens)
}

fn host_on(kind: &'static Kind, overlap_cap: &str, tokens: &[&str]) -> Host {
    let host = Host::on(kind);
    let lifecycle = format!("overlap = \"0s\"\noverlap_cap = \"{overlap_cap}\"\n");
    let tokens: Vec<String> = tokens
        .iter()
        .map(|name| {
            format!("[[token]]\nname = \"{name}\"\nread = [\"telemetry\"]\nwrite = [\"telemetry\"]\n")
        })
        .collect();
    host.list(&(lifecycle + &tokens.concat()));
    host
}

/// One Telegraf for each of: our file with its secret store, its output, its token.
fn start(host: &Host, telegraf: &Path, agents: &[(&str, &str, &str)]) -> Vec<Agent> {
    let start = |(file, output, token): &(&str, &str, &str)| {
        Agent::start(host, telegraf, token, &snippet(host, file, output, token))
    };
    agents.iter().map(start).collect()
}

fn id(host: &Host, name: &str) -> String {
    let newest = host.live(name).into_iter().max_by_key(|token| token.created_at);
    newest.map(|token| token.id).unwrap_or_else(|| panic!("{name} has no token"))
}

fn rotate(host: &Host, names: &[&str]) {
    let ran = host.tokend(&[&["rotate"], names].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn wait_for_one(host: &Host, name: &str) {
    wait_until("the old one has ended", || host.live(name).len() == 1, || format!("{:?}", host.live(name)));
}

/// Snippet, output, and the token it writes with.
const LIVE: [(&str, &str, &str); 6] = [
    ("vault.conf", "influxdb_v2", "vault_v2"),
    ("vault.conf", "influxdb", "vault_v1"),
    ("vault-approle.conf", "influxdb_v2", "approle_v2"),
    ("vault-approle.conf", "influxdb", "approle_v1"),
    ("docker.conf", "influxdb_v2", "docker_v2"),
    ("docker.conf", "influxdb", "docker_v1"),
];
const BY_RELOAD: [(&str, &str, &str); 4] = [
    ("vault.conf", "influxdb_v3", "vault_v3"),
    ("http.conf", "influxdb_v2", "http_v2"),
    ("http.conf", "influxdb", "http_v1"),
    ("http.conf", "influxdb_v3", "http_v3"),
];

#[test]
fn a_new_value_arrives_live_and_no_write_is_refused() {
    let Some(telegraf) = telegraf() else { return };
    let names: Vec<&str> = LIVE.iter().map(|(_, _, token)| *token).collect();
    let host = host("1s", &names);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let agents = start(&host, &telegraf, &LIVE);
    let mut ids: Vec<Vec<String>> = vec![names.iter().map(|name| id(&host, name)).collect()];
    for _ in 0..2 {
        let newest = ids.last().unwrap();
        agents.iter().zip(newest).for_each(|(agent, id)| agent.wait_for_points(&host, id, 3));
        rotate(&host, &names);
        ids.push(names.iter().map(|name| id(&host, name)).collect());
        names.iter().for_each(|name| wait_for_one(&host, name));
    }
    agents.iter().zip(ids.last().unwrap()).for_each(|(agent, id)| agent.wait_for_points(&host, id, 3));
    for (index, agent) in agents.into_iter().enumerate() {
        let points: Points = agent.stop_complete(&host);
        for ids in &ids {
            assert!(points.contains_key(&ids[index]), "{}: none with {}", names[index], ids[index]);
        }
    }
    assert_eq!(refused(&host), []);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn what_influxctl_has_minted_is_written_with_across_rotations() {
    let Some(telegraf) = telegraf() else { return };
    if StandIn::program().is_none() {
        return missing("influxctl");
    }
    let agents = [LIVE[0], LIVE[4]];
    let names = agents.map(|(_, _, token)| token);
    let host = host_on(&Kind::INFLUXCTL, "1s", &names);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let agents = start(&host, &telegraf, &agents);
    for _ in 0..2 {
        agents.iter().zip(names).for_each(|(agent, name)| agent.wait_for_points(&host, &id(&host, name), 3));
        rotate(&host, &names);
        names.iter().for_each(|name| wait_for_one(&host, name));
    }
    agents.iter().zip(names).for_each(|(agent, name)| agent.wait_for_points(&host, &id(&host, name), 3));
    for agent in agents {
        let points: Points = agent.stop_complete(&host);
        assert_eq!(points.len(), 3, "some with each token: {points:?}");
    }
    assert_eq!(refused(&host), []);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn where_it_takes_a_reload_one_within_the_overlap_loses_nothing() {
    let Some(telegraf) = telegraf() else { return };
    let names: Vec<&str> = BY_RELOAD.iter().map(|(_, _, token)| *token).collect();
    let host = host("4s", &names);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let agents = start(&host, &telegraf, &BY_RELOAD);
    let old: Vec<String> = names.iter().map(|name| id(&host, name)).collect();
    agents.iter().zip(&old).for_each(|(agent, id)| agent.wait_for_points(&host, id, 3));
    rotate(&host, &names);
    let new: Vec<String> = names.iter().map(|name| id(&host, name)).collect();
    // Not by itself: the old one goes on to be used.
    let seen: Vec<usize> = agents.iter().zip(&old).map(|(agent, id)| agent.points(&host)[id].len()).collect();
    agents
        .iter()
        .zip(&old)
        .zip(seen)
        .for_each(|((agent, id), seen)| agent.wait_for_points(&host, id, seen + 2));
    agents.iter().zip(&new).for_each(|(agent, id)| assert!(!agent.points(&host).contains_key(id)));
    agents.iter().for_each(Agent::reload);
    agents.iter().zip(&new).for_each(|(agent, id)| agent.wait_for_points(&host, id, 2));
    names.iter().for_each(|name| wait_for_one(&host, name));
    agents.iter().zip(&new).for_each(|(agent, id)| agent.wait_for_points(&host, id, 10));
    for agent in agents {
        agent.stop_complete(&host);
    }
    assert_eq!(refused(&host), []);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn whether_it_has_picked_up_the_new_value_is_known() {
    let Some(telegraf) = telegraf() else { return };
    for (by, is_live) in [(LIVE[0], true), (BY_RELOAD[1], false)] {
        let name = by.2;
        let host = host("1h", &[name]);
        let daemon = host.daemon();
        wait_until(name, || host.delivered(name).is_some(), || daemon.log());
        let agents = start(&host, &telegraf, &[by]);
        let (agent, old) = (&agents[0], id(&host, name));
        agent.wait_for_points(&host, &old, 3);
        rotate(&host, &[name]);
        if !is_live {
            agent.wait_for_points(&host, &old, agent.points(&host)[&old].len() + 3);
            let (known, _) = holders(&host);
            assert!(known.len() == 1 && known[0].ends_with("has generation 1"), "{name}: {known:?}");
            agent.reload();
        }
        agent.wait_for_points(&host, &id(&host, name), 3);
        assert_eq!(holders(&host), (vec![], Some(1)), "{name}");
        assert_eq!(daemon.stop().0, Some(0));
    }
}

/// That the tests above would see a refusal if there were one.
#[test]
fn without_an_overlap_writes_are_refused() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("1ms", &["http_v2"]);
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let mut agent =
        Agent::start(&host, &telegraf, "http_v2", &snippet(&host, "http.conf", "influxdb_v2", "http_v2"));
    let old = id(&host, "http_v2");
    agent.wait_for_points(&host, &old, 3);
    rotate(&host, &["http_v2"]);
    wait_for_one(&host, "http_v2");
    wait_until("refusals", || refused(&host).len() >= 2, || agent.log());
    assert!(refused(&host).iter().all(|refusal| refusal.status == 401));
    // What was refused is in memory, and a reload throws it away.
    agent.reload();
    let new = id(&host, "http_v2");
    agent.wait_for_points(&host, &new, 3);
    let points = agent.stop(&host);
    let first = points[&new].first().unwrap();
    assert!(
        !points[&old].contains(&(first - 1)),
        "a reload after the end loses what was refused: {points:?}"
    );
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn stops_restarts_and_kills_of_the_daemon_lose_no_point() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("1h", &["vault", "docker"]);
    host.apply();
    let mut daemon = host.daemon();
    daemon.wait_for("ready");
    let start = |file: &str, token: &str| {
        Agent::start(&host, &telegraf, token, &snippet(&host, file, "influxdb_v2", token))
    };
    let agents = [start("vault.conf", "vault"), start("docker.conf", "docker")];
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL] {
        let ids = ["vault", "docker"].map(|name| id(&host, name));
        let seen = |agent: &Agent, id: &str| agent.points(&host).get(id).map_or(0, |numbers| numbers.len());
        agents.iter().zip(&ids).for_each(|(agent, id)| agent.wait_for_points(&host, id, seen(agent, id) + 3));
        daemon.signal(signal);
        daemon.wait();
        // Nobody answers, and Telegraf says so.
        let errors = |agent: &Agent| agent.log().matches("connect: ").count();
        let before = errors(&agents[0]);
        wait_until("an error of Telegraf's", || errors(&agents[0]) > before, || agents[0].log());
        daemon = host.daemon();
        daemon.wait_for("ready");
    }
    let ids = ["vault", "docker"].map(|name| id(&host, name));
    let seen = |agent: &Agent, id: &str| agent.points(&host).get(id).map_or(0, |numbers| numbers.len());
    agents.iter().zip(&ids).for_each(|(agent, id)| agent.wait_for_points(&host, id, seen(agent, id) + 3));
    for agent in agents {
        agent.stop_complete(&host);
    }
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn with_influxdb_away_at_the_start_every_point_arrives_later() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("1h", &["vault"]);
    host.apply();
    let away = Effect::Status { status: 503, headers: vec![], body: String::new() };
    host.sandbox.fault(Fault::on(None, "/", away));
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let agent =
        Agent::start(&host, &telegraf, "vault", &snippet(&host, "vault.conf", "influxdb_v2", "vault"));
    agent.wait_for("503");
    daemon.wait_for("list tokens: 503");
    host.sandbox.clear_faults();
    agent.wait_for_points(&host, &id(&host, "vault"), 5);
    agent.stop_complete(&host);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_name_that_is_not_ready_is_an_error_to_telegraf_and_never_an_empty_secret() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("1h", &["ready"]);
    let text = std::fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &(text + "[[token]]\nname = \"pending\"\nwrite = [\"nope\"]\n"));
    let daemon = host.daemon();
    daemon.wait_for("promoted");
    daemon.wait_for("the server has no database \"nope\"");
    // At its start Telegraf ends; our log tells who asked for what, and why not.
    let start = |token: &str| {
        Agent::start(&host, &telegraf, token, &snippet(&host, "vault.conf", "influxdb_v2", token))
    };
    let mut agent = start("pending");
    assert_eq!(agent.end().code(), Some(1), "{}", agent.log());
    assert!(agent.log().contains("value type assertion failed: bool"), "{}", agent.log());
    daemon.wait_for("and not ready: the server has no database \"nope\"");
    // One that becomes so while Telegraf runs: an error for each flush, and its points are kept.
    let agent = start("ready");
    let old = id(&host, "ready");
    agent.wait_for_points(&host, &old, 3);
    let failing = Effect::Status { status: 500, headers: vec![], body: String::new() };
    host.sandbox.fault(Fault::on(Some(Method::POST), "/api/v0/tokens", failing));
    host.sandbox.shift_clock(jiff::SignedDuration::from_mins(11));
    host.sandbox.revoke(&old);
    host.tokend(&["apply"]);
    daemon.wait_for("token is gone");
    agent.wait_for("value type assertion failed: bool");
    wait_until(
        "our log tells",
        || daemon.log().lines().any(|line| line.contains("and not ready") && line.contains("name=ready")),
        || daemon.log(),
    );
    let empty = host.sandbox.requests().into_iter().any(|request| {
        request.headers.iter().any(|(name, value)| name == "authorization" && value.trim_end() == "Token")
    });
    assert!(!empty, "an empty token was sent");
    host.sandbox.clear_faults();
    rotate(&host, &["ready"]);
    agent.wait_for_points(&host, &id(&host, "ready"), 5);
    agent.stop_complete(&host);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn an_imported_token_is_written_with_and_stays_whosever_it_is() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("1s", &[]);
    let made = host.sandbox.add_token("made by hand", &[("read", "telemetry"), ("write", "telemetry")]);
    let by_hand = || host.sandbox.tokens().into_iter().find(|token| token.id == made).unwrap();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    // Before it is listed, so that nothing is minted meanwhile.
    let mut import = host
        .command(&["import", "edge"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    write!(import.stdin.take().unwrap(), "{made} {}", by_hand().secret).unwrap();
    let output = import.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(host.path("tokens.toml")).unwrap();
    let token = "[[token]]\nname = \"edge\"\nread = [\"telemetry\"]\nwrite = [\"telemetry\"]\n";
    host.write("tokens.toml", &(text + token));
    daemon.wait_for("promoted");
    let agent = Agent::start(&host, &telegraf, "edge", &snippet(&host, "vault.conf", "influxdb_v2", "edge"));
    agent.wait_for_points(&host, &made, 3);
    assert_eq!(host.sandbox.tokens().len(), 1, "nothing was minted");
    for _ in 0..2 {
        rotate(&host, &["edge"]);
        wait_for_one(&host, "edge");
    }
    agent.wait_for_points(&host, &id(&host, "edge"), 3);
    agent.stop_complete(&host);
    assert_eq!(refused(&host), []);
    assert!(by_hand().revoked_at.is_none(), "others may use it");
    let touched = host
        .sandbox
        .requests()
        .into_iter()
        .any(|request| request.path.ends_with(&made) && !matches!(request.method.as_str(), "GET"));
    assert!(!touched, "it was changed or ended");
    assert_eq!(daemon.stop().0, Some(0));
}
