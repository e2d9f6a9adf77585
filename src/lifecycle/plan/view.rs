//! Everything the plan looks at.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashSet},
};

use crate::model::{
    BootTime, Databases, Descriptor, Evidence, Instance, Known, Label, Lifecycle, Listed, Listing, Name,
    Record, ServerKey, ServerName, Spec, Time, TokenId,
};

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

impl<'a> View<'a> {
    /// Live rows that bear a label of ours and whose id no record knows, under any server.
    pub fn orphans(&self) -> impl Iterator<Item = (&'a Listed, &'a Label)> + use<'a> {
        let now = self.now;
        self.unrecorded().filter(move |(row, _)| row.is_live(now))
    }

    /// Rows that bear a label of ours, are not revoked, and whose id no record knows: perhaps expired, as the server says.
    pub(super) fn unrecorded(&self) -> impl Iterator<Item = (&'a Listed, &'a Label)> + use<'a> {
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
pub(super) fn ids_in(record: &Record) -> impl Iterator<Item = &TokenId> {
    record.held().map(|held| &held.id).chain(record.revoked.iter().map(|revoked| &revoked.id))
}
