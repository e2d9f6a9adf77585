//! The modelled server: what it lists, mints, changes, ends and accepts.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Claims, Late, State, Token, World, ends::MOMENT};
use crate::{
    influxdb::{Check, ErrorKind, LabelEcho, MintError, Minted, Order, Plane, ServerError, Verdict},
    lifecycle::simulation::{
        faults::{Fault, Op},
        lists,
        tamper::Break,
    },
    model::{
        Action, Credential, Database, Expiry, Grant, GrantSupport, Grants, Label, Listed, Listing, Name,
        Product, Secret, ServerDate, Time, TokenId, after, since,
    },
};

/// So much later than asked some tokens expire.
const LATER: Duration = Duration::from_secs(400 * 24 * 3600);

fn error(verb: &'static str, kind: ErrorKind) -> ServerError {
    ServerError { server: lists::server_name(0), product: Product::Clustered, verb, kind }
}

fn status(status: u16) -> ErrorKind {
    ErrorKind::Status { status, message: None, retry_after: None }
}

impl World {
    /// What keeps a request from being heard, or the server from doing it.
    fn is_lost(&self, server: usize, verb: &'static str, op: Op) -> Result<(), ServerError> {
        self.note_request(server, op);
        if let Some(wait) = self.turned_away(op) {
            let kind = ErrorKind::Status { status: 503, message: None, retry_after: Some(wait) };
            return Err(error(verb, kind));
        }
        if self.strikes(Fault::RequestLost, op, 40) {
            return Err(error(verb, ErrorKind::Cut("on demand".into())));
        }
        if self.strikes(Fault::ServerError, op, 30) {
            return Err(error(verb, status(500)));
        }
        Ok(())
    }

    /// What keeps its answer from being heard.
    fn is_unheard(&self, verb: &'static str, op: Op) -> Result<(), ServerError> {
        if self.strikes(Fault::AnswerLost, op, 60) {
            return Err(error(verb, ErrorKind::Cut("on demand".into())));
        }
        Ok(())
    }

    pub(super) fn carry_out_late(&self) {
        let due: Vec<Late> = {
            let mut state = self.state();
            let now = Instant::now();
            let (due, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut state.late).into_iter().partition(|(at, _)| *at <= now);
            state.late = rest;
            due.into_iter().map(|(_, late)| late).collect()
        };
        for late in due {
            match late {
                Late::Mint(server, order) => _ = self.create(server, &order, false),
                Late::Revoke(id) => {
                    self.tell(format!("{id} is ended late"));
                    self.check_holders(&id);
                    self.end_now(&id);
                }
            }
        }
    }

    fn later(&self, op: Op, late: Late) -> bool {
        let strikes = self.strikes(Fault::CarriedOutLate, op, 40);
        if strikes {
            let at = Instant::now() + Duration::from_secs(fastrand::u64(1..600));
            self.state().late.push((at, late));
        }
        strikes
    }

    pub(in super::super) fn list(&self, server: usize) -> Result<Listing, ServerError> {
        self.is_lost(server, "list tokens", Op::List)?;
        self.look_at_records(server);
        let lag = if self.strikes(Fault::ListLags, Op::List, 100) { 30 } else { 0 };
        let is_filtered = self.strikes(Fault::ListFiltered, Op::List, 60);
        let shows_none = is_filtered && fastrand::bool();
        let as_of = self.date(server).saturating_sub(jiff::SignedDuration::from_secs(lag)).expect("a time");
        // By a clock that was ahead, things were done that are yet to come.
        let is_shown = |at: Time| lag == 0 || at <= as_of;
        let state = self.state();
        let mut tokens: Vec<Listed> = state
            .tokens
            .values()
            .filter(|token| token.server == server && !token.hidden)
            .filter(|token| token.row.created_at.is_some_and(is_shown))
            .filter(|_| !is_filtered || !shows_none && fastrand::u8(..3) > 0)
            .map(|token| {
                let mut row = token.claims.show(&token.row);
                row.revoked_at = row.revoked_at.filter(|at| is_shown(*at));
                row
            })
            .collect();
        if self.broken == Break::ListsOthersAsOurs {
            let marker =
                state.records.values().find_map(|(record, _)| Some((&record.name, record.intents.first()?)));
            if let (Some((name, intent)), Some(row)) = (marker, tokens.first_mut()) {
                let instance = state.instances[0].clone();
                row.label = Some(Label { instance, name: name.clone(), marker: intent.marker.clone() });
            }
        }
        drop(state);
        let mut listing = Listing {
            rows: tokens.len(),
            bytes: 100 * tokens.len(),
            tokens,
            faults: vec![],
            date: ServerDate::At(self.date(server)),
            zoneless: false,
        };
        self.claims_of_a_list(server, &mut listing);
        Ok(listing)
    }

