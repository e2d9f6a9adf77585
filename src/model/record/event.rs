//! A token's whole life: the events that change a record, and what each one changes. Pure.

use std::{sync::Arc, time::Duration};

use super::{Contents, Gone, Held, Intent, Origin, Record, RecordVersion, Retiring, RetiringState, Revoked};
use crate::model::{
    Allow, AttemptKind, Grants, MINT_MEMORY, Marker, MintAttempt, Moment, Name, ServerKey, TokenId, after,
    remember_mint, since,
};

/// What happens to a record. The numbers are those of the rules that keep tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The list says who may read the value (20: what it drops is dropped at once).
    Allowed(Arc<Allow>),
    /// The name left the list (20).
    Removed,
    /// The name is back in the list (20).
    PutBack,
    /// A mint is about to be requested (2).
    Intended {
        /// With the marker of the mint.
        intent: Box<Intent>,
        /// What the token is to do.
        grants: Grants,
        /// How the mint counts for the brake (11).
        kind: AttemptKind,
    },
    /// The request was not sent: no token can come of it (2).
    MintUnsent(Marker),
    /// The server refused the mint, or its list lacks the token: the marker stays known (3).
    MintRefused(Marker),
    /// A token was minted: it becomes `next` (1).
    Minted {
        /// The token.
        held: Box<Held>,
        /// It replaces a `next` that the server refused for too long (6).
        after_refusal: bool,
    },
    /// A token was minted without its label: nobody has its secret, and it is to be revoked (3).
    MintedUnlabelled {
        /// The server's id for it.
        id: TokenId,
        /// Where it lives.
        server: ServerKey,
        /// What its label was to say.
        marker: Marker,
    },
    /// A token that was made by hand becomes `next` (8).
    Imported(Box<Held>),
    /// `next` becomes current (6).
    Promoted {
        /// The token.
        id: TokenId,
        /// The server accepted it.
        probed: bool,
        /// The list's.
        lifetime: Option<Duration>,
    },
    /// A person has the new value he asked for: earlier mints count no more (11), the schedule is in force again.
    WishFulfilled,
    /// The current token, promoted unprobed, is accepted (6).
    Accepted,
    /// The new value reached the consumers late: the overlap of values after this one begins now (9).
    DeliveredLate {
        /// The generation that the consumers had until now.
        had: u64,
    },
    /// The list asks for a lifetime that the current token has outlived already (21).
    Shortened,
    /// What a token may do has changed, by us or by somebody else (21).
    GrantsChanged {
        /// The token.
        id: TokenId,
        /// What it may do now.
        grants: Grants,
    },
    /// The current token may do more than this, which the list asks for (21); none: it does not any more.
    SurplusNoted(Option<Grants>),
    /// A token is gone (4).
    Gone {
        /// The token.
        id: TokenId,
        /// How that is known.
        how: Gone,
    },
    /// A retiring token that works becomes current again (4).
    Reinstated(TokenId),
    /// A person undid a rotation: the former token is current, the schedule suspended.
    Undone(TokenId),
    /// A token that others use leaves its place, as nobody here wants it any more (8, 20).
    Withdrawn(TokenId),
    /// The server is about to be asked to revoke a former token (9).
    RevocationAsked(TokenId),
    /// The server revoked a token (9, 20).
    Revoked(TokenId),
    /// The server revoked a token that is in no record (3).
    StrayRevoked {
        /// The server's id for it.
        id: TokenId,
        /// Where it lived.
        server: ServerKey,
        /// The marker in its label.
        marker: Option<Marker>,
    },
    /// A revoked token needs not be remembered any more.
    Forgotten(TokenId),
    /// The server has another address (12).
    Adopted {
        /// How the record knew it.
        from: ServerKey,
        /// As the list has it.
        to: ServerKey,
    },
    /// A person gave up what is on servers other than these.
    FormerServersForgotten(Vec<ServerKey>),
    /// The store is a copy: another machine may use its tokens (13).
    Inherited,
    /// The store was moved: what it inherited is this machine's (13).
    Claimed,
}

/// An event that a record's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token {name}: {event} is not allowed: {conflict}")]
pub struct NotAllowed {
    /// Whose record.
    pub name: Name,
    /// The event's name.
    pub event: &'static str,
    /// What stands against it.
    pub conflict: Conflict,
}

