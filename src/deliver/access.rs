//! Who may read: users and groups of an `allow`, resolved to numbers, and units, which are patterns.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use glob::{MatchOptions, Pattern};

use super::socket::Peer;
use crate::model::Allow;

/// What systemd gives to services with `DynamicUser=` (systemd.exec(5), systemd 257): somebody else's tomorrow, while
/// a file keeps the number.
const DYNAMIC: RangeInclusive<u32> = 61_184..=65_519;
/// The overflow uid and gid (`/proc/sys/kernel/overflowuid`): whoever has no number here.
pub(super) const NOBODY: u32 = 65_534;
/// "No id", in 32 and in 16 bits.
const NO_ID: [u32; 2] = [u32::MAX, 65_535];
/// A name that was looked up is not looked up again for so long.
const FRESH: Duration = Duration::from_secs(10);
/// What has not been looked up again for so long is forgotten: longer than the time between two passes.
const KEPT: Duration = Duration::from_secs(12 * 3600);

/// Who reads a file, besides root and its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// What names them.
    pub allow: Allow,
    /// User ids.
    pub uids: BTreeSet<u32>,
    /// Group ids.
    pub gids: BTreeSet<u32>,
    /// Units.
    pub units: Vec<Pattern>,
    /// What grants nothing.
    pub warnings: Vec<Unresolved>,
}

impl Readers {
    /// Whether a peer is one of them. Any match suffices.
    #[must_use]
    pub fn admit(&self, peer: &Peer) -> bool {
        let in_group = |gid: &u32| *gid != NOBODY && self.gids.contains(gid);
        peer.is_master()
            || (peer.uid != NOBODY && self.uids.contains(&peer.uid))
            || std::iter::once(&peer.gid).chain(&peer.groups).any(in_group)
            || peer.unit.as_ref().is_some_and(|unit| self.admit_unit(unit))
    }

    /// Whether a unit is one of them, whoever runs in it.
    #[must_use]
    pub fn admit_unit(&self, unit: &str) -> bool {
        let exactly = MatchOptions::new();
        self.units.iter().any(|wanted| wanted.matches_with(unit, exactly))
    }
}

/// A part of an `allow` that grants nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// User, group or unit.
    pub kind: Kind,
    /// As the list says it.
    pub text: String,
    /// Why.
    pub why: Why,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, text, why } = self;
        write!(f, "allow: {kind} {text:?} ")?;
        match why {
            Why::Missing => write!(f, "does not exist on this host"),
            Why::NoPattern => write!(f, "is no pattern"),
            Why::Nobody => write!(f, "stands for whoever is unknown here, and is never let in"),
            Why::NoId => write!(f, "is no {kind}"),
            Why::Dynamic(id) => {
                write!(
                    f,
                    "has the id {id}, which systemd gives to one service after the other (DynamicUser=)"
                )
            }
        }
    }
}

/// What an id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A uid.
    User,
    /// A gid.
    Group,
    /// A systemd unit.
    Unit,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Unit => "unit",
        })
    }
}

/// Why something grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No such name. It may come: the package that brings it is not installed yet.
    Missing,
    /// The overflow id.
    Nobody,
    /// A number that is never anybody's.
    NoId,
    /// From the range of `DynamicUser=`.
    Dynamic(u32),
    /// A unit that cannot be matched.
    NoPattern,
}

/// Where names become numbers.
pub(super) trait Directory {
    fn id(&self, kind: Kind, name: &str) -> Option<u32>;
}

/// The system's, with all it is configured to ask; may take long.
#[derive(Debug)]
pub(super) struct Nss;

impl Directory for Nss {
    fn id(&self, kind: Kind, name: &str) -> Option<u32> {
        match kind {
            Kind::User => uzers::get_user_by_name(name).map(|user| user.uid()),
            Kind::Group => uzers::get_group_by_name(name).map(|group| group.gid()),
            Kind::Unit => None,
        }
    }
}

/// The name of a user; may take long.
pub(super) fn user_name(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
}

/// Whether an id is one that an `allow` may name.
pub(super) fn is_lasting(id: u32) -> bool {
    lasting(id).is_ok()
}