    pub(in super::super) fn databases(&self, server: usize) -> Result<BTreeSet<String>, ServerError> {
        self.is_lost(server, "list databases", Op::Databases).inspect_err(|_| {
            // Nothing is planned with the list before it: it counts against nobody.
            self.state().idle.clear();
        })?;
        Ok(self.state().deployments[server].databases.clone())
    }

    pub(in super::super) fn get(&self, server: usize, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        self.is_lost(server, "get token", Op::Get)?;
        let state = self.state();
        let token = state.tokens.get(id).filter(|token| token.server == server);
        Ok(token.map(|token| token.claims.show(&token.row)))
    }

    pub(in super::super) fn mint_begins(&self, server: usize, order: &Order) {
        self.changes_something("a mint");
        let descriptor = self.descriptor(server);
        let label = descriptor.label.find(&order.description).expect("every mint is labelled");
        let (sealed, posted, minting, stopping, elsewhere, unlisted, unread) = {
            let mut state = self.state();
            let key = state.key(server).clone();
            state.deployments[server].minting += 1;
            let record = state.records.get(&label.name).map(|(record, _)| record);
            let sealed = record.is_some_and(|record| {
                record.intents.iter().any(|intent| intent.marker == order.marker && intent.server == key)
            });
            let may_move = state.may_move.contains(&label.name);
            let elsewhere = record
                .is_some_and(|record| record.current.iter().any(|held| held.server != key) && !may_move);
            // What was on its way when the list changed cannot be called back.
            let has_moved = state.moved.get(&label.name).is_some_and(|at| *at + MOMENT < Instant::now());
            let unlisted = has_moved && state.specs.get(&label.name).is_some_and(|spec| spec.key != key);
            let unread = state.unreadable.contains(&label.name) || state.later.contains(&label.name);
            let minting = state.deployments[server].minting;
            let posted = !state.posted.insert(order.marker.clone());
            (sealed, posted, minting, state.stopping, elsewhere, unlisted, unread)
        };
        self.note_age(server, &label.name);
        self.tell(format!("mint {} under {}", label.name, &order.marker.to_string()[..6]));
        if order.lifetime.is_some() && descriptor.expiry == Expiry::None {
            self.breaks("expiry", "a server is asked for what it cannot do");
        }
        if !sealed {
            self.breaks("rule 2", "a mint without a sealed intent");
        }
        if posted {
            self.breaks("rule 2", "a marker is posted twice");
        }
        if minting > 8 {
            self.breaks("mints", "more than eight at once");
        }
        if stopping {
            self.breaks("rule 17", "a mint after SIGTERM");
        }
        if unread {
            self.breaks("rule 14", "a mint for a name whose record cannot be read");
        }
        if unlisted {
            self.breaks("rule 12", "a mint on a server that the list does not name for it");
        }
        if elsewhere {
            self.breaks("rule 12", "a mint although the tokens live at another address");
        }
    }

    pub(in super::super) fn mint_ends(&self, server: usize) {
        let minting = &mut self.state().deployments[server].minting;
        *minting = minting.saturating_sub(1);
    }