/// What stands against an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The record holds no such token.
    #[error("{0} is not held")]
    NotHeld(TokenId),
    /// Another token, or none, is in the place of `next`.
    #[error("{0} is not next")]
    NotNext(TokenId),
    /// It is no former token, or in another state.
    #[error("{0} is not retiring, or in another state")]
    NotRetiring(TokenId),
    /// There is a current token.
    #[error("{0} is current")]
    HasCurrent(TokenId),
    /// There is no current token.
    #[error("it has no current token")]
    NoCurrent,
    /// The record knows the token already.
    #[error("{0} is in the record")]
    Known(TokenId),
    /// The record knows the marker already.
    #[error("its marker is in the record")]
    MarkerKnown,
    /// No intent has the marker.
    #[error("its intent is not open")]
    NoIntent,
    /// The name left the list already.
    #[error("it left the list")]
    Removed,
    /// The name did not leave the list.
    #[error("it did not leave the list")]
    NotRemoved,
    /// Nothing of it is on that server.
    #[error("it has nothing on that server")]
    NotThere,
}

/// A value that arrives later than this after its promotion is late: its readers would lack more than a moment of the
/// overlap.
const LATE: Duration = Duration::from_millis(500);

impl Event {
    /// Its name, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Removed => "removed",
            Self::PutBack => "put back",
            Self::Intended { .. } => "intended",
            Self::MintUnsent(_) => "mint unsent",
            Self::MintRefused(_) => "mint refused",
            Self::Minted { .. } => "minted",
            Self::MintedUnlabelled { .. } => "minted unlabelled",
            Self::Imported(_) => "imported",
            Self::Promoted { .. } => "promoted",
            Self::WishFulfilled => "wish fulfilled",
            Self::Accepted => "accepted",
            Self::DeliveredLate { .. } => "delivered late",
            Self::Shortened => "shortened",
            Self::GrantsChanged { .. } => "grants changed",
            Self::SurplusNoted(_) => "surplus noted",
            Self::Gone { .. } => "gone",
            Self::Reinstated(_) => "reinstated",
            Self::Undone(_) => "undone",
            Self::Withdrawn(_) => "withdrawn",
            Self::RevocationAsked(_) => "revocation asked",
            Self::Revoked(_) => "revoked",
            Self::StrayRevoked { .. } => "stray revoked",
            Self::Forgotten(_) => "forgotten",
            Self::Adopted { .. } => "adopted",
            Self::FormerServersForgotten(_) => "former servers forgotten",
            Self::Inherited => "inherited",
            Self::Claimed => "claimed",
        }
    }

    /// Whether consumers get another value, or none, after it.
    #[must_use]
    pub fn changes_value(&self) -> bool {
        matches!(
            self,
            Self::Allowed(_)
                | Self::Promoted { .. }
                | Self::Gone { .. }
                | Self::Reinstated(_)
                | Self::Undone(_)
                | Self::Withdrawn(_)
                | Self::Revoked(_)
        )
    }
}

impl Record {
    /// The record after an event.
    ///
    /// # Errors
    /// This record's state does not allow it.
    pub fn apply(&self, event: &Event, now: &Moment) -> Result<Self, NotAllowed> {
        let mut after = self.0.clone();
        let not_allowed = |conflict| NotAllowed { name: self.name.clone(), event: event.name(), conflict };
        after.take(event, now).map_err(not_allowed)?;
        after.version = RecordVersion::CURRENT;
        Ok(Self(after))
    }
}

