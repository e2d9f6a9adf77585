//! What to do next on one server: a pure function of what is wanted, what is sealed, what the server shows and
//! what has been seen. No I/O, no clock, no randomness.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Deref,
    time::Duration,
};

use crate::model::{
    BootTime, Databases, Descriptor, Event, Evidence, GrantSupport, Held, Instance, Known, Label, Lifecycle,
    Listed, Listing, MINT_MEMORY, Marker, Name, Record, RowFault, ServerKey, ServerName, Spec, Time, TokenId,
    after, before,
};

mod brake;
mod finding;
mod grants;
mod intents;
mod judge;
mod name;
mod overlap;
mod removal;
mod retirement;
mod rotation;
mod step;
mod strays;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Matter};
pub use name::{Promotion, promotion};
pub use overlap::overlap_until;
pub use retirement::{Ending, Retirement, Staying, Stays, Unanswered, retirement};
pub use rotation::rotation_due;
pub use step::{RevokeWhy, Step, Why};

/// Everything the plan looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The moment by which everything is judged: the list's Date where there is one (rule 10).
    pub now: Time,
    /// The same on the boot-time clock, where that is known.
    pub boot: Option<&'a BootTime>,
    /// Which server, by its name in the list.
    pub server: &'a ServerName,
    /// The same, as records know it.
    pub key: &'a ServerKey,
    /// In the labels of our tokens.
    pub instance: &'a Instance,
    /// Instances this store had before.
    pub former: &'a [Instance],
    /// The whole list, other servers' tokens included.
    pub specs: &'a BTreeMap<Name, Spec>,
    /// The whole store.
    pub records: &'a BTreeMap<Name, Known>,
    /// What the server shows.
    pub listing: &'a Listing,
    /// Its databases, where something needs them.
    pub databases: &'a Databases,
    /// What it can do, by its product and the way to it.
    pub descriptor: Descriptor,
    /// What has been seen.
    pub evidence: &'a Evidence,
    /// What the list says of all tokens.
    pub lifecycle: &'a Lifecycle,
}

/// What to do, in this order, and what to tell people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What waits, and what is odd.
    pub findings: Vec<Finding>,
    /// When there will be something to do although nothing changes.
    pub next_due: Option<Time>,
    /// Live tokens of our instance that no record knows.
    pub unknown: BTreeSet<TokenId>,
    /// Held tokens that the list does not show as live.
    pub not_live: BTreeSet<TokenId>,
    /// Names with a token to end that waits for an answer about the current one and for nothing else.
    pub to_end: BTreeSet<Name>,
    /// Tokens that one refusal makes gone.
    pub to_judge: BTreeSet<TokenId>,
    /// Tokens that a step verifies already.
    verified: HashSet<TokenId>,
    /// What was due before then is planned for now.
    from: Time,
}

/// Tokens younger than this are not judged by a list (rule 4): lists may lag.
pub const YOUNG: Duration = Duration::from_secs(600);
/// How long an ended token, and one gone by absence, is remembered.
pub const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long after its request's deadline a complete list must lack a marker before its intent is dropped.
pub const INTENT_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// This many open intents of one name stop further mints.
pub const MAX_INTENTS: usize = 16;
/// Two refusals this far apart make an absent token gone.
pub const REFUSED_APART: Duration = Duration::from_secs(60);
/// The time in which the mints of a name are counted.
pub const DAY: Duration = MINT_MEMORY;
/// So many mints in a [`DAY`] that nothing explains pause minting.
pub const MAX_UNEXPLAINED: usize = 3;

/// Decides what to do next on one server.
#[must_use]
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan { from: view.now, ..Plan::default() };
    let scene = &Scene::new(view);
    let has_grants = view.descriptor.grants != GrantSupport::Absent;
    if has_grants && !scene.tells_grants && !view.listing.tokens.is_empty() {
        plan.findings.push(Finding { name: None, matter: Matter::GrantsUntold });
    }
    for fault in &view.listing.faults {
        let finding = |name| Finding { name, matter: Matter::RowFault(fault.what.clone()) };
        plan.findings.push(finding(scene.name_of(fault)));
    }
    for (name, known) in view.records {
        match known {
            Known::Unreadable => plan.find(name, Matter::Unreadable),
            Known::Later(record) if scene.concerns(record) => {
                plan.find(name, Matter::LaterVersion(record.version));
            }
            Known::Ours(record) if scene.concerns(record) => {
                intents::plan(scene, record, &mut plan);
                name::plan(scene, record, &mut plan);
            }
            Known::Later(_) | Known::Ours(_) => {}
        }
    }
    // Both are in the order of their names.
    let mut known = view.records.keys().peekable();
    for (name, spec) in view.specs {
        while known.next_if(|known| *known < name).is_some() {}
        if scene.is_here(spec) && known.peek() != Some(&name) {
            name::plan_first(scene, spec, &mut plan);
        }
    }
    plan.not_live = judge::not_live(scene);
    strays::plan(scene, &mut plan);
    grants::limit(scene, &mut plan);
    plan.from = Time::default();
    plan
}

