//! The modelled server: what it lists, mints, changes, ends and accepts.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Claims, Late, State, Token, World};
use crate::{
    influxdb::{Check, ErrorKind, LabelEcho, MintError, Minted, Order, Plane, ServerError, Verdict},
    lifecycle::simulation::{
        faults::{Fault, Op},
        parts::server_name,
        tamper::Break,
    },
    model::{
        Action, Credential, Database, Expiry, Grant, GrantSupport, Grants, Label, Listed, Listing, Product,
        Secret, ServerDate, Time, TokenId, after,
    },
};

/// So much later than asked some tokens expire.
const LATER: Duration = Duration::from_secs(400 * 24 * 3600);

fn error(verb: &'static str, kind: ErrorKind) -> ServerError {
    ServerError { server: server_name(), product: Product::Clustered, verb, kind }
}

fn status(status: u16) -> ErrorKind {
    ErrorKind::Status { status, message: None, retry_after: None }
}

impl World {
    /// What keeps a request from being heard, or the server from doing it.
    fn is_lost(&self, verb: &'static str, op: Op) -> Result<(), ServerError> {
        self.note_request(op);
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
                Late::Mint(order) => _ = self.create(&order, false),
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

    pub(in super::super) fn list(&self) -> Result<Listing, ServerError> {
        self.is_lost("list tokens", Op::List)?;
        let lag = if self.strikes(Fault::ListLags, Op::List, 100) { 30 } else { 0 };
        let is_filtered = self.strikes(Fault::ListFiltered, Op::List, 60);
        let shows_none = is_filtered && fastrand::bool();
        let as_of = self.date().saturating_sub(jiff::SignedDuration::from_secs(lag)).expect("a time");
        // By a clock that was ahead, things were done that are yet to come.
        let is_shown = |at: Time| lag == 0 || at <= as_of;
        let state = self.state();
        let mut tokens: Vec<Listed> = state
            .tokens
            .values()
            .filter(|token| !token.hidden && token.row.created_at.is_some_and(is_shown))
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
            date: ServerDate::At(self.date()),
            zoneless: false,
        };
        self.claims_of_a_list(&mut listing);
        Ok(listing)
    }

