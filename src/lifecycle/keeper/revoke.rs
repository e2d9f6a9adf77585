//! Revoking tokens, and changing what they may do.

use super::{
    Keeper, Report,
    steps::{ChangeOutcome, fail},
};
use crate::{
    deliver::Deliver,
    influxdb::{Server, ServerError},
    lifecycle::{
        Clock,
        plan::{Finding, Matter, RevokeReason},
    },
    model::{Event, Grants, Marker, Name, Record, RetiringState, TokenId},
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    pub(super) async fn revoke_stray(
        &self,
        name: &Name,
        id: &TokenId,
        marker: Option<&Marker>,
        report: &mut Report,
    ) -> ChangeOutcome {
        self.spend_request();
        if let Err(error) = self.server.revoke(id).await {
            return revocation_failed(name, id, &error, report);
        }
        tracing::info!(%name, %id, server = %self.name, "revoked a token that is in no record");
        let (server, marker) = (self.key.clone(), marker.cloned());
        self.record(name, vec![Event::StrayRevoked { id: id.clone(), server, marker }], report).await;
        ChangeOutcome::Done
    }

    /// Rules 9 and 20. Looks once more before: a token may have been promoted since the plan was made, or the name put
    /// back into the list. That a former token is about to be revoked is sealed first: nobody makes it current again then.
    pub(super) async fn revoke(
        &self,
        name: &Name,
        id: &TokenId,
        why: RevokeReason,
        report: &mut Report,
    ) -> ChangeOutcome {
        let Some(record) = self.shared.ledger.record(name) else { return ChangeOutcome::Skipped };
        let stands = match why {
            RevokeReason::Overlap => self.is_over(&record, id),
            RevokeReason::Unused => true,
            RevokeReason::Removed => record.removed.is_some() && !self.shared.specs().contains_key(name),
        };
        // Perhaps they have turned out to be another machine's as well.
        if !stands || !has_of_ours(&record, id) {
            return ChangeOutcome::Skipped;
        }
        let is_former = record.retiring.iter().any(|retiring| retiring.held.id == *id);
        #[cfg(test)]
        let is_former = is_former && self.mutant != Some(super::KeeperMutant::RevokesUnsealed);
        if is_former && !self.record(name, vec![Event::RevocationAsked(id.clone())], report).await {
            return ChangeOutcome::Skipped;
        }
        self.spend_request();
        if let Err(error) = self.server.revoke(id).await {
            return revocation_failed(name, id, &error, report);
        }
        match why {
            RevokeReason::Overlap => {
                tracing::info!(%name, %id, server = %self.name, "overlap is over, revoked the former token");
            }
            RevokeReason::Unused => {
                tracing::info!(%name, %id, server = %self.name, "revoked a token that was replaced before it was used");
            }
            RevokeReason::Removed => {
                tracing::info!(%name, %id, server = %self.name, "left the list, revoked its token");
            }
        }
        self.note_revoked(name, id, report).await;
        ChangeOutcome::Done
    }

    fn is_over(&self, record: &Record, id: &TokenId) -> bool {
        record.current.is_some()
            && self.shared.delivered().get(&record.name) == Some(&record.generation)
            && record
                .retiring
                .iter()
                .any(|retiring| retiring.held.id == *id && retiring.state != RetiringState::Absent)
    }

    /// Seals that a token is revoked. If that fails, the list will show it.
    pub(super) async fn note_revoked(&self, name: &Name, id: &TokenId, report: &mut Report) {
        self.record(name, vec![Event::Revoked(id.clone())], report).await;
        self.deliver(name, report).await;
    }

    /// Rule 21. Changes what a token of ours may do, and seals what the server says that it may.
    pub(super) async fn patch(
        &self,
        name: &Name,
        id: &TokenId,
        grants: &Grants,
        report: &mut Report,
    ) -> ChangeOutcome {
        let record = self.shared.ledger.record(name).filter(|record| has_of_ours(record, id));
        let Some(record) = record else { return ChangeOutcome::Skipped };
        self.spend_request();
        let has = match self.server.patch(id, grants).await {
            Ok(row) => row.grants,
            Err(error) => {
                fail(report, format!("token {name}: {error}"));
                return ChangeOutcome::Failed;
            }
        };
        if has.as_ref() != Some(grants) {
            let has = has.map_or_else(|| "something unknown".to_owned(), |has| has.to_string());
            let what = format!("token {name}: {id}: grants {grants} requested, the server reports {has}");
            fail(report, what);
            return ChangeOutcome::Failed;
        }
        tracing::info!(%name, %id, server = %self.name, "grants are now {grants}");
        let mut events = vec![Event::GrantsChanged { id: id.clone(), grants: grants.clone() }];
        if record.current.as_ref().is_some_and(|held| held.id == *id) {
            let specs = self.shared.specs();
            let wanted = specs.get(name).map(|spec| &spec.grants);
            let surplus = wanted.filter(|wanted| !wanted.cover(grants)).cloned();
            events.push(Event::SurplusNoted(surplus));
        }
        self.record(name, events, report).await;
        ChangeOutcome::Done
    }

    /// Takes a name of which nothing is left out of the store.
    pub(super) async fn drop_record(&self, name: &Name, report: &mut Report) {
        match self.shared.ledger.forget(name).await {
            Ok(()) => {
                tracing::info!(%name, "left the list long ago, forgotten");
                report.progress = true;
            }
            Err(error) => fail(report, error.to_string()),
        }
    }
}

/// Rule 8. Whether a token is one of this record's, and ours to change.
fn has_of_ours(record: &Record, id: &TokenId) -> bool {
    record.held().any(|held| held.id == *id && held.origin.is_ours())
}

/// The next pass tries again.
fn revocation_failed(name: &Name, id: &TokenId, error: &ServerError, report: &mut Report) -> ChangeOutcome {
    fail(report, format!("token {name}: {error}"));
    let matter = Matter::RevocationFails { id: id.clone(), why: error.kind.to_string() };
    report.failed.push(Finding { name: Some(name.clone()), matter });
    ChangeOutcome::Failed
}
