//! One mint: intend, mint, seal (rules 1 and 2).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Failures, Keeper, Report, steps::Pass};
use crate::{
    deliver::Deliver,
    influxdb::{ErrorKind, LabelEcho, MintError, Minted, Order, RefusalCode, Server, ServerError},
    lifecycle::{
        Clock,
        claims::{Believed, believe},
        ledger::ChangeError,
        plan::{Finding, Matter, MintReason},
        schedule::{Stake, backoff},
    },
    model::{
        Allow, AttemptKind, Event, Expiry, Held, Intent, Label, Marker, Name, Origin, Record, Spec, Time,
        TokenId, after, since,
    },
    store::Store,
};

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Mints a token and seals it as `next`. Halts the mints of a pass where the server shows that the others would fare no
    /// better.
    pub(super) async fn mint(
        &self,
        name: &Name,
        why: MintReason,
        pass: &Pass<'_>,
        report: &mut Report,
    ) -> Result<(), MintFailure> {
        // The list may have given it to another server since this was planned (rule 12).
        let is_here = |spec: &&Spec| spec.server == self.name && spec.key == self.key;
        #[cfg(test)]
        let is_here =
            |spec: &&Spec| is_here(spec) || self.mutant == Some(super::KeeperMutant::MintsForOthers);
        let specs = self.shared.specs();
        let Some(spec) = specs.get(name).filter(is_here).cloned() else {
            return Ok(());
        };
        let marker = Marker::from_bits((self.shared.chance)());
        let order = self.order(&spec, &marker);
        self.intend(&spec, &marker, why).await.map_err(|error| {
            self.note_failure(name, error.to_string(), Wait::OfOurs);
            MintFailure::from(error.to_string())
        })?;
        if pass.signals.is_stopping() {
            // It came while the intent was sealed: nothing has been asked for yet, and nothing will be.
            self.close_intent(name, Event::MintUnsent(marker)).await;
            return Ok(());
        }
        let _in_flight = InFlight::new(self, &marker);
        let error = match self.server.mint(&order).await {
            Ok(minted) if minted.label == LabelEcho::Lost => {
                pass.halted.store(true, Ordering::Relaxed);
                return self.refuse(name, &order, &minted.id).await;
            }
            Ok(minted) => {
                self.note_zoneless(minted.zoneless);
                report.findings.extend(oddities(name, &minted));
                return self.seal(&spec, &order, minted, why).await;
            }
            Err(error) => error,
        };
        if let MintError::NotMinted(error) = &error {
            let was_heard = was_heard(error);
            let event = if was_heard { Event::MintRefused(marker) } else { Event::MintUnsent(marker) };
            self.close_intent(name, event).await;
        }
        let (MintError::NotMinted(error) | MintError::Unknown(error)) = error;
        if concerns_all(&error) {
            pass.halted.store(true, Ordering::Relaxed);
        }
        self.note_failure(name, error.kind.to_string(), Wait::of(&error));
        tracing::error!(%name, "{error}");
        Err(format!("token {name}: {error}").into())
    }

    /// One that stays costs nothing: a later list shows that nothing came of it.
    async fn close_intent(&self, name: &Name, event: Event) {
        if let Err(error) = self.apply(name, vec![event]).await {
            tracing::warn!("{error}");
        }
    }

    fn order(&self, spec: &Spec, marker: &Marker) -> Order {
        let instance = self.shared.ledger.instances().current;
        let label = Label { instance, name: spec.name.clone(), marker: marker.clone() };
        let descriptor = self.server.descriptor();
        Order {
            description: descriptor.label.text(&label, &spec.description),
            grants: spec.grants.clone(),
            lifetime: spec.lifetime.filter(|_| descriptor.expiry != Expiry::None),
            at: self.now(),
            marker: marker.clone(),
        }
    }

    async fn intend(&self, spec: &Spec, marker: &Marker, why: MintReason) -> Result<(), ChangeError> {
        let now = self.moment();
        let kind = match why.is_explained() || self.is_asked_for(&spec.name) {
            true => AttemptKind::Explained,
            false => AttemptKind::Unexplained,
        };
        let intent = Box::new(Intent {
            marker: marker.clone(),
            server: self.key.clone(),
            deadline: after(now.at, self.settings.timeout),
            boot: now.boot.clone().map(|boot| boot.later(self.settings.timeout)),
            secret: None,
        });
        let new = Some(self.new_record(&spec.name, spec.allow.clone()));
        let events = vec![Event::Intended { intent, grants: spec.grants.clone(), kind }];
        self.shared.ledger.apply(&spec.name, new, events, now).await.map(drop)
    }

    /// A name of which nothing is known yet.
    pub(super) fn new_record(&self, name: &Name, allow: Arc<Allow>) -> Record {
        // Up to a tenth, drawn once: drawn anew at each start it would move the due moment each time.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let jitter = (self.shared.share() * 1000.0) as u16;
        Record::new(name.clone(), allow, jitter)
    }

    /// Rule 1. Nothing else happens to the secret before it is sealed; if it cannot be, it is revoked.
    async fn seal(
        &self,
        spec: &Spec,
        order: &Order,
        minted: Minted,
        why: MintReason,
    ) -> Result<(), MintFailure> {
        let name = &spec.name;
        let held = self.held(order, minted);
        let id = &held.id;
        // A person may have asked while it was minted.
        let is_asked_for = why == MintReason::Asked || self.is_asked_for(name);
        let mut events = vec![Event::Minted {
            held: Box::new(held.clone()),
            after_refusal: why == MintReason::Refused && !is_asked_for,
        }];
        if is_asked_for {
            events.push(Event::WishFulfilled);
        }
        let Err(first) = self.seal_minted(spec, events.clone()).await else {
            self.note_sealed(name, order, &held);
            return Ok(());
        };
        tracing::warn!(%name, %id, "cannot seal, retrying: {first}");
        let Err(second) = self.seal_minted(spec, events).await else {
            self.note_sealed(name, order, &held);
            return Ok(());
        };
        self.note_failure(name, second.to_string(), Wait::OfOurs);
        let revoked = self.server.revoke(id).await;
        // The store may have it all the same: nobody is to get it, however late its revocation comes.
        if let Err(error @ ChangeError::Seal(_)) = self.apply(name, vec![Event::Revoked(id.clone())]).await {
            tracing::warn!("{error}");
        }
        let told = match revoked {
            Ok(()) => format!("token {name}: minted {id}, could not seal it and revoked it again: {second}"),
            Err(revoke) => format!(
                "token {name}: minted {id}, could neither seal it ({second}) nor revoke it ({revoke}), retrying later"
            ),
        };
        tracing::error!("{told}");
        Err(told.into())
    }

    /// A token without our label is found again by nobody: it is revoked. That it is to be is sealed first, and repeated
    /// by later passes.
    async fn refuse(&self, name: &Name, order: &Order, id: &TokenId) -> Result<(), MintFailure> {
        let (id, marker) = (id.clone(), order.marker.clone());
        let event = Event::MintedUnlabelled { id: id.clone(), server: self.key.clone(), marker };
        let sealed = self.apply(name, vec![event]).await;
        let why = format!(
            "the server changed a {} of {} characters, its label is lost",
            self.server.descriptor().label,
            order.description.chars().count()
        );
        self.note_failure(name, why.clone(), Wait::Lasting);
        let revoked = self.server.revoke(&id).await;
        let outcome = match (&revoked, &sealed) {
            (Ok(()), _) => "revoked it".to_owned(),
            (Err(error), Ok(_)) => format!("it is revoked later ({})", error.kind),
            (Err(error), Err(seal)) => format!("cannot revoke it ({}), nor seal that ({seal})", error.kind),
        };
        let what = format!("token {name}: {why}; minted {id}, {outcome}");
        let hint = "make `description` shorter, or have the server keep descriptions as they are".to_owned();
        tracing::error!("{what}");
        tracing::error!("hint: {hint}");
        Err(MintFailure { what, hint: Some(hint) })
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
        let was_to_live_on = order.lifetime.is_none() && held.expires_at.is_some();
        if held.was_to_expire_at.is_some() || was_to_live_on {
            let [asked, told] = [held.was_to_expire_at, held.expires_at].map(in_words);
            tracing::warn!(%name, %id, server = %self.name, "expiry {asked} requested, the server set {told}");
        }
        if let Some(claimed) = held.claimed_created_at {
            let date = held.created_at;
            tracing::warn!(%name, %id, server = %self.name, "the server reports a creation at {claimed:.0} in an answer dated {date:.0}, the date counts");
        }
    }

    async fn seal_minted(&self, spec: &Spec, events: Vec<Event>) -> Result<(), ChangeError> {
        let new = Some(Record::new(spec.name.clone(), spec.allow.clone(), 0));
        self.shared.ledger.apply(&spec.name, new, events, self.moment()).await.map(drop)
    }

    fn held(&self, order: &Order, minted: Minted) -> Held {
        let now = minted.date.time().unwrap_or_else(|| self.now());
        let expiry = self.server.descriptor().expiry;
        let Believed { created_at, claimed_created_at, expires_at, was_to_expire_at } =
            believe(minted.created_at, minted.expires_at, now, order, expiry);
        Held {
            id: minted.id,
            server: self.key.clone(),
            marker: Some(order.marker.clone()),
            secret: minted.secret,
            grants: minted.grants,
            created_at,
            claimed_created_at,
            expires_at,
            was_to_expire_at,
            origin: Origin::Minted,
        }
    }

    /// The name waits before it is minted again: longer after each failure, and as long as the server asked within the
    /// bounds of rule 10.
    fn note_failure(&self, name: &Name, why: String, wait: Wait) {
        let boot = self.shared.clock.since_boot();
        let now = self.now();
        let current = self.shared.ledger.record(name).and_then(|record| record.current.clone());
        let remaining = current.as_ref().and_then(|held| held.expires_at).map(|at| since(now, at));
        let chance = self.shared.share();
        let mut state = self.state();
        let count = state.failures.get(name).map_or(0, |failures| failures.count) + 1;
        let stake = Stake { has_current: current.is_some(), remaining };
        let wait = match wait {
            Wait::OfOurs => backoff(count, stake, false, chance),
            Wait::Lasting => backoff(count, stake, true, chance),
            Wait::AsAsked(asked) => backoff(count, stake, false, chance).max(self.within(asked, stake)),
        };
        let failures = Failures { count, why, not_before: boot + wait, until: after(now, wait) };
        state.failures.insert(name.clone(), failures);
    }

    /// What is to be found of a name whose mint has just failed.
    pub(super) fn waits_to_mint(&self, name: Name) -> Option<Finding> {
        let failed = self.state().failures.get(&name)?.waits(self.shared.clock.since_boot())?;
        Some(Finding { name: Some(name), matter: Matter::waits_to_mint(&failed) })
    }
}

