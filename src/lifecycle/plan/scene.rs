//! The view with its indexes, and the questions that each rule asks of it.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    ops::Deref,
    time::Duration,
};

use super::{
    identity,
    terms::YOUNG,
    view::{View, ids_in},
};
use crate::model::{
    BootTime, Held, Known, Label, Listed, Marker, Name, Record, RowFault, ServerKey, Spec, Time, TokenId,
    after, before,
};

/// The view, with the list indexed: a pass over thousands of names looks each up many times.
pub(super) struct Scene<'a> {
    view: &'a View<'a>,
    by_id: HashMap<&'a TokenId, &'a Listed>,
    /// Only open intents ask for it, and mostly there are none.
    by_marker: OnceCell<HashMap<&'a Marker, Vec<&'a Listed>>>,
    /// Servers that the list has tokens on. Only tokens elsewhere ask for it, and mostly there are none.
    listed: OnceCell<HashSet<&'a ServerKey>>,
    /// Addresses that this server had before: its list shows tokens that records know from there (rule 12).
    pub(super) former: HashSet<&'a ServerKey>,
    /// Whether the list reports the grants of any token. What influxctl prints may report none.
    pub(super) reports_grants: bool,
}

impl<'a> Deref for Scene<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        self.view
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let by_id = view.listing.tokens.iter().map(|row| (&row.id, row)).collect();
        let (by_marker, listed, former) = (OnceCell::new(), OnceCell::new(), HashSet::new());
        let reports_grants = view.listing.tokens.iter().any(|row| row.grants.is_some());
        let mut scene = Self { view, by_id, by_marker, listed, former, reports_grants };
        scene.former = scene.former_addresses();
        scene
    }

    fn former_addresses(&self) -> HashSet<&'a ServerKey> {
        let records = self.view.records.values().filter_map(Known::record);
        let elsewhere = records.flat_map(|record| record.held()).filter(|held| held.server != *self.view.key);
        elsewhere
            .filter(|held| self.row(&held.id).is_some_and(|row| identity::is_same(row, held)))
            .map(|held| &held.server)
            .filter(|key| !self.is_listed(key))
            .collect()
    }

    /// Whether the list has tokens on this server.
    pub(super) fn is_listed(&self, key: &ServerKey) -> bool {
        let listed = || self.view.specs.values().map(|spec| &spec.key).collect();
        self.listed.get_or_init(listed).contains(key)
    }

    /// The row with this id.
    pub(super) fn row(&self, id: &TokenId) -> Option<&'a Listed> {
        self.by_id.get(id).copied()
    }

    /// The rows whose label has this marker.
    pub(super) fn rows_with(&self, marker: &Marker) -> &[&'a Listed] {
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
    pub(super) fn proves_absence(&self) -> bool {
        let is_ours = |label: &Label| label.instance == *self.instance;
        let mut labels = self.listing.tokens.iter().filter_map(|row| row.label.as_ref());
        self.descriptor.list.proves_absence(|| labels.any(is_ours))
    }

    /// Whether the list has a row with such a label of which something cannot be read.
    pub(super) fn faulty_row(&self, is_it: impl Fn(&Label) -> bool) -> bool {
        self.listing.faults.iter().filter_map(|fault| fault.label.as_ref()).any(is_it)
    }

    /// The name that a row is about which cannot be read.
    pub(super) fn name_of(&self, fault: &RowFault) -> Option<Name> {
        let by_id = |id: &TokenId| {
            let is_it = |record: &&Record| ids_in(record).any(|known| known == id);
            self.records.values().filter_map(Known::record).find(is_it).map(|record| record.name.clone())
        };
        let by_label = fault.label.as_ref().map(|label| label.name.clone());
        by_label.or_else(|| fault.id.as_ref().and_then(by_id))
    }

    /// An address that this server had before and that something in the record still names. Another server may have had the
    /// same one, before paths distinguished them: its names are left to it, unless their tokens are here.
    pub(super) fn former_address_of<'r>(&self, record: &'r Record) -> Option<&'r ServerKey> {
        if self.former.is_empty() {
            return None;
        }
        let is_shown = |held: &Held| self.row(&held.id).is_some_and(|row| identity::is_same(row, held));
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
    pub(super) fn is_here(&self, spec: &Spec) -> bool {
        spec.server == *self.server && spec.key == *self.key
    }

    /// The spec of a name, if it is this server's.
    pub(super) fn spec(&self, name: &Name) -> Option<&Spec> {
        self.specs.get(name).filter(|spec| self.is_here(spec))
    }

    /// When a time is or was over on both clocks (rule 10): of the boot-time clock only what is known to be of this boot
    /// counts.
    pub(super) fn over_at(&self, since: Time, boot: Option<&BootTime>, wait: Duration) -> Time {
        let passed = self.passed(since, boot);
        let by_boot = passed.map(|passed| after(before(self.now, passed), wait));
        match by_boot {
            // The time is from a clock that was ahead and is not any more.
            Some(by_boot) if since > after(self.now, YOUNG) => by_boot,
            _ => after(since, wait).max(by_boot.unwrap_or(Time::MIN)),
        }
    }

    /// How much of the time since then is known to have passed without asking the server's clock again.
    pub(super) fn passed(&self, since: Time, boot: Option<&BootTime>) -> Option<Duration> {
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
    pub(super) fn concerns(&self, record: &Record) -> bool {
        self.spec(&record.name).is_some()
            || record.held().any(|held| held.server == *self.key)
            || record.intents.iter().any(|intent| intent.server == *self.key)
            || record.revoked.iter().any(|revoked| revoked.server == *self.key)
            || self.former_address_of(record).is_some()
            // Of one of which nothing is left, any server's pass may take care.
            || !self.specs.contains_key(&record.name) && record.is_empty()
    }
}
