//! A list of tokens, read row by row: first as far as it takes to see whose a row is, then only those that concern this
//! store. What stands in a stranger's row is nobody's business, and can cost nobody the list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::{
    ids::NamedIds,
    rows::{DESCRIPTION, Dialect, ID, Row},
};
use crate::{
    influxdb::{ErrorKind, Interest},
    model::{ClusterIds, Label, Listed, Listing, RowFault, ServerDate, TokenId},
};

/// How a list is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListReader<'a> {
    pub(super) interest: &'a Interest<'a>,
    pub(super) dialect: Dialect,
    /// Which cluster its rows must be about, where they name one.
    pub(super) cluster: Option<&'a ClusterIds>,
    pub(super) date: &'a ServerDate,
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    tokens: Vec<Listed>,
    /// Where the token with an id is among these.
    ids: BTreeMap<TokenId, usize>,
    /// Those that are there twice, and not the same.
    contested: BTreeSet<usize>,
    faults: Vec<RowFault>,
    zoneless: bool,
    /// A row that names this cluster, or another.
    about_ours: bool,
    about_another: Option<ErrorKind>,
}

impl ListReader<'_> {
    /// # Errors
    /// None of the rows is an object, or those that name a cluster all name another.
    pub(super) fn read(&self, rows: &[&RawValue], bytes: usize) -> Result<Listing, ErrorKind> {
        if !rows.is_empty() && !rows.iter().any(|row| row.get().starts_with('{')) {
            return Err(ErrorKind::Nonsense("expected a list of tokens".to_owned()));
        }
        let mut reading = Reading::default();
        for row in rows {
            self.read_row(row.get(), &mut reading);
        }
        let Reading { tokens, contested, faults, zoneless, about_ours, about_another, .. } = reading;
        let tokens = tokens.into_iter().zip(0..).filter(|(_, index)| !contested.contains(index));
        match about_another {
            Some(error) if !about_ours => Err(error),
            _ => Ok(Listing {
                tokens: tokens.map(|(token, _)| token).collect(),
                faults,
                rows: rows.len(),
                bytes,
                date: self.date.clone(),
                zoneless,
            }),
        }
    }

    fn read_row(&self, json: &str, reading: &mut Reading) {
        let Ok(row) = Row::read(json) else {
            reading.faults.extend(self.unreadable(json));
            return;
        };
        let id = row.id(ID);
        let label = row.text(DESCRIPTION).as_deref().and_then(Label::find);
        let label = label.filter(|label| self.interest.instances.contains(&label.instance));
        let is_ours = label.is_some() || id.as_ref().is_some_and(|id| self.interest.ids.contains(id));
        let mut fault = |id: Option<&TokenId>, what: String| {
            reading.faults.push(RowFault { id: id.cloned(), label: label.clone(), what });
        };
        match self.cluster.and_then(|ours| NamedIds::of(&row).check(ours)) {
            Some(Ok(())) => reading.about_ours = true,
            Some(Err(error)) => {
                if is_ours {
                    fault(id.as_ref(), "accountId, clusterId: expected this cluster's".to_owned());
                }
                reading.about_another.get_or_insert(error);
                return;
            }
            None => {}
        }
        if !is_ours {
            return;
        }
        let Some(id) = id else {
            fault(None, "id: expected one text".to_owned());
            return;
        };
        // Thousands of rows have an id that is known, and grants that others have: they are shared.
        let id = self.interest.ids.get(&id).cloned().unwrap_or(id);
        let (mut listed, found) = row.listed(id.clone(), self.dialect, self.date);
        if let Some(last) = reading.tokens.last().filter(|last| last.grants == listed.grants) {
            listed.grants.clone_from(&last.grants);
        }
        for odd in &found.odd {
            fault(Some(&id), odd.to_string());
        }
        reading.zoneless |= found.zoneless;
        match reading.ids.get(&id) {
            None => {
                reading.ids.insert(id, reading.tokens.len());
                reading.tokens.push(listed);
            }
            Some(first) if reading.tokens[*first] == listed && !reading.contested.contains(first) => {}
            Some(first) => {
                reading.contested.insert(*first);
                fault(Some(&id), "id: expected once, found twice with different fields".to_owned());
            }
        }
    }

    /// A row that is not an object as JSON has it: ours only if the text of it has a label or an id of ours.
    fn unreadable(&self, json: &str) -> Option<RowFault> {
        let start = json.rfind("[influx-tokend ");
        let label = start.and_then(|start| {
            let end = json[start..].find(']')?;
            json[start..=start + end].parse::<Label>().ok()
        });
        let label = label.filter(|label| self.interest.instances.contains(&label.instance));
        let id = json.split('"').map(|text| TokenId(text.into()));
        let id = id.into_iter().find(|id| self.interest.ids.contains(id));
        let is_ours = label.is_some() || id.is_some();
        is_ours.then(|| RowFault { id, label, what: "row: expected a valid JSON object".to_owned() })
    }
}