    /// At which age a token that does not expire is replaced, once nothing else happens.
    fn note_age(&self, server: usize, name: &Name) {
        let mut state = self.state();
        let date = self.date_in(&state, server);
        let lifetime = state.specs.get(name).and_then(|spec| spec.lifetime);
        let current = state.records.get(name).and_then(|(record, _)| record.current.clone());
        let (Some(lifetime), Some(current), true) = (lifetime, current, state.healed) else { return };
        let age = since(current.created_at, date).as_secs_f64() / lifetime.as_secs_f64();
        // Earlier ones have other reasons.
        let by_schedule = (0.5..0.7).contains(&age);
        if current.expires_at.is_none() && current.was_to_expire_at.is_none() && by_schedule {
            state.ages.entry(name.clone()).or_insert(age);
        }
    }

    pub(in super::super) fn mint(&self, server: usize, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        if self.state().refuses_mints {
            return Err(MintError::Unknown(error(verb, status(500))));
        }
        if self.strikes(Fault::Refused, Op::Mint, 30) {
            return Err(MintError::NotMinted(error(verb, status(400))));
        }
        self.is_lost(server, verb, Op::Mint).map_err(MintError::Unknown)?;
        if self.later(Op::Mint, Late::Mint(server, order.clone())) {
            return Err(MintError::Unknown(error(verb, ErrorKind::Timeout(Duration::from_secs(30)))));
        }
        let minted = self.create(server, order, false);
        if self.broken == Break::RepeatsMints {
            let _second = self.create(server, order, true);
        }
        let number = self.state().ids;
        if self.is_refused_after_effect(number) {
            return Err(MintError::NotMinted(error(verb, status(400))));
        }
        self.is_unheard(verb, Op::Mint).map_err(MintError::Unknown)?;
        self.state().answered.insert(minted.id.clone());
        Ok(minted)
    }

    fn create(&self, server: usize, order: &Order, hidden: bool) -> Minted {
        let label = self.descriptor(server).label.find(&order.description);
        let (expires_at, ignores) = self.expiry(server, order);
        let date = self.date(server);
        let number = self.state().ids;
        let claims = self.claims_of_a_mint(server, number, date, expires_at);
        let mut state = self.state();
        let id = self.add(&mut state, server, label, order.grants.clone(), expires_at, false);
        let is_ahead = state.deployments[server].is_ahead();
        let token = state.tokens.get_mut(&id).expect("just added");
        token.hidden = hidden;
        token.claims = claims;
        token.outlives = ignores;
        // Asked for before the server's clock was set, it had ended before it began.
        token.by_person |= is_ahead;
        let shown = token.claims.show(&token.row);
        let (secret, is_cut) = (token.secret.clone(), token.claims.is_cut);
        let told = format!("{id} exists, until {expires_at:?}");
        let date = self.date_in(&state, server);
        drop(state);
        self.tell(told);
        Minted {
            id,
            secret: Credential::Token(Secret::new(secret)),
            grants: order.grants.clone(),
            created_at: shown.created_at,
            expires_at: shown.expires_at,
            label: if is_cut && self.broken != Break::KeepsUnlabelled {
                LabelEcho::Lost
            } else {
                LabelEcho::Kept
            },
            date: ServerDate::At(date),
            oddities: vec![],
            zoneless: false,
        }
    }

    /// When it expires, and whether that is not when it should.
    fn expiry(&self, server: usize, order: &Order) -> (Option<Time>, bool) {
        // Not drawn with everything else: histories that have no such token are as they would be without this fault.
        let mut draw = fastrand::Rng::with_seed(self.seed ^ self.state().ids);
        let asked = match self.descriptor(server).expiry {
            Expiry::Absolute => order.expires_at(),
            Expiry::Relative => order.lifetime.map(|lifetime| after(self.date(server), lifetime)),
            Expiry::None => None,
        };
        match asked {
            Some(asked) if draw.u16(..1000) < 80 && self.may_strike(Fault::ExpiryIgnored) => {
                self.struck(Fault::ExpiryIgnored, Op::Mint);
                (draw.bool().then(|| after(asked, LATER)), true)
            }
            asked => (asked, false),
        }
    }

