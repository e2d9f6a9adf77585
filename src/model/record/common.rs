//! One copy of what thousands of records have alike.

use std::{collections::BTreeSet, sync::Arc};

use super::Record;
use crate::model::{Allow, Grants, Name, share};

/// What records that are read together have alike.
#[derive(Debug, Default)]
pub struct CommonValues {
    allows: BTreeSet<Arc<Allow>>,
    grants: BTreeSet<Grants>,
    boots: BTreeSet<Arc<str>>,
}

impl CommonValues {
    /// Has a record share its name, and what a record before it has, too. Its content stays the same.
    pub fn share(&mut self, name: &Name, record: &mut Record) {
        let contents = &mut record.0;
        contents.name.clone_from(name);
        share(&mut self.allows, &mut contents.allow);
        for attempt in &mut contents.mints {
            attempt.at.boot.iter_mut().for_each(|boot| share(&mut self.boots, &mut boot.boot));
            share(&mut self.grants, &mut attempt.grants);
        }
        contents.held_mut().for_each(|held| share(&mut self.grants, &mut held.grants));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_records_share_who_may_read_them() {
        let mut common = CommonValues::default();
        let records = ["a", "b"].map(|name| {
            let name: Name = name.parse().expect("a name");
            let mut record = Record::new(name.clone(), Allow::default(), 0);
            common.share(&name, &mut record);
            record
        });
        assert!(Arc::ptr_eq(&records[0].allow, &records[1].allow));
    }
}
