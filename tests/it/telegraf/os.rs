//! By the kernel's keyring: Telegraf and the relay are one user, and neither needs anything else of the other.

use rustix::process::Signal;

use super::{Agent, Points, id, refused, rotate, snippet, telegraf, wait_for_one, wait_until};
use crate::{
    host::{Host, ran},
    kernel_keyring::relay,
    rings::{OWN, Owner, RING},
};

/// A host with tokens that this user may read.
fn host(owner: &Owner, overlap_cap: &str, names: &[&str]) -> Host {
    let host = Host::new();
    let token = |name: &&str| {
        let allow = format!("allow = {{ users = [\"{}\"] }}", owner.uid);
        format!("[[token]]\nname = \"{name}\"\nread = [\"telemetry\"]\nwrite = [\"telemetry\"]\n{allow}\n")
    };
    let tokens: String = names.iter().map(token).collect();
    host.list(&format!("overlap = \"0s\"\noverlap_cap = \"{overlap_cap}\"\n{tokens}"));
    host
}

#[test]
fn a_new_value_arrives_live_in_the_kernels_keyring_and_no_write_is_refused() {
    let Some(telegraf) = telegraf() else { return };
    let Some(owner) = Owner::new() else { return };
    let outputs = [("os_v2", "influxdb_v2"), ("os_v1", "influxdb"), ("os_v3", "influxdb_v3")];
    let names = outputs.map(|(name, _)| name);
    let host = host(&owner, "4s", &names);
    let daemon = host.daemon();
    let relay = relay(&host, &owner, &[]);
    wait_until("the keyring", || owner.names_in(RING).len() == 3, || relay.log() + &daemon.log());
    let ring = owner.ring(RING);
    let agents = outputs.map(|(name, output)| {
        Agent::start_as(&host, &owner, &telegraf, name, &snippet(&host, "os.conf", output, name))
    });
    let mut ids: Vec<[String; 3]> = vec![names.map(|name| id(&host, name))];
    for _ in 0..2 {
        let newest = ids.last().unwrap();
        agents.iter().zip(newest).for_each(|(agent, id)| agent.wait_for_points(&host, id, 3));
        rotate(&host, &names);
        let new = names.map(|name| id(&host, name));
        // Two by themselves, and the one that reads its token once at a reload, in time.
        agents.iter().zip(&new).take(2).for_each(|(agent, id)| agent.wait_for_points(&host, id, 1));
        assert!(!agents[2].points(&host).contains_key(&new[2]));
        agents[2].reload();
        ids.push(new);
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
    assert_eq!(owner.ring(RING), ring);
    assert_eq!(relay.stop().0, Some(0));
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn telegraf_reads_on_while_daemon_and_relay_are_away() {
    let Some(telegraf) = telegraf() else { return };
    let Some(owner) = Owner::new() else { return };
    let host = host(&owner, "1h", &["os"]);
    let mut daemon = host.daemon();
    let mut follows = relay(&host, &owner, &[]);
    wait_until("the keyring", || owner.value("os").is_some(), || follows.log() + &daemon.log());
    let agent =
        Agent::start_as(&host, &owner, &telegraf, "os", &snippet(&host, "os.conf", "influxdb_v2", "os"));
    for signal in [Signal::TERM, Signal::KILL] {
        let old = id(&host, "os");
        let seen = |id: &str| agent.points(&host).get(id).map_or(0, |numbers| numbers.len());
        follows.signal(signal);
        follows.wait();
        daemon.signal(signal);
        daemon.wait();
        // With nobody there.
        agent.wait_for_points(&host, &old, seen(&old) + 5);
        daemon = host.daemon();
        daemon.wait_for("ready");
        rotate(&host, &["os"]);
        // It does not know, and the old token works.
        agent.wait_for_points(&host, &old, seen(&old) + 3);
        follows = relay(&host, &owner, &[]);
        agent.wait_for_points(&host, &id(&host, "os"), 3);
    }
    agent.stop_complete(&host);
    assert_eq!(refused(&host), []);
    assert_eq!(follows.stop().0, Some(0));
    assert_eq!(daemon.stop().0, Some(0));
}

/// What a person looks with, and what is set by hand.
#[test]
fn telegrafs_own_commands_see_the_token_and_set_others_beside_it() {
    let Some(telegraf) = telegraf() else { return };
    let Some(owner) = Owner::new() else { return };
    let host = host(&owner, "1h", &["os"]);
    let daemon = host.daemon();
    let follows = relay(&host, &owner, &["--recheck", "200ms"]);
    wait_until("the keyring", || owner.value("os").is_some(), || follows.log() + &daemon.log());
    host.write("os.conf", &snippet(&host, "os.conf", "influxdb_v2", "os"));
    let secrets = |arguments: &[&str]| {
        let mut command = owner.command(&Agent::copied(&host, &telegraf));
        command.arg("--config").arg(host.path("os.conf")).arg("secrets").args(arguments);
        let ran = ran(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    let secret = host.live("os")[0].secret.clone();
    assert!(secrets(&["list", "influx"]).contains("os"));
    assert!(secrets(&["get", "influx", "os"]).contains(&secret));
    secrets(&["set", "influx", "by_hand", "CANARY by hand"]);
    // One that is the list's comes back, in place of what was set by hand.
    secrets(&["set", "influx", "os", "CANARY os"]);
    wait_until("the list's", || owner.value("os").as_deref() == Some(secret.as_str()), || follows.log());
    assert!(secrets(&["get", "influx", "by_hand"]).contains("CANARY by hand"));
    assert_eq!(owner.names_in(OWN), ["os"]);
    let (code, log) = follows.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("in place of a key that somebody else had put there"), "{log}");
    assert_eq!(daemon.stop().0, Some(0));
}
