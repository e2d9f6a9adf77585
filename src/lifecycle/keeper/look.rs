//! Looking at a server: its list, and what would follow from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Keeper, State, Unanswered};
use crate::{
    deliver::Deliver,
    influxdb::{Interest, Server, ServerError},
    lifecycle::{
        Clock,
        now::{NoTime, agree, judging_time, latest_sealed},
        plan::{self, Plan, Retirement, View},
    },
    model::{
        Databases, Known, Label, Listed, Listing, Moment, Name, Origin, Spec, Time, TokenId, Word, after,
    },
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// What the next pass would do, and the list it would rest on. Asks the server, changes nothing.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn look(&self) -> Result<(Plan, Listing), Unanswered> {
        let listing = self.list().await?;
        let plan = self.plan(&listing).await?;
        Ok((plan, listing))
    }

    pub(super) async fn list(&self) -> Result<Listing, Unanswered> {
        // Rule 13: whatever a list says of them, these tokens are set apart first.
        if self.shared.ledger.is_shared() {
            self.shared.ledger.disown(&self.moment()).await?;
        }
        let instances = self.shared.ledger.instances();
        let instances: Vec<_> =
            std::iter::once(instances.current.clone()).chain(instances.former.clone()).collect();
        self.spend_request();
        let listing = self.server.list(&Interest { ids: &self.known_ids(), instances: &instances }).await?;
        self.note_zoneless(listing.zoneless);
        let since_boot = self.shared.clock.since_boot();
        // Before anything is forgotten of the list before: others may be asking what time it is.
        let judged = self.judge(&listing);
        // As it is now: what was sealed since the question has its evidence already.
        let held = self.known_ids();
        let mut state = self.state();
        // Most passes find the same tokens as the one before.
        if !Arc::ptr_eq(&state.seen, &held) {
            state.evidence.probes.retain(|id, _| held.contains(id));
            state.evidence.imported.retain(|id, _| held.contains(id));
            state.seen = held;
        }
        state.server_failures = 0;
        match (&judged, state.date) {
            (Ok(now), Some((date, at))) => {
                state.evidence.forget_if_jumped(after(date, since_boot.saturating_sub(at)), *now);
            }
            // The next moment that can be judged may be any.
            (Err(_), _) => state.evidence.forget(),
            (Ok(_), None) => {}
        }
        state.date = judged.as_ref().ok().map(|now| (*now, since_boot));
        let now = judged?;
        state.evidence.first_list.get_or_insert(now);
        let boot = self.shared.clock.boot_time();
        let agreed = agree(now, self.shared.clock.now());
        state.evidence.anchor(Moment { at: now, boot }, agreed);
        drop(state);
        self.shared.listed().insert(self.key.clone());
        Ok(listing)
    }

    /// Logs once that the server's times have no zone.
    pub(super) fn note_zoneless(&self, zoneless: bool) {
        if zoneless && !std::mem::replace(&mut self.state().knows_zoneless, true) {
            tracing::warn!(server = %self.name, "the server's times have no zone, reading them as UTC");
        }
    }

    /// The ids of all tokens in our hands.
    fn known_ids(&self) -> Arc<BTreeSet<TokenId>> {
        let known = self.shared.ledger.known();
        let mut state = self.state();
        // Most passes change no record.
        if !Arc::ptr_eq(&state.held.0, &known) {
            let records = known.values().filter_map(Known::record);
            let ids = records.flat_map(|record| {
                let revoked = record.revoked.iter().map(|revoked| &revoked.id);
                record.held().map(|held| &held.id).chain(revoked).cloned()
            });
            let ids = ids.collect();
            state.held = (known, Arc::new(ids));
        }
        state.held.1.clone()
    }

    fn judge(&self, listing: &Listing) -> Result<Time, NoTime> {
        let clock = &self.shared.clock;
        let sealed = latest_sealed(self.shared.ledger.known().values());
        judging_time(
            &listing.date,
            clock.now(),
            clock.is_synchronised(),
            self.settings.lifecycle.trust_local_clock,
            sealed,
        )
    }

    /// Plans; where the plan needs the databases, asks for them and plans again.
    async fn plan(&self, listing: &Listing) -> Result<Plan, ServerError> {
        self.ask_for_holders().await;
        let plan = self.plan_with(listing, &Databases::NotAsked);
        let plan = if plan.needs_databases() {
            self.spend_request();
            let databases = match self.server.databases().await {
                Ok(databases) => {
                    self.state().databases.clone_from(&databases);
                    Databases::Known(databases)
                }
                // That will not change by asking again.
                Err(error) if error.is_unable() => Databases::Unlistable(error.kind.to_string()),
                Err(error) => return Err(error),
            };
            self.plan_with(listing, &databases)
        } else {
            plan
        };
        let now = self.now();
        let mut state = self.state();
        state.evidence.note_not_live(&plan.not_live, now);
        state.evidence.unknown_since.retain(|id, _| plan.unknown.contains(id));
        for id in &plan.unknown {
            state.evidence.unknown_since.entry(id.clone()).or_insert(now);
        }
        Ok(plan)
    }

    fn plan_with(&self, listing: &Listing, databases: &Databases) -> Plan {
        self.with_view(listing, databases, |view| {
            #[cfg_attr(not(test), expect(unused_mut, reason = "only tests break plans"))]
            let mut plan = plan::plan(view);
            #[cfg(test)]
            if let Some(tamper) = self.tamper {
                tamper(&mut plan, view);
            }
            plan
        })
    }

    /// Everything the plan looks at, as it is now.
    fn with_view<R>(&self, listing: &Listing, databases: &Databases, look: impl FnOnce(&View<'_>) -> R) -> R {
        let instances = self.shared.ledger.instances();
        let specs = self.shared.specs();
        let records = self.shared.ledger.known();
        let Moment { at: now, boot } = self.moment();
        let mut state = self.state();
        self.gather(&mut state, &specs, &records, now);
        look(&View {
            now,
            boot: boot.as_ref(),
            server: &self.name,
            key: &self.key,
            instance: &instances.current,
            former: &instances.former,
            specs: &specs,
            records: &records,
            listing,
            databases,
            descriptor: self.server.descriptor(),
            evidence: &state.evidence,
            lifecycle: &self.settings.lifecycle,
        })
    }

    /// Brings the evidence up to now.
    fn gather(
        &self,
        state: &mut State,
        specs: &BTreeMap<Name, Spec>,
        records: &BTreeMap<Name, Known>,
        now: Time,
    ) {
        let boot = self.shared.clock.since_boot();
        let waiting = state
            .failures
            .iter()
            .filter_map(|(name, failures)| Some((name.clone(), failures.waits(boot)?)))
            .collect();
        state.evidence.waiting = waiting;
        // As much as can be told of how long an imported one has been probed: it may be older than this store.
        for next in records.values().filter_map(|known| known.record()?.next.as_ref()) {
            if matches!(next.origin, Origin::Imported { .. }) {
                state.evidence.imported.entry(next.id.clone()).or_insert(now);
            }
        }
        // What has left the list, or this server, since it was asked for is nothing to wait for.
        state.evidence.asked.retain(|name| specs.get(name).is_some_and(|spec| spec.server == self.name));
        // A word holds for as long as there is what it was given for.
        state.evidence.confirmed.retain(|name, word| match (word, specs.get(name)) {
            // To this server: should the list move it on, that is another question.
            (Word::Move, Some(spec)) => spec.server == self.name && spec.key == self.key,
            (Word::Revoke, spec) => spec.is_none(),
            (Word::Move, None) => false,
        });
        state.evidence.delivered = self.shared.delivered();
    }

    /// Live tokens that bear this store's label and are in no record, with that label; whether it names a former
    /// instance. Not those that are being minted just now.
    pub fn unrecorded(&self, listing: &Listing) -> Vec<(Listed, Label, bool)> {
        self.with_view(listing, &Databases::NotAsked, |view| {
            view.orphans()
                .filter(|(_, label)| !view.evidence.in_flight.contains(&label.marker))
                .map(|(row, label)| (row.clone(), label.clone(), label.instance != *view.instance))
                .collect()
        })
    }

    /// What there is of this instance on this server; unknown tokens are revoked only where a person named them.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn retirement(&self, also: &[TokenId]) -> Result<Retirement, Unanswered> {
        let listing = self.list().await?;
        Ok(self.with_view(&listing, &Databases::NotAsked, |view| plan::retirement(view, also)))
    }

    /// Revokes a live token that is in no record, cutting off its users.
    ///
    /// # Errors
    /// The server did not revoke it.
    pub async fn revoke_unrecorded(&self, id: &TokenId) -> Result<(), ServerError> {
        self.server.revoke(id).await
    }
}