    pub(super) fn add(
        &self,
        state: &mut State,
        server: usize,
        label: Option<Label>,
        grants: Grants,
        expires_at: Option<Time>,
        foreign: bool,
    ) -> TokenId {
        state.ids += 1;
        let id = TokenId(format!("id-{}", state.ids).into());
        let slow = self.without.contains(&Fault::SlowActivation);
        let (healed, fixed) = (state.healed || slow, state.activation);
        let active = || {
            let slowest = if healed { 1 } else { fastrand::choice([1, 1, 40, 180]).unwrap_or(1) };
            Instant::now() + fixed.unwrap_or_else(|| Duration::from_secs(fastrand::u64(0..slowest)))
        };
        let date = self.date_in(state, server);
        let row = Listed {
            id: id.clone(),
            label,
            grants: Some(grants.clone()),
            created_at: Some(date),
            expires_at,
            revoked_at: None,
        };
        let active = [[active(), active(), active()], [active(), active(), active()]];
        let secret = format!("secret of {id}");
        state.tokens.insert(
            id.clone(),
            Token {
                server,
                secret,
                row,
                grants,
                foreign,
                by_hand: None,
                by_person: false,
                accepted: None,
                streak: BTreeSet::new(),
                is_neglected: false,
                hidden: false,
                outlives: false,
                claims: Claims::default(),
                active,
                turns: [0; 2],
            },
        );
        id
    }

    pub(in super::super) fn patch(
        &self,
        server: usize,
        id: &TokenId,
        grants: &Grants,
    ) -> Result<Listed, ServerError> {
        let verb = "change token";
        self.changes_something("a change of grants");
        self.tell(format!("change {id}: {grants}"));
        self.check_patch(server, id, grants);
        if self.strikes(Fault::Refused, Op::Patch, 30) {
            return Err(error(verb, status(400)));
        }
        self.is_lost(server, verb, Op::Patch)?;
        let row = {
            let mut state = self.state();
            let token = state.tokens.get_mut(id).expect("it is there");
            token.grants = grants.clone();
            token.row.grants = Some(grants.clone());
            token.claims.show(&token.row)
        };
        self.note_reason();
        self.is_unheard(verb, Op::Patch)?;
        Ok(row)
    }

    /// Rules 8 and 21.
    fn check_patch(&self, server: usize, id: &TokenId, grants: &Grants) {
        let state = self.state();
        let is_elsewhere = state.tokens.get(id).is_none_or(|token| token.server != server);
        let can_patch = state.deployments[server].descriptor.grants == GrantSupport::Editable;
        let is_others =
            state.tokens.get(id).is_none_or(|token| token.foreign || token.by_hand == Some(false));
        let widens = state.tokens.get(id).is_some_and(|token| !token.grants.cover(grants));
        drop(state);
        if is_others {
            self.breaks("rule 8", "somebody else's token is changed");
        }
        if is_elsewhere {
            self.breaks("rule 5", "a server is asked to change another's token");
        }
        if !can_patch {
            self.breaks("rule 21", "a server is asked for what it cannot do");
        }
        self.check_needs(id, grants);
        self.count(if widens { "a token is widened" } else { "a token is narrowed" });
    }

    pub(in super::super) fn revoke(&self, server: usize, id: &TokenId) -> Result<(), ServerError> {
        let verb = "revoke token";
        self.changes_something("an end");
        self.tell(format!("revoke {id}"));
        let is_elsewhere = self.state().tokens.get(id).is_none_or(|token| token.server != server);
        if is_elsewhere {
            self.breaks("rule 5", "a server is asked to revoke another's token");
        }
        let foreign = {
            let state = self.state();
            state.tokens.get(id).is_none_or(|token| {
                token.foreign
                    || token.by_hand.is_none()
                        && token.row.label.as_ref().is_none_or(|label| !state.posted.contains(&label.marker))
            })
        };
        if foreign {
            self.breaks("rule 8", "somebody else's token is ended");
        }
        self.check_end(id);
        self.check_holders(id);
        if self.strikes(Fault::Refused, Op::Revoke, 30) {
            return Err(error(verb, status(403)));
        }
        self.is_lost(server, verb, Op::Revoke)?;
        if self.later(Op::Revoke, Late::Revoke(id.clone())) {
            return Err(error(verb, ErrorKind::Timeout(Duration::from_secs(30))));
        }
        let by_hand = self.state().tokens.get(id).is_some_and(|token| token.by_hand.is_some());
        let often = if by_hand && self.broken == Break::ForgetsImports { 1000 } else { 30 };
        if !self.strikes(Fault::RevocationIgnored, Op::Revoke, often) {
            self.end_now(id);
        }
        self.note_reason();
        self.is_unheard(verb, Op::Revoke)?;
        self.state().acknowledged.insert(id.clone());
        Ok(())
    }