impl Contents {
    fn take(&mut self, event: &Event, now: &Moment) -> Result<(), Conflict> {
        match event {
            Event::Allowed(allow) => self.allow = allow.clone(),
            Event::Removed if self.removed.is_some() => return Err(Conflict::Removed),
            Event::Removed => self.removed = Some(now.clone()),
            Event::PutBack => drop(self.removed.take().ok_or(Conflict::NotRemoved)?),
            Event::Intended { intent, grants, kind } => self.intend(intent, grants, *kind, now)?,
            Event::MintUnsent(marker) => {
                self.close_intent(marker)?;
                self.mints.retain(|attempt| attempt.marker != *marker);
            }
            Event::MintRefused(marker) => self.refuse_mint(marker, now)?,
            Event::Minted { held, after_refusal } => self.minted(held, *after_refusal, now)?,
            Event::MintedUnlabelled { id, server, marker } => {
                self.is_unknown(id)?;
                _ = self.close_intent(marker);
                self.remember(id, server, Some(marker), true, now);
            }
            Event::Imported(held) => {
                self.is_unknown(&held.id)?;
                self.replace_next(held, now);
            }
            Event::Promoted { id, probed, lifetime } => {
                let next = self.next.take_if(|next| next.id == *id);
                let next = next.ok_or_else(|| Conflict::NotNext(id.clone()))?;
                self.make_current(next, now);
                (self.unprobed, self.lifetime) = (!probed, *lifetime);
            }
            Event::WishFulfilled => {
                explain(&mut self.mints);
                self.suspended = false;
            }
            Event::Accepted => {
                self.has_current()?;
                self.unprobed = false;
            }
            Event::DeliveredLate { had } => self.begin_overlaps_again(*had, now),
            Event::Shortened => {
                self.has_current()?;
                self.shortened_at = Some(now.at);
            }
            Event::GrantsChanged { id, grants } => {
                let held = self.held_mut().find(|held| held.id == *id);
                held.ok_or_else(|| Conflict::NotHeld(id.clone()))?.grants = grants.clone();
            }
            Event::SurplusNoted(wanted) => {
                self.has_current()?;
                self.note_surplus(wanted.as_ref(), now);
            }
            Event::Gone { id, how: Gone::Absent } => {
                let (held, generation) = self.take_out(id)?;
                self.retire(held, generation, RetiringState::Absent, now);
            }
            Event::Gone { id, how: Gone::Shown } | Event::Revoked(id) => {
                let (held, _) = self.take_out(id)?;
                self.revoked.push(Revoked::of(held, now));
            }
            Event::Reinstated(id) => self.reinstate(id, now)?,
            Event::Undone(id) => self.undo(id, now)?,
            Event::Withdrawn(id) => self.withdraw(id, now)?,
            Event::RevocationAsked(id) => {
                let may_be_asked = |retiring: &&mut Retiring| {
                    retiring.held.id == *id && retiring.state != RetiringState::Absent
                };
                let retiring = self.retiring.iter_mut().find(may_be_asked);
                retiring.ok_or_else(|| Conflict::NotRetiring(id.clone()))?.state = RetiringState::Revoking;
            }
            Event::StrayRevoked { id, server, marker } => {
                if self.held().any(|held| held.id == *id) {
                    return Err(Conflict::Known(id.clone()));
                }
                let unused = self.revoked.iter().any(|known| known.id == *id && known.unused);
                self.revoked.retain(|known| known.id != *id);
                self.remember(id, server, marker.as_ref(), unused, now);
            }
            Event::Forgotten(id) => {
                let known = self.revoked.iter().position(|revoked| revoked.id == *id);
                self.revoked.remove(known.ok_or_else(|| Conflict::NotHeld(id.clone()))?);
            }
            Event::Adopted { from, to } => self.adopt(from, to)?,
            Event::FormerServersForgotten(named) => self.forget_former_servers(named),
            Event::Inherited => self.inherit(),
            Event::Claimed => self.claim(),
        }
        Ok(())
    }

    /// Rule 2: no marker is used twice.
    fn intend(
        &mut self,
        intent: &Intent,
        grants: &Grants,
        kind: AttemptKind,
        now: &Moment,
    ) -> Result<(), Conflict> {
        if self.knows_marker(&intent.marker) {
            return Err(Conflict::MarkerKnown);
        }
        let (marker, at) = (intent.marker.clone(), now.clone());
        self.intents.push(intent.clone());
        remember_mint(&mut self.mints, MintAttempt { marker, at, grants: grants.clone(), kind });
        Ok(())
    }

    /// Its fate is known.
    fn close_intent(&mut self, marker: &Marker) -> Result<(), Conflict> {
        let open = self.intents.iter().position(|intent| intent.marker == *marker);
        self.intents.remove(open.ok_or(Conflict::NoIntent)?);
        Ok(())
    }

    /// Rule 3: a refusal is a claim, too: if a token comes of the mint after all, its marker is known for a day.
    fn refuse_mint(&mut self, marker: &Marker, now: &Moment) -> Result<(), Conflict> {
        self.close_intent(marker)?;
        self.mints.retain(|attempt| attempt.marker != *marker);
        let (marker, at, grants) = (marker.clone(), now.clone(), Grants::default());
        remember_mint(&mut self.mints, MintAttempt { marker, at, grants, kind: AttemptKind::Refused });
        Ok(())
    }

