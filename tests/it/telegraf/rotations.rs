//! A stock Telegraf whose token is rotated again and again, by a server that takes its time to learn of each new one.

use std::{env, fs, path::Path, time::Duration};

use influx_sandbox::{Activation, Effect, Fault, Token};
use jiff::SignedDuration;

use super::{host, id, rotate, start, telegraf, wait_for_one};
use crate::{
    agent::{Agent, refused},
    host::{Daemon, Host, wait_until},
};

/// Until every replica of every plane knows a new token.
const ACTIVATION: Duration = Duration::from_secs(2);

/// Snippet, output, and the token it writes with.
const AGENTS: [(&str, &str, &str); 4] = [
    ("vault.conf", "influxdb_v2", "vault_v2"),
    ("vault.conf", "influxdb", "vault_v1"),
    ("docker.conf", "influxdb_v2", "docker_v2"),
    ("docker.conf", "influxdb", "docker_v1"),
];
const NAMES: [&str; 4] = [AGENTS[0].2, AGENTS[1].2, AGENTS[2].2, AGENTS[3].2];

/// Telegraf at work, and the ids that the tokens have had, oldest first.
struct Run {
    agents: Vec<Agent>,
    ids: Vec<Vec<String>>,
    daemon: Daemon,
    host: Host,
}

impl Run {
    /// New tokens take their time from now on; the first ones work.
    fn start(telegraf: &Path, host: Host) -> Self {
        host.apply();
        host.sandbox.set_activation(Activation::all(ACTIVATION));
        let daemon = host.daemon();
        daemon.wait_for("ready");
        let agents = start(&host, telegraf, &AGENTS);
        let mut run = Self { agents, ids: vec![], daemon, host };
        run.note_ids();
        run.wait_for_points(3);
        run
    }

    fn note_ids(&mut self) {
        self.ids.push(NAMES.iter().map(|name| id(&self.host, name)).collect());
    }

    /// From each, with the newest token.
    fn wait_for_points(&self, count: usize) {
        let newest = self.ids.last().unwrap();
        self.agents.iter().zip(newest).for_each(|(agent, id)| agent.wait_for_points(&self.host, id, count));
    }

    fn rotate(&mut self) {
        rotate(&self.host, &NAMES);
        self.note_ids();
    }

    fn wait_for_ends(&self) {
        NAMES.iter().for_each(|name| wait_for_one(&self.host, name));
    }

    /// A write of Telegraf's is on its way for this long; the daemon's probes are not.
    fn slow_down(&self, way: Duration) {
        self.host.sandbox.fault(Fault::on(None, "/", Effect::Delay(way)).of("Telegraf/"));
    }

    fn token(&self, id: &str) -> Token {
        self.host.sandbox.tokens().into_iter().find(|token| token.id == id).unwrap()
    }

    /// Every former token has ended, and not before its successor worked everywhere and the overlap was over.
    fn assert_ended(&self, overlap: Duration) {
        let least = SignedDuration::try_from(ACTIVATION + overlap).unwrap();
        for generations in self.ids.windows(2) {
            for (former, successor) in generations[0].iter().zip(&generations[1]) {
                let (former, successor) = (self.token(former), self.token(successor));
                let ended = former.revoked_at.unwrap_or_else(|| panic!("{former:?} has not ended"));
                let after = ended.duration_since(successor.created_at);
                assert!(after >= least, "{former:?} ended {after:#} after {successor:?} was minted");
            }
        }
    }

    /// Ends it. Every point has arrived, some with each token.
    fn stop_complete(self) {
        self.host.sandbox.clear_faults();
        for (index, agent) in self.agents.into_iter().enumerate() {
            let (name, took) = (NAMES[index], agent.age());
            let points = agent.stop_complete(&self.host);
            let with = |ids: &Vec<String>| points.get(&ids[index]).map_or(0, |numbers| numbers.len());
            let least = self.ids.iter().map(with).min().unwrap();
            let all: usize = points.values().map(|numbers| numbers.len()).sum();
            println!(
                "{name}: {} tokens, {all} points in {took:.1?}, at least {least} with each",
                points.len()
            );
            assert!(least > 0, "{name}: there is a token that nothing was written with: {points:?}");
            assert_eq!(points.len(), self.ids.len(), "{name}");
        }
        assert_eq!(self.daemon.stop().0, Some(0));
    }
}