/// Resolves, and remembers for ten seconds.
#[derive(Debug)]
pub(super) struct Resolver<D> {
    directory: D,
    known: BTreeMap<(Kind, String), (Option<u32>, Instant)>,
    /// What came of whole `allow`s, of which most names have the same, and the oldest look-up in it: thousands of names
    /// share one, and a pass over them looks at nothing twice.
    resolved: HashMap<Allow, (Arc<Readers>, Instant)>,
    swept: Option<Instant>,
}

impl<D: Directory> Resolver<D> {
    pub(super) fn new(directory: D) -> Self {
        Self { directory, known: BTreeMap::new(), resolved: HashMap::new(), swept: None }
    }

    /// The readers that an `allow` names. The same ones are the same in memory.
    pub(super) fn resolve(&mut self, allow: &Allow, now: Instant) -> Arc<Readers> {
        if let Some(remembered) = self.remembered(allow, now) {
            return remembered;
        }
        self.sweep(now);
        let mut oldest = now;
        let readers = collect(allow, |kind, name| {
            let key = (kind, name.to_owned());
            let known = self.known.get(&key).copied().filter(|(_, since)| is_fresh(*since, now));
            let (id, since) = known.unwrap_or_else(|| {
                let looked_up = (self.directory.id(kind, name), now);
                self.known.insert(key, looked_up);
                looked_up
            });
            oldest = oldest.min(since);
            id
        });
        let as_before = self.resolved.get(allow).map(|(known, _)| known).filter(|known| ***known == readers);
        let readers = as_before.cloned().unwrap_or_else(|| Arc::new(readers));
        self.resolved.insert(allow.clone(), (readers.clone(), oldest));
        readers
    }

    /// The same from memory alone, where all of it is there and fresh.
    pub(super) fn remembered(&self, allow: &Allow, now: Instant) -> Option<Arc<Readers>> {
        let (readers, since) = self.resolved.get(allow)?;
        is_fresh(*since, now).then(|| readers.clone())
    }

    /// Looks everything up again that is not fresh; whether all of it is as it was.
    pub(super) fn is_as_before(&mut self, now: Instant) -> bool {
        let before: Vec<(Allow, Arc<Readers>)> =
            self.resolved.iter().map(|(allow, (readers, _))| (allow.clone(), readers.clone())).collect();
        before.into_iter().all(|(allow, readers)| Arc::ptr_eq(&self.resolve(&allow, now), &readers))
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| is_fresh(swept, now)) {
            return;
        }
        self.swept = Some(now);
        let is_kept = |since: Instant| now.saturating_duration_since(since) < KEPT;
        self.known.retain(|_, (_, since)| is_kept(*since));
        self.resolved.retain(|_, (_, since)| is_kept(*since));
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < FRESH
}

fn collect(allow: &Allow, mut look_up: impl FnMut(Kind, &str) -> Option<u32>) -> Readers {
    let mut readers = Readers { allow: allow.clone(), ..Readers::default() };
    let users = allow.users.iter().map(|text| (Kind::User, text));
    for (kind, text) in users.chain(allow.groups.iter().map(|text| (Kind::Group, text))) {
        let id = match number(text) {
            Some(id) => Some(id),
            None => look_up(kind, text),
        };
        match id.ok_or(Why::Missing).and_then(lasting) {
            Ok(id) => _ = if kind == Kind::User { &mut readers.uids } else { &mut readers.gids }.insert(id),
            Err(why) => readers.warnings.push(Unresolved { kind, text: text.clone(), why }),
        }
    }
    for text in &allow.units {
        match Pattern::new(text) {
            Ok(pattern) => readers.units.push(pattern),
            Err(_) => {
                let (kind, text) = (Kind::Unit, text.clone());
                readers.warnings.push(Unresolved { kind, text, why: Why::NoPattern });
            }
        }
    }
    readers
}