    /// Rule 1: whatever the record holds by now, what was minted is in it. The same token once more changes nothing: the
    /// first write got further than it seemed.
    fn minted(&mut self, held: &Held, after_refusal: bool, now: &Moment) -> Result<(), Conflict> {
        if self.next.as_ref() == Some(held) {
            return Ok(());
        }
        self.is_unknown(&held.id)?;
        if let Some(marker) = &held.marker {
            // A separation may have dropped it.
            _ = self.close_intent(marker);
        }
        self.replace_next(held, now);
        if after_refusal {
            self.remints.retain(|at| since(*at, now.at) < MINT_MEMORY);
            self.remints.push(now.at);
        }
        Ok(())
    }

    /// Nobody has had a `next`: it is of no more use.
    fn replace_next(&mut self, held: &Held, now: &Moment) {
        if let Some(former) = self.next.replace(held.clone()) {
            self.retire(former, 0, RetiringState::Unused, now);
        }
    }

    /// Another token is current: what was noted of the former one does not hold of it.
    fn make_current(&mut self, held: Held, now: &Moment) {
        if let Some(former) = self.current.replace(held) {
            self.retire(former, self.generation, RetiringState::Overlap, now);
        }
        self.generation += 1;
        self.promoted_at = Some(now.at);
        self.note_surplus(None, now);
        self.shortened_at = None;
        self.unprobed = false;
    }

    /// `generation`: which value it was; zero if it was none.
    fn retire(&mut self, held: Held, generation: u64, state: RetiringState, now: &Moment) {
        let Moment { at: since, boot } = now.clone();
        self.retiring.push(Retiring { held, since, boot, generation, state });
    }

    /// A held token leaves its place, with the generation of its value; zero where it was none.
    fn take_out(&mut self, id: &TokenId) -> Result<(Held, u64), Conflict> {
        let is_it = |held: &mut Held| held.id == *id;
        if let Some(held) = self.current.take_if(is_it) {
            return Ok((held, self.generation));
        }
        if let Some(held) = self.next.take_if(is_it) {
            return Ok((held, 0));
        }
        let at = self.retiring.iter().position(|retiring| retiring.held.id == *id);
        let retiring = self.retiring.remove(at.ok_or_else(|| Conflict::NotHeld(id.clone()))?);
        Ok((retiring.held, 0))
    }

    fn take_retiring(&mut self, id: &TokenId, fits: impl Fn(&Retiring) -> bool) -> Result<Held, Conflict> {
        let at = self.retiring.iter().position(|retiring| retiring.held.id == *id && fits(retiring));
        Ok(self.retiring.remove(at.ok_or_else(|| Conflict::NotRetiring(id.clone()))?).held)
    }

    /// Rule 4: a token that works is better than none. One whose revocation was requested may die at any time.
    fn reinstate(&mut self, id: &TokenId, now: &Moment) -> Result<(), Conflict> {
        if let Some(current) = &self.current {
            return Err(Conflict::HasCurrent(current.id.clone()));
        }
        let held = self.take_retiring(id, |retiring| retiring.state != RetiringState::Revoking)?;
        self.make_current(held, now);
        Ok(())
    }

    fn undo(&mut self, id: &TokenId, now: &Moment) -> Result<(), Conflict> {
        let held = self.take_retiring(id, |retiring| retiring.state == RetiringState::Overlap)?;
        // One on its way would take the place of what the person wants.
        if let Some(next) = self.next.take() {
            self.retire(next, 0, RetiringState::Unused, now);
        }
        self.make_current(held, now);
        self.suspended = true;
        Ok(())
    }

    fn withdraw(&mut self, id: &TokenId, now: &Moment) -> Result<(), Conflict> {
        if self.retiring.iter().any(|retiring| retiring.held.id == *id) {
            return Err(Conflict::NotHeld(id.clone()));
        }
        let (held, generation) = self.take_out(id)?;
        self.retire(held, generation, RetiringState::Overlap, now);
        Ok(())
    }

    /// Rule 9: whoever still reads a value after `had` has the whole overlap before him.
    fn begin_overlaps_again(&mut self, had: u64, now: &Moment) {
        let Some(boot) = &now.boot else { return };
        let still_read = had..self.generation;
        for retiring in self.retiring.iter_mut().filter(|one| still_read.contains(&one.generation)) {
            if let Some(late) = retiring.late_by(now) {
                (retiring.since, retiring.boot) = (after(retiring.since, late), Some(boot.clone()));
            }
        }
    }

