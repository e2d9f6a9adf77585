//! What each version of Telegraf does with a changed value: the table that the snippets, README and `status` rest on.
//!
//! `INFLUX_TOKEND_TELEGRAFS=/path/to/one:/path/to/another cargo test --test it telegraf_versions -- --nocapture` repeats it
//! with those versions; without the variable, with the one that is found.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, snippet},
    host::{Host, wait_until},
    kernel_keyring::relay,
    peers::find,
    rings::{Owner, RING},
};

/// As `telegraf --version` says it.
type Version = (u32, u32, u32);

/// What is seen of a store and an output across a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It ends at its start.
    EndsAtStart,
    /// It follows by itself; and then ends, or goes on, at a reload.
    Live(AtReload),
    /// It follows at a reload only.
    ByReload,
    /// It does not follow, and ends at a reload.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtReload {
    GoesOn,
    Ends,
}

/// A file of `telegraf/`, changed as `adapt` does; an output; and what is to be seen.
struct Cell {
    name: &'static str,
    file: &'static str,
    output: &'static str,
    adapt: fn(String) -> String,
    expected: fn(Version) -> Seen,
}

fn as_it_is(snippet: String) -> String {
    snippet
}

fn static_files(snippet: String) -> String {
    snippet.replace("dynamic = true", "dynamic = false")
}

/// telegraf#18839, fixed in 1.38.4.
fn reload(version: Version) -> AtReload {
    if version >= (1, 38, 4) { AtReload::GoesOn } else { AtReload::Ends }
}

const CELLS: [Cell; 8] = [
    Cell {
        name: "docker_v1",
        file: "docker.conf",
        output: "influxdb",
        adapt: as_it_is,
        expected: |version| Seen::Live(reload(version)),
    },
    Cell {
        name: "docker_v2",
        file: "docker.conf",
        output: "influxdb_v2",
        adapt: as_it_is,
        // telegraf#16628
        expected: |version| if version >= (1, 34, 1) { Seen::Live(reload(version)) } else { Seen::Never },
    },
    Cell {
        name: "static_v2",
        file: "docker.conf",
        output: "influxdb_v2",
        adapt: static_files,
        expected: |_| Seen::ByReload,
    },
    Cell {
        name: "http_v2",
        file: "http.conf",
        output: "influxdb_v2",
        adapt: as_it_is,
        expected: |_| Seen::ByReload,
    },
    Cell {
        name: "approle_v2",
        file: "vault-approle.conf",
        output: "influxdb_v2",
        adapt: as_it_is,
        expected: |version| {
            if version >= (1, 37, 0) { Seen::Live(reload(version)) } else { Seen::EndsAtStart }
        },
    },
    Cell {
        name: "token_v2",
        file: "vault.conf",
        output: "influxdb_v2",
        adapt: as_it_is,
        expected: |version| {
            if version >= (1, 39, 0) { Seen::Live(reload(version)) } else { Seen::EndsAtStart }
        },
    },
    Cell {
        name: "os_v1",
        file: KEYRING,
        output: "influxdb",
        adapt: as_it_is,
        expected: |version| Seen::Live(reload(version)),
    },
    Cell {
        name: "os_v2",
        file: KEYRING,
        output: "influxdb_v2",
        adapt: as_it_is,
        expected: |version| if version >= (1, 34, 1) { Seen::Live(reload(version)) } else { Seen::Never },
    },
];

/// What reads the keyring of its user, which is no other test's.
const KEYRING: &str = "os.conf";

