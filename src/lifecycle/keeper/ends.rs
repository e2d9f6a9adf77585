//! Ending tokens, and changing what they may do.

use super::{
    Keeper, Report,
    steps::{ChangeOutcome, fail, note_surplus, set_aside},
};
use crate::{
    deliver::Deliver,
    influxdb::{Server, ServerError},
    lifecycle::{
        Clock,
        plan::{EndWhy, Finding, Gone, Matter},
    },
    model::{Ended, Grants, Marker, Moment, Name, Record, Retiring, RetiringState, TokenId},
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    pub(super) async fn revoke_stray(
        &self,
        name: &Name,
        id: &TokenId,
        marker: &Marker,
        report: &mut Report,
    ) -> ChangeOutcome {
        self.spend_request();
        if let Err(error) = self.server.revoke(id).await {
            return end_failed(name, id, &error, report);
        }
        tracing::info!(%name, %id, server = %self.name, "ended a token that was minted and lost");
        let Moment { at, boot } = self.moment();
        let ended = Ended {
            id: id.clone(),
            server: self.key.clone(),
            marker: Some(marker.clone()),
            at,
            boot,
            unused: false,
        };
        let note = |record: &mut Record| {
            record.ended.retain(|known| known.id != ended.id);
            record.ended.push(ended);
        };
        self.seal_change(name, report, note).await;
        ChangeOutcome::Done
    }

    /// Rules 9 and 20. Looks once more before: a token may have been promoted since the plan was made, or the name put
    /// back into the list.
    pub(super) async fn end(
        &self,
        name: &Name,
        id: &TokenId,
        why: EndWhy,
        report: &mut Report,
    ) -> ChangeOutcome {
        let record = self.shared.ledger.record(name);
        let stands = record.as_ref().is_some_and(|record| match why {
            EndWhy::Overlap => self.is_over(record, id),
            EndWhy::Removed => record.removed.is_some() && !self.shared.specs().contains_key(name),
        });
        // Perhaps they have turned out to be another machine's as well.
        if !stands || !record.is_some_and(|record| has_of_ours(&record, id)) {
            return ChangeOutcome::Skipped;
        }
        self.spend_request();
        if let Err(error) = self.server.revoke(id).await {
            if error.may_have_been_done() {
                self.note_asked(name, id, report).await;
            }
            return end_failed(name, id, &error, report);
        }
        match why {
            EndWhy::Overlap => {
                tracing::info!(%name, %id, server = %self.name, "overlap is over, ended the former token");
            }
            EndWhy::Removed => {
                tracing::info!(%name, %id, server = %self.name, "left the list, ended its token")
            }
        }
        self.note_ended(name, id, report).await;
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

    /// Seals that nobody may count on a former token any more, although the server shows it alive.
    async fn note_asked(&self, name: &Name, id: &TokenId, report: &mut Report) {
        let is_it =
            |retiring: &&mut Retiring| retiring.held.id == *id && retiring.state == RetiringState::Overlap;
        let note = |record: &mut Record| {
            record
                .retiring
                .iter_mut()
                .filter(is_it)
                .for_each(|retiring| retiring.state = RetiringState::Revoking);
        };
        if let Err(error) = self.change(name, note).await {
            fail(report, error.to_string());
        }
    }

    /// Seals that a token has ended. If that fails, the list will show it.
    pub(super) async fn note_ended(&self, name: &Name, id: &TokenId, report: &mut Report) {
        let now = self.moment();
        self.seal_change(name, report, |record| set_aside(record, id, Gone::Ended, &now)).await;
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
        let record = self.shared.ledger.record(name);
        if !record.is_some_and(|record| has_of_ours(&record, id)) {
            return ChangeOutcome::Skipped;
        }
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
            let what =
                format!("token {name}: {id} was to get {grants}, the server answers that it has {has}");
            fail(report, what);
            return ChangeOutcome::Failed;
        }
        tracing::info!(%name, %id, server = %self.name, "may now {grants}");
        let now = self.moment();
        let specs = self.shared.specs();
        let wanted = specs.get(name).map(|spec| &spec.grants);
        let covered = wanted.is_none_or(|wanted| wanted.cover(grants));
        let note = |record: &mut Record| {
            let is_current = record.current.as_ref().is_some_and(|held| held.id == *id);
            record.held_mut().filter(|held| held.id == *id).for_each(|held| held.grants = grants.clone());
            if is_current {
                note_surplus(record, wanted.filter(|_| !covered), &now);
            }
        };
        self.seal_change(name, report, note).await;
        ChangeOutcome::Done
    }

    /// Takes a name of which nothing is left out of the store.
    pub(super) async fn drop_record(&self, name: &Name, report: &mut Report) {
        match self.shared.ledger.forget(name).await {
            Ok(()) => {
                tracing::info!(%name, "left the list long ago, is not known any more");
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
fn end_failed(name: &Name, id: &TokenId, error: &ServerError, report: &mut Report) -> ChangeOutcome {
    fail(report, format!("token {name}: {error}"));
    let matter = Matter::EndFails { id: id.clone(), why: error.kind.to_string() };
    report.failed.push(Finding { name: Some(name.clone()), matter });
    ChangeOutcome::Failed
}
