//! Which cluster an answer is about, where it says: those of Cloud Dedicated name account and cluster.

use std::borrow::Cow;

use super::rows::Row;
use crate::{
    influxdb::{ErrorKind, server_text::clean},
    model::ClusterIds,
};

/// The ids that an answer names.
#[derive(Debug, Default)]
pub(super) struct NamedIds<'a> {
    account: Option<Cow<'a, str>>,
    cluster: Option<Cow<'a, str>>,
}

impl<'a> NamedIds<'a> {
    pub(super) fn of(row: &Row<'a>) -> Self {
        Self {
            account: row.text(&["accountId", "account_id"]),
            cluster: row.text(&["clusterId", "cluster_id"]),
        }
    }

    /// Whether it is about this cluster: `None` where it names none.
    ///
    /// # Errors
    /// It is about another: it says nothing about this one.
    pub(super) fn check(&self, ours: &ClusterIds) -> Option<Result<(), ErrorKind>> {
        let pairs = [("account", &self.account, &ours.account), ("cluster", &self.cluster, &ours.cluster)];
        for (what, named, wanted) in &pairs {
            if let Some(named) = named.as_deref().filter(|named| !named.eq_ignore_ascii_case(wanted.as_str()))
            {
                let named = clean(&named.chars().take(36).collect::<String>());
                let what = format!("expected {what} {wanted}, found {named:?}");
                return Some(Err(ErrorKind::Nonsense(what)));
            }
        }
        pairs.iter().any(|(_, named, _)| named.is_some()).then_some(Ok(()))
    }
}