    /// Rule 21: what the current token may do beside `wanted` has its `grace` from now on, or goes on with it where the list
    /// asks for no less than before.
    fn note_surplus(&mut self, wanted: Option<&Grants>, now: &Moment) {
        let asks_no_less = self.surplus_beside.as_ref().zip(wanted).is_some_and(|(old, new)| new.cover(old));
        let since = self.surplus_since.take().filter(|_| asks_no_less);
        self.surplus_since = wanted.map(|_| since.unwrap_or_else(|| now.clone()));
        self.surplus_beside = wanted.cloned();
    }

    fn remember(
        &mut self,
        id: &TokenId,
        server: &ServerKey,
        marker: Option<&Marker>,
        unused: bool,
        now: &Moment,
    ) {
        let Moment { at, boot } = now.clone();
        let (id, server, marker) = (id.clone(), server.clone(), marker.cloned());
        self.revoked.push(Revoked { id, server, marker, created_at: None, at, boot, is_ours: true, unused });
    }

    fn adopt(&mut self, from: &ServerKey, to: &ServerKey) -> Result<(), Conflict> {
        let intents = self.intents.iter_mut().map(|intent| &mut intent.server);
        let revoked = self.revoked.iter_mut().map(|revoked| &mut revoked.server);
        let retiring = self.retiring.iter_mut().map(|retiring| &mut retiring.held);
        let held = self.current.iter_mut().chain(&mut self.next).chain(retiring).map(|held| &mut held.server);
        let mut is_there = false;
        for server in intents.chain(revoked).chain(held).filter(|server| **server == *from) {
            *server = to.clone();
            is_there = true;
        }
        if is_there { Ok(()) } else { Err(Conflict::NotThere) }
    }

    /// The current token stays: it is what consumers have.
    fn forget_former_servers(&mut self, named: &[ServerKey]) {
        self.retiring.retain(|retiring| named.contains(&retiring.held.server));
        self.revoked.retain(|revoked| named.contains(&revoked.server));
        self.intents.retain(|intent| named.contains(&intent.server));
    }

    /// Rule 13: what another machine may be using is kept, and never revoked from here: its intents, too, may have become
    /// that machine's tokens, whatever this one learnt of their mints.
    fn inherit(&mut self) {
        self.held_mut().for_each(|held| held.origin = Origin::Inherited);
        self.intents.clear();
        for revoked in &mut self.revoked {
            (revoked.marker, revoked.is_ours) = (None, false);
        }
        // Only the brake still counts these.
        for attempt in &mut self.mints {
            attempt.marker = Marker::from_bits([0; 16]);
        }
    }

    fn claim(&mut self) {
        for held in self.held_mut().filter(|held| held.origin == Origin::Inherited) {
            let is_minted = held.marker.is_some();
            held.origin = if is_minted { Origin::Minted } else { Origin::Imported { exclusive: false } };
        }
    }

    fn has_current(&self) -> Result<(), Conflict> {
        self.current.as_ref().map(drop).ok_or(Conflict::NoCurrent)
    }

    fn is_unknown(&self, id: &TokenId) -> Result<(), Conflict> {
        let revoked = self.revoked.iter().map(|revoked| &revoked.id);
        match self.held().map(|held| &held.id).chain(revoked).find(|known| *known == id) {
            Some(known) => Err(Conflict::Known(known.clone())),
            None => Ok(()),
        }
    }
}

impl Retiring {
    /// How much of its overlap has passed by now, where that is more than a moment, and it was a value.
    #[must_use]
    pub fn late_by(&self, now: &Moment) -> Option<Duration> {
        let is_value = self.state == RetiringState::Overlap && self.generation > 0;
        let passed = self.boot.as_ref().filter(|_| is_value)?.passed(now.boot.as_ref()?);
        passed.filter(|passed| *passed > LATE)
    }
}

/// A person has asked: what was minted before counts against nothing any more (rule 11).
fn explain(mints: &mut [MintAttempt]) {
    let unexplained = mints.iter_mut().filter(|attempt| attempt.kind == AttemptKind::Unexplained);
    unexplained.for_each(|attempt| attempt.kind = AttemptKind::Explained);
}