#[test]
fn however_often_a_token_is_rotated_no_write_is_refused_and_no_point_lost() {
    let Some(telegraf) = telegraf() else { return };
    let rotations = env::var("INFLUX_TOKEND_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut run = Run::start(&telegraf, host("2s", &NAMES));
    for _ in 0..rotations {
        run.rotate();
        run.wait_for_ends();
        run.wait_for_points(3);
    }
    run.assert_ended(Duration::from_secs(2));
    assert_eq!(refused(&run.host), []);
    println!("{rotations} rotations of each, none refused");
    run.stop_complete();
}

/// Telegraf reads the token before each write, and the daemon ends one without an overlap no sooner than a second after
/// its successor was delivered: it takes a write that is longer under way to come too late.
const SLOW: Duration = Duration::from_millis(2500);

#[test]
fn a_write_that_is_under_way_at_a_rotation_is_not_refused() {
    let Some(telegraf) = telegraf() else { return };
    let mut run = Run::start(&telegraf, host("4s", &NAMES));
    run.slow_down(SLOW);
    for _ in 0..2 {
        run.rotate();
        run.wait_for_ends();
        run.wait_for_points(1);
    }
    run.assert_ended(Duration::from_secs(4));
    assert_eq!(refused(&run.host), []);
    run.stop_complete();
}

/// That the tests above would see a refusal: nothing but the overlap is missing here.
#[test]
fn without_an_overlap_a_write_that_is_under_way_is_refused() {
    let Some(telegraf) = telegraf() else { return };
    let mut run = Run::start(&telegraf, host("1ms", &NAMES));
    run.slow_down(SLOW);
    // Both the new token's delivery and the old one's end must fall into one write's way: mostly they do.
    let mut refusals = vec![];
    for _ in 0..10 {
        run.rotate();
        run.wait_for_ends();
        // A write that is still under way comes before these.
        run.wait_for_points(1);
        refusals = refused(&run.host);
        if !refusals.is_empty() {
            break;
        }
    }
    println!("without an overlap, rotations: {}, writes refused: {}", run.ids.len() - 1, refusals.len());
    assert!(!refusals.is_empty(), "none was refused\n{}", run.daemon.log());
    let former: Vec<&String> = run.ids[..run.ids.len() - 1].iter().flatten().collect();
    for refusal in &refusals {
        assert_eq!(refusal.status, 401, "{refusal:?}");
        assert!(refusal.token.as_ref().is_some_and(|id| former.contains(&id)), "{refusal:?}");
    }
}

/// Nor does the overlap do it alone: what is delivered before every replica knows it is refused.
#[test]
fn a_token_that_is_not_probed_is_refused_at_first() {
    let Some(telegraf) = telegraf() else { return };
    let host = host("2s", &NAMES);
    let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
    host.write("tokens.toml", &list.replace("probe = { interval = \"20ms\" }", "probe = false"));
    let mut run = Run::start(&telegraf, host);
    run.rotate();
    let newest = run.ids.last().unwrap();
    let is_refused =
        |id: &String| refused(&run.host).iter().any(|refusal| refusal.token.as_ref() == Some(id));
    wait_until(
        "refusals of each",
        || newest.iter().all(is_refused),
        || run.agents.iter().map(Agent::log).collect(),
    );
    run.wait_for_points(3);
    let refusals = refused(&run.host);
    println!("one rotation without a probe, {} writes refused", refusals.len());
    for refusal in refusals {
        assert_eq!(refusal.status, 401, "{refusal:?}");
        assert!(refusal.token.as_ref().is_some_and(|id| newest.contains(id)), "{refusal:?}");
    }
}