/// The view, with the list indexed: a pass over thousands of names looks each up many times.
struct Scene<'a> {
    view: &'a View<'a>,
    by_id: HashMap<&'a TokenId, &'a Listed>,
    /// Only open intents ask for it, and mostly there are none.
    by_marker: OnceCell<HashMap<&'a Marker, Vec<&'a Listed>>>,
    /// Servers that the list has tokens on. Only tokens elsewhere ask for it, and mostly there are none.
    listed: OnceCell<HashSet<&'a ServerKey>>,
    /// Addresses that this server had before: its list shows tokens that records know from there (rule 12).
    former: HashSet<&'a ServerKey>,
    /// Whether the list tells of any token what it may do. What influxctl prints may tell it of none.
    tells_grants: bool,
    /// So many tokens would be ended because their names left the list that a person has to say so (rule 11).
    brake: bool,
}

impl<'a> Deref for Scene<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        self.view
    }
}

impl<'a> Scene<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let by_id = view.listing.tokens.iter().map(|row| (&row.id, row)).collect();
        let (by_marker, listed, former) = (OnceCell::new(), OnceCell::new(), HashSet::new());
        let tells_grants = view.listing.tokens.iter().any(|row| row.grants.is_some());
        let mut scene = Self { view, by_id, by_marker, listed, former, tells_grants, brake: false };
        scene.former = scene.former_addresses();
        scene.brake = removal::brakes(&scene);
        scene
    }

    fn former_addresses(&self) -> HashSet<&'a ServerKey> {
        let records = self.view.records.values().filter_map(Known::record);
        let elsewhere = records.flat_map(|record| record.held()).filter(|held| held.server != *self.view.key);
        elsewhere
            .filter(|held| self.row(&held.id).is_some_and(|row| judge::is_same(row, held)))
            .map(|held| &held.server)
            .filter(|key| !self.is_listed(key))
            .collect()
    }

    /// Whether the list has tokens on this server.
    fn is_listed(&self, key: &ServerKey) -> bool {
        let listed = || self.view.specs.values().map(|spec| &spec.key).collect();
        self.listed.get_or_init(listed).contains(key)
    }

    /// The row with this id.
    fn row(&self, id: &TokenId) -> Option<&'a Listed> {
        self.by_id.get(id).copied()
    }

    /// The rows whose label has this marker.
    fn rows_with(&self, marker: &Marker) -> &[&'a Listed] {
        let by_marker = self.by_marker.get_or_init(|| {
            let mut by_marker: HashMap<&Marker, Vec<&Listed>> = HashMap::new();
            for row in &self.view.listing.tokens {
                if let Some(label) = &row.label {
                    by_marker.entry(&label.marker).or_default().push(row);
                }
            }
            by_marker
        });
        by_marker.get(marker).map_or(&[], Vec::as_slice)
    }

    /// Whether what the list lacks does not exist.
    fn proves_absence(&self) -> bool {
        let is_ours = |label: &Label| label.instance == *self.instance;
        let mut labels = self.listing.tokens.iter().filter_map(|row| row.label.as_ref());
        self.descriptor.list.proves_absence(|| labels.any(is_ours))
    }

    /// Whether the list has a row with such a label of which something cannot be read.
    fn faulty_row(&self, is_it: impl Fn(&Label) -> bool) -> bool {
        self.listing.faults.iter().filter_map(|fault| fault.label.as_ref()).any(is_it)
    }

    /// The name that a row is about which cannot be read.
    fn name_of(&self, fault: &RowFault) -> Option<Name> {
        let by_id = |id: &TokenId| {
            let is_it = |record: &&Record| ids_in(record).any(|known| known == id);
            self.records.values().filter_map(Known::record).find(is_it).map(|record| record.name.clone())
        };
        let by_label = fault.label.as_ref().map(|label| label.name.clone());
        by_label.or_else(|| fault.id.as_ref().and_then(by_id))
    }

    /// An address that this server had before and that something in the record still names. Another server may have had the
    /// same one, before paths told them apart: its names are left to it, unless their tokens are here.
    fn former_address_of<'r>(&self, record: &'r Record) -> Option<&'r ServerKey> {
        if self.former.is_empty() {
            return None;
        }
        let is_shown = |held: &Held| self.row(&held.id).is_some_and(|row| judge::is_same(row, held));
        let is_of_another = self.specs.get(&record.name).is_some_and(|spec| spec.server != *self.server);
        if is_of_another && !record.held().any(is_shown) {
            return None;
        }
        let intents = record.intents.iter().map(|intent| &intent.server);
        let revoked = record.revoked.iter().map(|revoked| &revoked.server);
        record
            .held()
            .map(|held| &held.server)
            .chain(intents)
            .chain(revoked)
            .find(|key| self.former.contains(key))
    }

    /// Whether the list has it on this server. Once a list has given the name of this one to another server, this one is a
    /// former one, though its keeper may live on for a moment.
    fn is_here(&self, spec: &Spec) -> bool {
        spec.server == *self.server && spec.key == *self.key
    }

    /// The spec of a name, if it is this server's.
    fn spec(&self, name: &Name) -> Option<&Spec> {
        self.specs.get(name).filter(|spec| self.is_here(spec))
    }

    /// When a time is or was over on both clocks (rule 10): of the boot-time clock only what is known to be of this boot
    /// counts.
    fn over_at(&self, since: Time, boot: Option<&BootTime>, wait: Duration) -> Time {
        let passed = self.passed(since, boot);
        let by_boot = passed.map(|passed| after(before(self.now, passed), wait));
        match by_boot {
            // It was told by a clock that was ahead and is not any more.
            Some(by_boot) if since > after(self.now, YOUNG) => by_boot,
            _ => after(since, wait).max(by_boot.unwrap_or(Time::MIN)),
        }
    }

    /// How much of the time since then is known to have passed without asking the server's clock again.
    fn passed(&self, since: Time, boot: Option<&BootTime>) -> Option<Duration> {
        let now = self.boot?;
        let in_this_boot = boot.and_then(|since| since.passed(now));
        in_this_boot.or_else(|| {
            let anchor = self.evidence.anchor.as_ref()?;
            let before =
                if anchor.agreed { crate::model::since(since, anchor.moment.at) } else { Duration::ZERO };
            Some(before + anchor.moment.boot.as_ref()?.passed(now)?)
        })
    }

    /// Whether this server has anything to do with a record.
    fn concerns(&self, record: &Record) -> bool {
        self.spec(&record.name).is_some()
            || record.held().any(|held| held.server == *self.key)
            || record.intents.iter().any(|intent| intent.server == *self.key)
            || record.revoked.iter().any(|revoked| revoked.server == *self.key)
            || self.former_address_of(record).is_some()
            // Of one of which nothing is left, any server's pass may take care.
            || !self.specs.contains_key(&record.name) && record.is_empty()
    }
}

