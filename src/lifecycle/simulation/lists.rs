//! What a list may say, and how a person edits it.

use std::{collections::BTreeMap, time::Duration};

use super::tamper::Break;
use crate::model::{Allow, Database, Grants, Lifecycle, Name, Pickup, Probe, ServerKey, ServerName, Spec};

/// A server, by its name in the list, where it is, and its number.
type Named = (ServerName, ServerKey, usize);

pub(super) fn server_name(server: usize) -> ServerName {
    ServerName(format!("s{server}"))
}

const HOUR: u64 = 3600;

/// `[lifecycle]`.
pub(super) fn lifecycle(broken: Break) -> Lifecycle {
    let seconds = |choices: [u64; 4]| Duration::from_secs(fastrand::choice(choices).unwrap_or_default());
    let overlap = seconds([0, 30, 60, HOUR]);
    let cap =
        fastrand::bool().then(|| Duration::from_secs(20) + overlap.max(seconds([0, 30, 600, 2 * HOUR])));
    let grace = seconds([60, 600, HOUR, 24 * HOUR]);
    let (overlap, overlap_cap) = match broken {
        Break::EndsTooSoon => (Duration::from_secs(HOUR), Some(Duration::from_secs(2 * HOUR))),
        Break::SeesNoHolders => (Duration::from_secs(30), Some(Duration::from_secs(2 * HOUR))),
        _ => (overlap, cap),
    };
    Lifecycle { overlap, overlap_cap, grace, ..Lifecycle::default() }
}

/// Tokens `t0` and so on.
pub(super) fn specs(count: usize, servers: &[Named]) -> BTreeMap<Name, Spec> {
    (0..count)
        .map(|n| {
            let name: Name = format!("t{n}").parse().expect("a name");
            (name.clone(), spec(name, some(servers), grants(n), lifetime(), fastrand::bool()))
        })
        .collect()
}

/// The same each time: nothing expires, nothing is proven.
pub(super) fn plain(count: usize, server: &Named) -> BTreeMap<Name, Spec> {
    (0..count)
        .map(|n| {
            let name: Name = format!("t{n}").parse().expect("a name");
            (name.clone(), spec(name, server, grants(n), None, false))
        })
        .collect()
}

fn some(servers: &[Named]) -> &Named {
    fastrand::choice(servers).expect("a list names a server")
}

fn spec(name: Name, server: &Named, grants: Grants, lifetime: Option<Duration>, is_proven: bool) -> Spec {
    Spec {
        description: format!("token {name}"),
        name,
        server: server.0.clone(),
        key: server.1.clone(),
        grants,
        lifetime,
        allow: Allow::default().into(),
        pickup: if is_proven { Pickup::Proven } else { Pickup::Unknown },
        probe: Some(Probe::default().into()),
    }
}

pub(super) fn grants(n: usize) -> Grants {
    let database = |name: &str| -> Database { name.parse().expect("a database") };
    match n % 4 {
        0 => Grants::of([], [database("a")]),
        1 => Grants::of([database("a"), database("b")], [database("b")]),
        2 => Grants::of([Database::All], []),
        _ => Grants::of([database("c")], [database("c"), database("a")]),
    }
}

/// Long enough for a slow probe, an hour of overlap and some faults.
fn lifetime() -> Option<Duration> {
    fastrand::choice([None, Some(8), Some(12), Some(48)])
        .flatten()
        .map(|hours| Duration::from_secs(hours * HOUR))
}

/// A person edits the list.
pub(super) fn edit(specs: &mut BTreeMap<Name, Spec>, servers: &[Named]) {
    let some = fastrand::choice(specs.keys()).cloned();
    match (fastrand::u8(..10), some) {
        (0..=1, Some(name)) if specs.len() > 1 => _ = specs.remove(&name),
        (2, Some(_)) if specs.len() > 1 => {
            // A slip: all but one.
            let kept = specs.keys().next().cloned();
            specs.retain(|name, _| Some(name) == kept.as_ref());
        }
        (3..=6, Some(name)) => {
            let spec = specs.get_mut(&name).expect("it is there");
            spec.grants = grants(fastrand::usize(..4));
        }
        (7, Some(name)) => {
            let spec = specs.get_mut(&name).expect("it is there");
            (spec.lifetime, spec.pickup) = (lifetime(), spec.pickup);
        }
        _ => {
            let all = self::specs(super::NAMES, servers);
            for (name, spec) in all {
                specs.entry(name).or_insert(spec);
            }
        }
    }
}