/// A numeric id. `parse` alone would take a sign too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// An id that means one and the same for as long as a file may lie there.
fn lasting(id: u32) -> Result<u32, Why> {
    match id {
        NOBODY => Err(Why::Nobody),
        id if NO_ID.contains(&id) => Err(Why::NoId),
        id if DYNAMIC.contains(&id) => Err(Why::Dynamic(id)),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// `telegraf` is user 998, `influx` is group 997; counts what it is asked.
    #[derive(Default)]
    struct Fake {
        asked: Cell<u32>,
    }

    impl Directory for Fake {
        fn id(&self, kind: Kind, name: &str) -> Option<u32> {
            self.asked.set(self.asked.get() + 1);
            match (kind, name) {
                (Kind::User, "telegraf") => Some(998),
                (Kind::User, "nobody") => Some(NOBODY),
                (Kind::Group, "influx") => Some(997),
                _ => None,
            }
        }
    }

    fn allow(users: &[&str], groups: &[&str]) -> Allow {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Allow { users: owned(users), groups: owned(groups), units: vec!["telegraf.service".into()] }
    }

    #[test]
    fn names_and_numbers_are_readers() {
        let readers = Resolver::new(Fake::default())
            .resolve(&allow(&["telegraf", "1000", "0"], &["influx", "12"]), Instant::now());
        assert_eq!(readers.uids, BTreeSet::from([0, 998, 1000]));
        assert_eq!(readers.gids, BTreeSet::from([12, 997]));
        assert_eq!(readers.warnings, []);
    }

    #[test]
    fn what_is_nobody_in_particular_grants_nothing_and_is_told() {
        let users = ["nope", "", "+5", "-1", "nobody", "65534", "61184", "65519", "65535", "4294967295"];
        let readers =
            Resolver::new(Fake::default()).resolve(&allow(&users, &["65534", "telegraf"]), Instant::now());
        assert_eq!((&readers.uids, &readers.gids), (&BTreeSet::new(), &BTreeSet::new()));
        let why: Vec<Why> = readers.warnings.iter().map(|warning| warning.why).collect();
        let dynamic = [Why::Dynamic(61_184), Why::Dynamic(65_519)];
        assert_eq!(why[..4], [Why::Missing; 4]);
        assert_eq!(why[4..6], [Why::Nobody; 2]);
        assert_eq!(why[6..8], dynamic);
        assert_eq!(why[8..10], [Why::NoId; 2]);
        assert_eq!(why[10..], [Why::Nobody, Why::Missing]);
        let text = readers.warnings.last().expect("a warning").to_string();
        assert_eq!(text, "allow: group \"telegraf\" does not exist on this host");
    }

    #[test]
    fn units_are_matched_whole_by_pattern_and_by_nothing_else() {
        let units = ["telegraf@*.service", r"tmpl@in\x2dst.service", "[bad"].map(str::to_owned).to_vec();
        let allow = Allow { units, ..allow(&["telegraf", "0"], &[]) };
        let readers = Resolver::new(Fake::default()).resolve(&allow, Instant::now());
        let admitted = |unit: &&str| readers.admit_unit(unit);
        let all = [
            "telegraf@edge.service",
            r"tmpl@in\x2dst.service",
            "telegraf@.service",
            "telegraf.service",
            "Telegraf@edge.service",
            "telegraf@edge.service.service",
            "my-telegraf@edge.service",
            "tmpl@in-st.service",
            "[bad",
            "telegraf",
            "",
        ];
        let admitted: Vec<&str> = all.into_iter().filter(admitted).collect();
        assert_eq!(admitted, [all[0], all[1], all[2], all[5]], "a pattern goes to the end of the name");
        assert_eq!(readers.warnings.iter().map(|warning| warning.why).collect::<Vec<_>>(), [Why::NoPattern]);
    }

    #[test]
    fn the_ends_of_the_dynamic_range_are_where_systemd_has_them() {
        assert_eq!([61_183, 65_520, 65_533].map(lasting), [Ok(61_183), Ok(65_520), Ok(65_533)]);
    }

    #[test]
    fn a_name_is_looked_up_once_in_ten_seconds() {
        let (allow, start) = (allow(&["telegraf", "nope"], &[]), Instant::now());
        let mut resolver = Resolver::new(Fake::default());
        assert_eq!(resolver.remembered(&allow, start), None);
        let readers = resolver.resolve(&allow, start);
        let almost = start + Duration::from_millis(9_999);
        assert_eq!(resolver.resolve(&allow, almost), readers);
        assert_eq!(resolver.remembered(&allow, almost), Some(readers));
        assert_eq!(resolver.directory.asked.get(), 2);
        assert_eq!(resolver.remembered(&allow, start + FRESH), None);
        resolver.resolve(&allow, start + FRESH);
        assert_eq!(resolver.directory.asked.get(), 4);
    }
}
