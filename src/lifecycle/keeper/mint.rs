//! One mint: intend, mint, seal (rules 1 and 2).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{Failures, Keeper, Signals};
use crate::{
    deliver::Deliver,
    influxdb::{ErrorKind, MintError, Minted, Order, Server, ServerError},
    lifecycle::{
        Clock,
        keeper::steps::retire,
        ledger::ChangeError,
        plan::{Finding, Matter, Why, after, since},
        schedule::{Stake, backoff},
    },
    model::{Allow, Held, Intent, Label, Marker, Name, Origin, Record, RetiringState, Spec, Time},
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Mints a token and seals it as `next`. Sets `halted` where the server shows that it mints nothing now.
    pub(super) async fn mint(
        &self,
        name: &Name,
        why: Why,
        halted: &AtomicBool,
        signals: &Signals,
    ) -> Result<(), String> {
        let Some(spec) = self.shared.specs().get(name).cloned() else {
            return Ok(());
        };
        let marker = Marker::from_bits((self.shared.chance)());
        let order = self.order(&spec, &marker);
        self.intend(&spec, &marker).await.map_err(|error| {
            self.note_failure(name, error.to_string(), None);
            error.to_string()
        })?;
        if signals.is_stopping() {
            // It came while the intent was sealed: nothing has been asked for yet, and nothing will be.
            self.forget_intent(name, &marker).await;
            return Ok(());
        }
        let _in_flight = InFlight::new(self, &marker);
        let error = match self.server.mint(&order).await {
            Ok(minted) => return self.seal(&spec, &order, minted, why).await,
            Err(error) => error,
        };
        if let MintError::NotMinted(_) = error {
            self.forget_intent(name, &marker).await;
        }
        let (MintError::NotMinted(error) | MintError::Unknown(error)) = error;
        if concerns_all(&error) {
            halted.store(true, Ordering::Relaxed);
        }
        self.note_failure(name, error.kind.to_string(), Some(&error));
        tracing::error!(%name, "{error}");
        Err(format!("token {name}: {error}"))
    }

    /// One that stays costs nothing: a later list shows that nothing came of it.
    async fn forget_intent(&self, name: &Name, marker: &Marker) {
        if let Err(error) = self.change(name, |record| drop_intent(record, marker)).await {
            tracing::warn!("{error}");
        }
    }

    fn order(&self, spec: &Spec, marker: &Marker) -> Order {
        let instance = self.shared.ledger.instances().current;
        let label = Label { instance, name: spec.name.clone(), marker: marker.clone() };
        let expires_at = spec
            .lifetime
            .filter(|_| self.server.capabilities().expiry)
            .and_then(|lifetime| Time::from_second(after(self.now(), lifetime).as_second()).ok());
        Order {
            description: label.follow(&spec.description),
            grants: spec.grants.clone(),
            expires_at,
            marker: marker.clone(),
        }
    }

    async fn intend(&self, spec: &Spec, marker: &Marker) -> Result<(), ChangeError> {
        let now = self.moment();
        let intent = Intent {
            marker: marker.clone(),
            server: self.key.clone(),
            deadline: after(now.at, self.settings.timeout),
            boot: now.boot.map(|boot| boot.later(self.settings.timeout)),
            secret: None,
        };
        let new = || self.new_record(&spec.name, spec.allow.clone());
        self.shared.ledger.change(&spec.name, new, |record| record.intents.push(intent)).await.map(drop)
    }

    /// A name of which nothing is known yet.
    pub(super) fn new_record(&self, name: &Name, allow: Allow) -> Record {
        // Up to a tenth, drawn once: drawn anew at each start it would move the due moment each time.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let jitter = (self.shared.share() * 1000.0) as u16;
        Record::new(name.clone(), allow, jitter)
    }

    /// Rule 1. Nothing else happens to the secret before it is sealed; if it cannot be, it is ended.
    async fn seal(&self, spec: &Spec, order: &Order, minted: Minted, why: Why) -> Result<(), String> {
        let name = &spec.name;
        let now = self.moment();
        let held = self.held(order, minted);
        // A person may have asked while it was minted.
        let why = if self.is_asked_for(name) { Why::Asked } else { why };
        let take_in = |record: &mut Record| {
            drop_intent(record, &order.marker);
            // A sealed `next` that is already this one: the first try got further than it knew.
            if record.held().any(|known| known.id == held.id) {
                return;
            }
            let former = record.next.replace(held.clone());
            retire(record, former, 0, RetiringState::Overlap, &now);
            match why {
                Why::Gone => record.replaced.push(now.at),
                Why::Refused => {
                    record.replaced.push(now.at);
                    record.remints.push(now.at);
                }
                Why::Asked => {
                    record.replaced.clear();
                    record.suspended = false;
                }
                Why::Missing | Why::Inherited | Why::Due | Why::Grants => {}
            }
        };
        let Err(first) = self.take_in(spec, &take_in).await else {
            self.note_sealed(name, order, &held);
            return Ok(());
        };
        let id = &held.id;
        tracing::warn!(%name, %id, "cannot seal, trying once more: {first}");
        let Err(second) = self.take_in(spec, &take_in).await else {
            self.note_sealed(name, order, &held);
            return Ok(());
        };
        self.note_failure(name, second.to_string(), None);
        let told = match self.server.revoke(id).await {
            Ok(()) => format!("token {name}: minted {id}, could not seal it and ended it again: {second}"),
            Err(revoke) => format!(
                "token {name}: minted {id}, could neither seal it ({second}) nor end it ({revoke}); it is ended later"
            ),
        };
        tracing::error!("{told}");
        Err(told)
    }

    fn note_sealed(&self, name: &Name, order: &Order, held: &Held) {
        let mut state = self.state();
        state.failures.remove(name);
        // Whatever it was minted for: it is a value that nobody has had.
        state.evidence.asked.remove(name);
        drop(state);
        let id = &held.id;
        tracing::info!(%name, %id, server = %self.name, "minted and sealed");
        // The server's word is what is sealed, whatever was asked: it says how long the token works.
        if !is_same_second(order.expires_at, held.expires_at) {
            let [asked, told] = [order.expires_at, held.expires_at].map(in_words);
            tracing::warn!(%name, %id, server = %self.name, "the expiry asked for is {asked}, the server's is {told}");
        }
    }

    async fn take_in(&self, spec: &Spec, take_in: &impl Fn(&mut Record)) -> Result<(), ChangeError> {
        let new = || Record::new(spec.name.clone(), spec.allow.clone(), 0);
        self.shared.ledger.change(&spec.name, new, take_in).await.map(drop)
    }

    fn held(&self, order: &Order, minted: Minted) -> Held {
        let differs = !is_same_second(order.expires_at, minted.expires_at);
        Held {
            id: minted.id,
            server: self.key.clone(),
            marker: Some(order.marker.clone()),
            secret: minted.secret,
            grants: minted.grants,
            created_at: minted.created_at.unwrap_or_else(|| self.now()),
            expires_at: minted.expires_at,
            was_to_expire_at: order.expires_at.filter(|_| differs),
            origin: Origin::Minted,
        }
    }

    /// The name waits before it is minted again: longer after each failure, and as long as the server asked.
    fn note_failure(&self, name: &Name, why: String, error: Option<&ServerError>) {
        let boot = self.shared.clock.since_boot();
        let now = self.now();
        let current = self.shared.ledger.record(name).and_then(|record| record.current.clone());
        let remaining = current.as_ref().and_then(|held| held.expires_at).map(|at| since(now, at));
        let chance = self.shared.share();
        let mut state = self.state();
        let count = state.failures.get(name).map_or(0, |failures| failures.count) + 1;
        let stake = Stake { has_current: current.is_some(), remaining };
        let lasts = error.is_some_and(ServerError::needs_a_person);
        let asked = error.and_then(ServerError::retry_after).unwrap_or_default();
        let wait = backoff(count, stake, lasts, chance).max(asked);
        let failures = Failures { count, why, not_before: boot + wait, until: after(now, wait) };
        state.failures.insert(name.clone(), failures);
    }

    /// What is to be found of a name whose mint has just failed.
    pub(super) fn waits_to_mint(&self, name: Name) -> Option<Finding> {
        let failed = self.state().failures.get(&name)?.waits(self.shared.clock.since_boot())?;
        Some(Finding { name: Some(name), matter: Matter::waits_to_mint(&failed) })
    }
}