    pub(super) fn end_now(&self, id: &TokenId) {
        let mut state = self.state();
        let Some(server) = state.tokens.get(id).map(|token| token.server) else { return };
        let now = self.date_in(&state, server);
        if let Some(token) = state.tokens.get_mut(id) {
            token.row.revoked_at.get_or_insert(now);
        }
    }

    pub(in super::super) fn check_begins(&self, server: usize) {
        let (checking, limit) = {
            let deployment = &mut self.state().deployments[server];
            deployment.checking += 1;
            (deployment.checking, if deployment.has_accepted { 16 } else { 1 })
        };
        // The first acceptance may be known to the keeper a moment later than to the model, never earlier.
        if checking > limit {
            self.breaks("probes", "too many at once");
        }
    }

    pub(in super::super) fn check_ends(&self, server: usize) {
        let checking = &mut self.state().deployments[server].checking;
        *checking = checking.saturating_sub(1);
    }

    fn end_streak(&self, secret: &Secret) {
        let mut state = self.state();
        let asked = state.tokens.values_mut().find(|token| token.secret == secret.expose());
        asked.into_iter().for_each(|token| token.streak.clear());
    }

    pub(in super::super) fn check(&self, server: usize, secret: &Secret, check: &Check) -> Verdict {
        // A probe under way may ask once more about a token that was set aside a moment ago.
        // One that was made by hand is asked about before it is taken.
        let is_sealed = {
            let state = self.state();
            let by_hand = |token: &Token| token.by_hand.is_some() && token.secret == secret.expose();
            state.ever_sealed.contains(secret.expose()) || state.tokens.values().any(by_hand)
        };
        if !is_sealed || self.is_volatile(secret) {
            self.breaks("rule 1", "a secret is used before it is sealed");
        }
        if self.is_lost(server, "check", Op::Check).is_err() || self.state().is_silent {
            self.end_streak(secret);
            return Verdict::Unreachable { why: "no answer".into(), retry_after: None };
        }
        let (now, date) = (Instant::now(), self.date(server));
        let mut state = self.state();
        state.deployments[server].has_accepted = true;
        let is_it = |token: &&mut Token| token.server == server && token.secret == secret.expose();
        let Some(token) = state.tokens.values_mut().find(is_it) else {
            return Verdict::Refused { status: 401 };
        };
        let plane = usize::from(check.plane == Plane::Query);
        let replica = token.turns[plane] % 3;
        token.turns[plane] += 1;
        let is_active = token.active[plane][replica] <= now || self.broken == Break::AcceptsTooSoon;
        let action = if check.plane == Plane::Query { Action::Read } else { Action::Write };
        let may = [Database::All, Database::Named(check.database.clone())].into_iter().any(|database| {
            token.grants.iter().any(|grant| *grant == Grant { database: database.clone(), action })
        });
        let works = token.works_at(date);
        if works && is_active && may {
            token.accepted = Some(now);
            token.streak.insert(Grant { database: Database::Named(check.database.clone()), action });
            return Verdict::Accepted;
        }
        token.streak.clear();
        drop(state);
        if works && !is_active {
            self.struck(Fault::SlowActivation, Op::Check);
        }
        Verdict::Refused { status: 401 }
    }
}
