//! What list and store say of each name, for people and programs. Pure; holds no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{overlap_until, rotation_due};
use crate::model::{
    Held, Known, Lifecycle, Name, Origin, Record, RetiringState, ServerName, Spec, Time, TokenId, after,
    since,
};

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which.
    pub name: Name,
    /// In one word.
    pub state: State,
    /// The server, by its name in the list, or its address where the list does not name it.
    pub server: Option<String>,
    /// The server's id of the current token, or of the one to come.
    pub id: Option<String>,
    /// What the list asks for, or what the token has where it left the list.
    pub grants: String,
    /// How many values the name has had.
    pub generation: u64,
    /// When the token was created.
    pub created_at: Option<Time>,
    /// Seconds since then.
    pub age: Option<u64>,
    /// When the token expires by itself.
    pub expires_at: Option<Time>,
    /// When it is replaced by schedule.
    pub rotates_at: Option<Time>,
    /// What the name waits for.
    pub waits: Option<String>,
    /// Former tokens that still work.
    pub retiring: Vec<Former>,
}

/// A former token of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The server's id for it.
    pub id: TokenId,
    /// Since when it is not current.
    pub since: Time,
    /// When it is revoked or expires; `None` where a person has to revoke it.
    pub until: Option<Time>,
}

impl Former {
    fn in_words(&self) -> String {
        match self.until {
            Some(until) => format!("the overlap of the former {}, until {until:.0}", self.id),
            None => format!("you to revoke the former {}", self.id),
        }
    }
}

/// What consumers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A token.
    Ready,
    /// A token that has expired, as none could be had in its place yet.
    Expired,
    /// None yet: one is minted and not accepted everywhere.
    Probing,
    /// None yet: none is minted.
    Missing,
    /// None yet: one was imported, and the list does not name it.
    Imported,
    /// A token, although the list does not ask for it any more.
    Removed,
    /// What they have had so far: the record cannot be read.
    Unreadable,
}

impl State {
    /// As a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Expired => "expired",
            Self::Probing => "probing",
            Self::Imported => "imported",
            Self::Missing => "missing",
            Self::Removed => "removed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Of how many names of the list and the store consumers get a token, and how many there are.
#[must_use]
pub fn ready(specs: &BTreeMap<Name, Spec>, records: &BTreeMap<Name, Known>) -> (usize, usize) {
    let has_token = |known: &&Known| known.record().is_some_and(|record| record.current.is_some());
    let ready = records.values().filter(has_token).count();
    // Both are sorted: step through them together, as this runs on every change.
    let mut recorded = records.keys().peekable();
    let is_recorded = |name: &&Name| {
        while recorded.next_if(|known| known < name).is_some() {}
        recorded.peek() == Some(name)
    };
    let both = specs.keys().filter(is_recorded).count();
    (ready, records.len() + specs.len() - both)
}

/// What time it is: tokens are judged by their server's clock, where that is known, and else by this host's.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// This host's.
    pub local: Time,
    /// The servers'.
    pub servers: BTreeMap<ServerName, Time>,
}

impl Clocks {
    /// No server's is known.
    #[must_use]
    pub fn local(local: Time) -> Self {
        Self { local, servers: BTreeMap::new() }
    }

    fn of(&self, spec: Option<&Spec>) -> Time {
        spec.and_then(|spec| self.servers.get(&spec.server)).copied().unwrap_or(self.local)
    }
}