/// Servers may round what they are asked for.
fn is_same_second(asked: Option<Time>, told: Option<Time>) -> bool {
    match (asked, told) {
        (Some(asked), Some(told)) => asked.duration_since(told).unsigned_abs() < Duration::from_secs(1),
        (asked, told) => asked == told,
    }
}

fn in_words(expires_at: Option<Time>) -> String {
    expires_at.map_or_else(|| "none".to_owned(), |at| format!("{at:.0}"))
}

fn drop_intent(record: &mut Record, marker: &Marker) {
    record.intents.retain(|intent| intent.marker != *marker);
}

/// Whether the next mint would fare no better: the server is away, overloaded, or does not know us.
fn concerns_all(error: &ServerError) -> bool {
    match &error.kind {
        ErrorKind::Status { status, .. } => matches!(status, 401 | 403 | 404 | 429 | 500..=599),
        ErrorKind::Nonsense(_) | ErrorKind::TooLarge(_) | ErrorKind::Cut(_) => false,
        _ => true,
    }
}

/// While a mint is under way its marker is nobody's stray.
struct InFlight<'a, S, T, D, C> {
    keeper: &'a Keeper<S, T, D, C>,
    marker: Marker,
}

impl<'a, S: Server, T: Store, D: Deliver, C: Clock> InFlight<'a, S, T, D, C> {
    fn new(keeper: &'a Keeper<S, T, D, C>, marker: &Marker) -> Self {
        keeper.state().evidence.in_flight.insert(marker.clone());
        Self { keeper, marker: marker.clone() }
    }
}

impl<S, T, D, C> Drop for InFlight<'_, S, T, D, C> {
    fn drop(&mut self) {
        let mut state = self.keeper.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.evidence.in_flight.remove(&self.marker);
    }
}