/// Why there is no new token.
#[derive(Debug)]
pub(super) struct MintFailure {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl From<String> for MintFailure {
    fn from(what: String) -> Self {
        Self { what, hint: None }
    }
}

/// How long a name waits after a failure.
#[derive(Clone, Copy)]
enum Wait {
    /// Longer each time: the fault is here.
    OfOurs,
    /// The longest at once: somebody has to change something.
    Lasting,
    /// Longer each time, and as long as the server asks for.
    AsAsked(Duration),
}

impl Wait {
    fn of(error: &ServerError) -> Self {
        if error.needs_a_person() {
            return Self::Lasting;
        }
        Self::AsAsked(error.retry_after().unwrap_or_default())
    }
}

/// What of the answer to a mint cannot be as it stands.
fn oddities(name: &Name, minted: &Minted) -> Vec<Finding> {
    let odd = |what: &String| Finding { name: Some(name.clone()), matter: Matter::OddAnswer(what.clone()) };
    minted.oddities.iter().map(odd).collect()
}

fn in_words(expires_at: Option<Time>) -> String {
    expires_at.map_or_else(|| "none".to_owned(), |at| format!("{at:.0}"))
}

/// Whether the next mint would fare no better: the server is away, overloaded, or does not know us.
fn concerns_all(error: &ServerError) -> bool {
    match &error.kind {
        ErrorKind::Status { status, .. } => matches!(status, 401 | 403 | 404 | 429 | 500..=599),
        ErrorKind::Refused { code, .. } => *code == RefusalCode::PermissionDenied,
        ErrorKind::Nonsense(_)
        | ErrorKind::UnknownShape { .. }
        | ErrorKind::TooLarge(_)
        | ErrorKind::Cut(_) => false,
        _ => true,
    }
}

/// Whether it is the server that refuses, which may be wrong about what it has done.
fn was_heard(error: &ServerError) -> bool {
    error.status().is_some() || matches!(error.kind, ErrorKind::Refused { .. })
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