impl<'a> View<'a> {
    /// Live rows that bear a label of ours and whose id no record knows, under any server.
    pub fn orphans(&self) -> impl Iterator<Item = (&'a Listed, &'a Label)> + use<'a> {
        let now = self.now;
        self.unrecorded().filter(move |(row, _)| row.is_live(now))
    }

    /// Rows that bear a label of ours, are not revoked, and whose id no record knows: perhaps expired, as the server says.
    fn unrecorded(&self) -> impl Iterator<Item = (&'a Listed, &'a Label)> + use<'a> {
        let (instance, former, records) = (self.instance, self.former, self.records);
        let known_anywhere = OnceCell::new();
        self.listing.tokens.iter().filter_map(move |row| {
            let label = row.label.as_ref()?;
            let ours = label.instance == *instance || former.contains(&label.instance);
            // Nearly each is in the record of the name that it was minted for.
            let in_its_record = || {
                let record = records.get(&label.name).and_then(Known::record);
                record.is_some_and(|record| ids_in(record).any(|id| *id == row.id))
            };
            let in_any_record = || {
                let all =
                    || records.values().filter_map(Known::record).flat_map(ids_in).collect::<HashSet<_>>();
                known_anywhere.get_or_init(all).contains(&row.id)
            };
            let is_one = ours && row.revoked_at.is_none() && !in_its_record() && !in_any_record();
            is_one.then_some((row, label))
        })
    }
}

/// The ids that a record knows, of revoked tokens too.
fn ids_in(record: &Record) -> impl Iterator<Item = &TokenId> {
    record.held().map(|held| &held.id).chain(record.revoked.iter().map(|revoked| &revoked.id))
}

impl Plan {
    fn find(&mut self, name: &Name, matter: Matter) {
        self.findings.push(Finding { name: Some(name.clone()), matter });
    }

    fn note(&mut self, record: &Record, event: Event) {
        self.steps.push(Step::Note { name: record.name.clone(), event });
    }

    /// A token is asked about once, for whatever reasons.
    fn verify(&mut self, name: &Name, id: &TokenId) {
        if self.verified.insert(id.clone()) {
            self.steps.push(Step::Verify { name: name.clone(), id: id.clone() });
        }
    }

    fn due(&mut self, at: Time) {
        if at <= self.from {
            return;
        }
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }

    /// Whether the plan cannot be made well without the server's databases.
    #[must_use]
    pub fn needs_databases(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, Step::Mint { .. } | Step::Probe { .. } | Step::Verify { .. } | Step::Patch { .. })
        })
    }
}