    pub(in super::super) fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        self.is_lost("list databases", Op::Databases)?;
        Ok(self.state().databases.clone())
    }

    pub(in super::super) fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        self.is_lost("get token", Op::Get)?;
        Ok(self.state().tokens.get(id).map(|token| token.claims.show(&token.row)))
    }

    pub(in super::super) fn mint_begins(&self, order: &Order) {
        self.changes_something("a mint");
        let label = self.descriptor.label.find(&order.description).expect("every mint is labelled");
        let key = self.key();
        let (sealed, posted, minting, stopping, elsewhere) = {
            let mut state = self.state();
            state.minting += 1;
            let record = state.records.get(&label.name).map(|(record, _)| record);
            let sealed = record.is_some_and(|record| {
                record.intents.iter().any(|intent| intent.marker == order.marker && intent.server == key)
            });
            let elsewhere = record.is_some_and(|record| record.current.iter().any(|held| held.server != key));
            (sealed, !state.posted.insert(order.marker.clone()), state.minting, state.stopping, elsewhere)
        };
        self.tell(format!("mint {} under {}", label.name, &order.marker.to_string()[..6]));
        if order.lifetime.is_some() && self.descriptor.expiry == Expiry::None {
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
        if elsewhere {
            self.breaks("rule 12", "a mint although the tokens live at another address");
        }
    }

    pub(in super::super) fn mint_ends(&self) {
        self.state().minting -= 1;
    }

    pub(in super::super) fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        if self.state().refuses_mints {
            return Err(MintError::Unknown(error(verb, status(500))));
        }
        if self.strikes(Fault::Refused, Op::Mint, 30) {
            return Err(MintError::NotMinted(error(verb, status(400))));
        }
        self.is_lost(verb, Op::Mint).map_err(MintError::Unknown)?;
        if self.later(Op::Mint, Late::Mint(order.clone())) {
            return Err(MintError::Unknown(error(verb, ErrorKind::Timeout(Duration::from_secs(30)))));
        }
        let minted = self.create(order, false);
        if self.broken == Break::RepeatsMints {
            let _second = self.create(order, true);
        }
        let number = self.state().ids;
        if self.is_refused_after_effect(number) {
            return Err(MintError::NotMinted(error(verb, status(400))));
        }
        self.is_unheard(verb, Op::Mint).map_err(MintError::Unknown)?;
        Ok(minted)
    }

    fn create(&self, order: &Order, hidden: bool) -> Minted {
        let label = self.descriptor.label.find(&order.description);
        let (expires_at, ignores) = self.expiry(order);
        let date = self.date();
        let number = self.state().ids;
        let claims = self.claims_of_a_mint(number, date, expires_at);
        let mut state = self.state();
        let id = self.add(&mut state, label, order.grants.clone(), expires_at, false);
        let is_ahead = state.is_ahead();
        let token = state.tokens.get_mut(&id).expect("just added");
        token.hidden = hidden;
        token.claims = claims;
        token.outlives = ignores;
        // Asked for before the server's clock was set, it had ended before it began.
        token.by_person |= is_ahead;
        let shown = token.claims.show(&token.row);
        let (secret, is_cut) = (token.secret.clone(), token.claims.is_cut);
        let told = format!("{id} exists, until {expires_at:?}");
        let date = self.date_in(&state);
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
    fn expiry(&self, order: &Order) -> (Option<Time>, bool) {
        // Not drawn with everything else: histories that have no such token are as they would be without this fault.
        let mut draw = fastrand::Rng::with_seed(self.seed ^ self.state().ids);
        let asked = match self.descriptor.expiry {
            Expiry::Absolute => order.expires_at(),
            Expiry::Relative => order.lifetime.map(|lifetime| after(self.date(), lifetime)),
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
        let date = self.date_in(state);
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
                secret,
                row,
                grants,
                foreign,
                by_hand: None,
                by_person: false,
                accepted: None,
                hidden: false,
                outlives: false,
                claims: Claims::default(),
                active,
                turns: [0; 2],
            },
        );
        id
    }

    pub(in super::super) fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        let verb = "change token";
        self.changes_something("a change of grants");
        self.tell(format!("change {id}: {grants}"));
        self.check_patch(id, grants);
        if self.strikes(Fault::Refused, Op::Patch, 30) {
            return Err(error(verb, status(400)));
        }
        self.is_lost(verb, Op::Patch)?;
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
    fn check_patch(&self, id: &TokenId, grants: &Grants) {
        let state = self.state();
        let is_others =
            state.tokens.get(id).is_none_or(|token| token.foreign || token.by_hand == Some(false));
        let widens = state.tokens.get(id).is_some_and(|token| !token.grants.cover(grants));
        drop(state);
        if is_others {
            self.breaks("rule 8", "somebody else's token is changed");
        }
        if self.descriptor.grants != GrantSupport::Editable {
            self.breaks("rule 21", "a server is asked for what it cannot do");
        }
        self.check_needs(id, grants);
        self.count(if widens { "a token is widened" } else { "a token is narrowed" });
    }

    pub(in super::super) fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        let verb = "revoke token";
        self.changes_something("an end");
        self.tell(format!("revoke {id}"));
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
        self.is_lost(verb, Op::Revoke)?;
        if self.later(Op::Revoke, Late::Revoke(id.clone())) {
            return Err(error(verb, ErrorKind::Timeout(Duration::from_secs(30))));
        }
        self.end_now(id);
        self.note_reason();
        self.is_unheard(verb, Op::Revoke)
    }

    fn end_now(&self, id: &TokenId) {
        let now = self.date();
        if let Some(token) = self.state().tokens.get_mut(id) {
            token.row.revoked_at.get_or_insert(now);
        }
    }

    pub(in super::super) fn check_begins(&self) {
        let (checking, limit) = {
            let mut state = self.state();
            state.checking += 1;
            (state.checking, if state.has_accepted { 16 } else { 1 })
        };
        // The first acceptance may be known to the keeper a moment later than to the model, never earlier.
        if checking > limit {
            self.breaks("probes", "too many at once");
        }
    }

    pub(in super::super) fn check_ends(&self) {
        self.state().checking -= 1;
    }

    pub(in super::super) fn check(&self, secret: &Secret, check: &Check) -> Verdict {
        // A probe under way may ask once more about a token that was set aside a moment ago.
        // One that was made by hand is asked about before it is taken.
        let is_sealed = {
            let state = self.state();
            let by_hand = |token: &Token| token.by_hand.is_some() && token.secret == secret.expose();
            state.ever_sealed.contains(secret.expose()) || state.tokens.values().any(by_hand)
        };
        if !is_sealed {
            self.breaks("rule 1", "a secret is used before it is sealed");
        }
        if self.is_lost("check", Op::Check).is_err() || self.state().is_silent {
            return Verdict::Unreachable { why: "no answer".into(), retry_after: None };
        }
        let (now, date) = (Instant::now(), self.date());
        let mut state = self.state();
        state.has_accepted = true;
        let Some(token) = state.tokens.values_mut().find(|token| token.secret == secret.expose()) else {
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
            return Verdict::Accepted;
        }
        drop(state);
        if works && !is_active {
            self.struck(Fault::SlowActivation, Op::Check);
        }
        Verdict::Refused { status: 401 }
    }
}