#[test]
fn each_version_does_what_the_snippets_say() {
    let telegrafs: Vec<PathBuf> = match env::var_os("INFLUX_TOKEND_TELEGRAFS") {
        Some(paths) => env::split_paths(&paths).collect(),
        None => find("telegraf", "TELEGRAF").into_iter().collect(),
    };
    let mut wrong = vec![];
    for telegraf in telegrafs {
        let version = version(&telegraf);
        let (major, minor, patch) = version;
        let owner = Owner::new();
        let cells: Vec<&Cell> = CELLS.iter().filter(|cell| owner.is_some() || cell.file != KEYRING).collect();
        for (cell, seen) in cells.iter().zip(look(&telegraf, &cells, owner.as_ref())) {
            let expected = (cell.expected)(version);
            let verdict = if seen == expected { "" } else { "   DIFFERS" };
            println!("{major}.{minor}.{patch} {:<11} {seen:?}{verdict}", cell.name);
            if seen != expected {
                wrong.push(format!("{major}.{minor}.{patch} {}: {seen:?}, not {expected:?}", cell.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn version(telegraf: &Path) -> Version {
    let output = Command::new(telegraf).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let number = said.split_whitespace().nth(1).unwrap();
    let parts: Vec<u32> = number.split(['.', '-']).take(3).map(|part| part.parse().unwrap()).collect();
    (parts[0], parts[1], parts[2])
}

/// All cells at once, each with a token of its own, across one rotation in which old and new token both work.
fn look(telegraf: &Path, cells: &[&Cell], owner: Option<&Owner>) -> Vec<Seen> {
    let host = Host::new();
    let allow = owner.map(|owner| format!("allow = {{ users = [\"{}\"] }}\n", owner.uid)).unwrap_or_default();
    let tokens: String = cells
        .iter()
        .map(|cell| {
            let name = cell.name;
            format!("[[token]]\nname = \"{name}\"\nread = [\"telemetry\"]\nwrite = [\"telemetry\"]\n{allow}")
        })
        .collect();
    host.list(&format!("overlap = \"0s\"\noverlap_cap = \"1h\"\n{tokens}"));
    host.apply();
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let relay = owner.map(|owner| relay(&host, owner, &[]));
    if let (Some(owner), Some(relay)) = (owner, &relay) {
        wait_until("the keyring", || owner.names_in(RING).len() == cells.len(), || relay.log());
    }
    let mut agents: Vec<Agent> = cells
        .iter()
        .map(|cell| {
            let text = (cell.adapt)(snippet(&host, cell.file, cell.output, cell.name));
            match owner {
                Some(owner) if cell.file == KEYRING => {
                    Agent::start_as(&host, owner, telegraf, cell.name, &text)
                }
                _ => Agent::start(&host, telegraf, cell.name, &text),
            }
        })
        .collect();
    let live = |name: &str| {
        let mut live = host.live(name);
        live.sort_by_key(|token| token.created_at);
        live.pop().unwrap().id
    };
    let old: Vec<String> = cells.iter().map(|cell| live(cell.name)).collect();
    let writes = |agent: &mut Agent, id: &str, count: usize| -> bool {
        let begun = Instant::now();
        while agent.ended().is_none() && begun.elapsed() < Duration::from_secs(3) {
            if agent.points(&host).get(id).is_some_and(|numbers| numbers.len() >= count) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    };
    let started: Vec<bool> = agents.iter_mut().zip(&old).map(|(agent, id)| writes(agent, id, 2)).collect();
    let names: Vec<&str> = cells.iter().map(|cell| cell.name).collect();
    let ran = host.tokend(&[&["rotate"], &names[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let new: Vec<String> = names.iter().map(|name| live(name)).collect();
    let seen = |agent: &mut Agent, started: bool, id: &str| {
        if !started {
            assert!(agent.ended().is_some(), "it neither writes nor ends\n{}", agent.log());
            return Seen::EndsAtStart;
        }
        let follows = writes(agent, id, 1);
        agent.reload();
        let before = agent.points(&host).get(id).map_or(0, |numbers| numbers.len());
        let goes_on = writes(agent, id, before + 2);
        assert!(goes_on || agent.ended().is_some(), "it neither writes nor ends\n{}", agent.log());
        match (follows, goes_on) {
            (true, true) => Seen::Live(AtReload::GoesOn),
            (true, false) => Seen::Live(AtReload::Ends),
            (false, true) => Seen::ByReload,
            (false, false) => Seen::Never,
        }
    };
    let all = agents.iter_mut().zip(started).zip(&new).map(|((agent, started), id)| seen(agent, started, id));
    let all = all.collect();
    assert_eq!(daemon.stop().0, Some(0));
    all
}