/// Every name of the list and the store, sorted.
#[must_use]
pub fn statuses(
    specs: &BTreeMap<Name, Spec>,
    records: &BTreeMap<Name, Known>,
    lifecycle: &Lifecycle,
    clocks: &Clocks,
) -> Vec<Status> {
    let mut names: Vec<&Name> = specs.keys().chain(records.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &Name| {
        let spec = specs.get(name);
        status(name, spec, records.get(name), lifecycle, clocks.of(spec))
    };
    names.into_iter().map(of).collect()
}

fn status(
    name: &Name,
    spec: Option<&Spec>,
    known: Option<&Known>,
    lifecycle: &Lifecycle,
    now: Time,
) -> Status {
    let record = known.and_then(Known::record);
    let held = record.and_then(|record| record.current.as_ref().or(record.next.as_ref()));
    let grants = spec.map(|spec| &spec.grants).or(held.map(|held| &held.grants));
    let server = match (spec, held) {
        (Some(spec), _) => Some(spec.server.to_string()),
        (None, Some(held)) => Some(held.server.to_string()),
        (None, None) => None,
    };
    let retiring = record.map(|record| formers(record, spec, lifecycle)).unwrap_or_default();
    let rotates_at = spec
        .zip(record)
        .and_then(|(spec, record)| rotation_due(spec, record, record.current.as_ref()?, lifecycle));
    let overdue = || {
        let due = rotates_at.filter(|due| *due <= now)?;
        Some(format!("a new value, due since {due:.0}"))
    };
    let expired = || {
        let at = record?.current.as_ref()?.expires_at.filter(|at| *at <= now)?;
        Some(format!("a new value, the current one expired at {at:.0}"))
    };
    Status {
        name: name.clone(),
        state: state(spec, known, now),
        server,
        id: held.map(|held| held.id.to_string()),
        grants: grants.map(ToString::to_string).unwrap_or_default(),
        generation: record.map_or(0, |record| record.generation),
        created_at: held.map(|held| held.created_at),
        age: held.map(|held| since(held.created_at, now).as_secs()),
        expires_at: held.and_then(|held| held.expires_at),
        rotates_at,
        waits: waits(spec, known, lifecycle)
            .or_else(overdue)
            .or_else(expired)
            .or_else(|| retiring.first().map(Former::in_words)),
        retiring,
    }
}

/// Each is revoked after its overlap, where the list still asks for the name, or else expires.
fn formers(record: &Record, spec: Option<&Spec>, lifecycle: &Lifecycle) -> Vec<Former> {
    let works = record.retiring.iter().filter(|retiring| retiring.state != RetiringState::Absent);
    works
        .map(|retiring| {
            let here = spec.is_some_and(|spec| spec.key == retiring.held.server);
            let overlap = here.then(|| overlap_until(retiring, lifecycle)).flatten();
            Former {
                id: retiring.held.id.clone(),
                since: retiring.since,
                until: overlap.into_iter().chain(retiring.held.expires_at).min(),
            }
        })
        .collect()
}

fn state(spec: Option<&Spec>, known: Option<&Known>, now: Time) -> State {
    let Some(record) = known.map(Known::record) else {
        return State::Missing;
    };
    let Some(record) = record else {
        return State::Unreadable;
    };
    match (&record.current, &record.next) {
        (Some(_), _) if spec.is_none() => State::Removed,
        _ if spec.is_none() && record.removed.is_some() => State::Removed,
        (Some(current), _) if current.expires_at.is_some_and(|at| at <= now) => State::Expired,
        (Some(_), _) => State::Ready,
        (None, Some(_)) if spec.is_none() => State::Imported,
        (None, Some(_)) => State::Probing,
        (None, None) => State::Missing,
    }
}

fn waits(spec: Option<&Spec>, known: Option<&Known>, lifecycle: &Lifecycle) -> Option<String> {
    let record = match known {
        None => return Some("not minted yet".to_owned()),
        Some(Known::Unreadable) => return Some("its record cannot be read".to_owned()),
        Some(Known::Later(record)) => return Some(format!("its record has version {}", record.version)),
        Some(Known::Ours(record)) => record,
    };
    let Some(spec) = spec else {
        return match (&record.current, &record.next) {
            (Some(_), _) => Some(removal(record, lifecycle)),
            (None, Some(_)) if record.removed.is_none() => Some("the list to name it".to_owned()),
            _ if record.removed.is_some() => Some("left the list".to_owned()),
            (None, Some(_)) => None,
            (None, None) => None,
        };
    };
    waits_by_record(spec, record)
}

/// When the token of a name that left the list is revoked.
fn removal(record: &Record, lifecycle: &Lifecycle) -> String {
    match &record.removed {
        Some(removed) => {
            format!("left the list, its token is revoked at {:.0}", after(removed.at, lifecycle.grace))
        }
        None => "left the list, its token stays delivered".to_owned(),
    }
}

fn waits_by_record(spec: &Spec, record: &Record) -> Option<String> {
    let elsewhere = |held: &&Held| held.server != spec.key;
    if let Some(held) = record.current.iter().chain(&record.next).find(elsewhere) {
        return Some(format!(
            "its token is on {}, the list names another server: run `influx-tokend confirm`",
            held.server
        ));
    }
    if let Some(next) = &record.next {
        let minted = if record.current.is_some() { "its successor is" } else { "it is" };
        return Some(format!("{minted} not accepted everywhere yet (since {:.0})", next.created_at));
    }
    let Some(current) = &record.current else {
        let unknown = match record.intents.len() {
            0 => String::new(),
            1 => ", the outcome of 1 mint is unknown".to_owned(),
            open => format!(", the outcome of {open} mints is unknown"),
        };
        return Some(format!("not minted yet{unknown}"));
    };
    if current.origin == Origin::Inherited {
        return Some("its token belongs to another machine, to be replaced".to_owned());
    }
    if record.unprobed {
        return Some("the server to accept it, delivered unprobed".to_owned());
    }
    if record.suspended {
        return Some("`influx-tokend rotate`: its schedule is suspended".to_owned());
    }
    (current.grants != spec.grants)
        .then(|| format!("the list asks for {}, the token has {}", spec.grants, current.grants))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Allow, Credential, Pickup, Product, Secret, ServerKey};

    fn spec(name: &str) -> Spec {
        Spec {
            name: name.parse().expect("a name"),
            server: ServerName(ServerName::DEFAULT.to_owned()),
            key: ServerKey::new(Product::Clustered, "https://c"),
            grants: [].into_iter().collect(),
            description: String::new(),
            lifetime: None,
            allow: Allow::default().into(),
            pickup: Pickup::default(),
            probe: None,
        }
    }

    #[test]
    fn a_token_is_due_and_expires_by_its_servers_clock() {
        let at = |second| Time::from_second(second).expect("a time");
        let spec = spec("a");
        let mut record = Record::new(spec.name.clone(), Allow::default(), 0);
        record.current = Some(Held {
            id: TokenId("1".into()),
            server: spec.key.clone(),
            marker: None,
            secret: Credential::Token(Secret::new("canary".into())),
            grants: spec.grants.clone(),
            created_at: at(1000),
            claimed_created_at: None,
            was_to_expire_at: None,
            expires_at: Some(at(2000)),
            origin: Origin::Minted,
        });
        let server = spec.server.clone();
        let specs = BTreeMap::from([(spec.name.clone(), spec)]);
        let records = [record].map(|record| (record.name.clone(), Known::Ours(std::sync::Arc::new(record))));
        let records = BTreeMap::from(records);
        let status = |local, servers| {
            let clocks = Clocks { local: at(local), servers };
            let status = statuses(&specs, &records, &Lifecycle::default(), &clocks).remove(0);
            (status.state, status.waits)
        };
        let by_server = |second| BTreeMap::from([(server.clone(), at(second))]);
        let due = || Some("a new value, due since 1970-01-01T00:25:00Z".to_owned());
        assert_eq!(status(9999, by_server(1499)), (State::Ready, None));
        assert_eq!(status(0, by_server(1500)), (State::Ready, due()));
        assert_eq!(status(0, by_server(2000)), (State::Expired, due()));
        assert_eq!(status(2000, BTreeMap::new()), (State::Expired, due()), "as far as this host knows");
    }

    #[test]
    fn every_name_is_counted_once() {
        let known = |name: &str| {
            let name: Name = name.parse().expect("a name");
            (name.clone(), Known::Ours(std::sync::Arc::new(Record::new(name, Allow::default(), 0))))
        };
        for (listed, recorded, all) in [
            (&[][..], &[][..], 0),
            (&["a", "b"], &[], 2),
            (&[], &["a", "b"], 2),
            (&["b", "c", "e"], &["a", "b", "d", "e", "f"], 6),
            (&["z"], &["a"], 2),
        ] {
            let specs = listed.iter().map(|name| (name.parse().expect("a name"), spec(name))).collect();
            let records = recorded.iter().map(|name| known(name)).collect();
            assert_eq!(ready(&specs, &records), (0, all), "{listed:?} {recorded:?}");
        }
    }
}
