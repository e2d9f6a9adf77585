//! The modelled server: what it lists, mints, ends and accepts.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Break, State, Token, World};
use crate::{
    influxdb::{Check, ErrorKind, MintError, Minted, Order, Plane, ServerError, Verdict},
    lifecycle::simulation::parts::{key, server_name},
    model::{Action, Credential, Database, Grant, Grants, Label, Listed, Listing, Origin, Secret, TokenId},
};

impl World {
    pub(super) fn error(verb: &'static str, kind: ErrorKind) -> ServerError {
        ServerError { server: server_name(), verb, kind }
    }

    pub(super) fn cut() -> ErrorKind {
        ErrorKind::Cut("on demand".into())
    }

    pub(super) fn carry_out_late(&self) {
        let due: Vec<Order> = {
            let mut state = self.state();
            let now = Instant::now();
            let (due, rest) = std::mem::take(&mut state.late).into_iter().partition(|(at, _)| *at <= now);
            state.late = rest;
            let due: Vec<(Instant, Order)> = due;
            due.into_iter().map(|(_, order)| order).collect()
        };
        for order in due {
            let _nobody_hears = self.create(&order, false);
        }
    }

    pub(in super::super) fn list(&self) -> Result<Listing, ServerError> {
        self.carry_out_late();
        if self.strikes("list lost", 6) {
            return Err(Self::error("list tokens", Self::cut()));
        }
        let lag = if self.strikes("list lags", 10) { 30 } else { 0 };
        let date = self
            .now()
            .saturating_add(jiff::SignedDuration::try_from(self.state().ahead).expect("short"))
            .expect("a time");
        let as_of = date.saturating_sub(jiff::SignedDuration::from_secs(lag)).expect("a time");
        let state = self.state();
        let mut tokens: Vec<Listed> = state
            .tokens
            .values()
            .filter(|token| !token.hidden && token.row.created_at.is_some_and(|at| at <= as_of))
            .map(|token| {
                let mut row = token.row.clone();
                row.revoked_at = row.revoked_at.filter(|at| *at <= as_of && self.broken != Break::HidesEnds);
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
        Ok(Listing { rows: tokens.len(), bytes: 100 * tokens.len(), tokens, date: Some(date) })
    }

    pub(in super::super) fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        if self.strikes("databases lost", 6) {
            return Err(Self::error("list databases", Self::cut()));
        }
        Ok(self.state().databases.clone())
    }

    pub(in super::super) fn mint_begins(&self, order: &Order) {
        let label = Label::find(&order.description).expect("every mint is labelled");
        let (sealed, posted, minting, stopping) = {
            let mut state = self.state();
            state.minting += 1;
            let sealed = state.records.get(&label.name).is_some_and(|(record, _)| {
                record.intents.iter().any(|intent| intent.marker == order.marker && intent.server == key())
            });
            (sealed, !state.posted.insert(order.marker.clone()), state.minting, state.stopping)
        };
        self.tell(format!("mint {} under {}", label.name, &order.marker.as_str()[..6]));
        if !sealed {
            self.broken("rule 2", "a mint without a sealed intent");
        }
        if posted {
            self.broken("rule 2", "a marker is posted twice");
        }
        if minting > 8 {
            self.broken("mints", "more than eight at once");
        }
        if stopping {
            self.broken("rule 17", "a mint after SIGTERM");
        }
    }

    pub(in super::super) fn mint_ends(&self) {
        self.state().minting -= 1;
    }

    pub(in super::super) fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        let status = |status| ErrorKind::Status { status, message: None, retry_after: None };
        if self.state().refuses_mints {
            return Err(MintError::Unknown(Self::error(verb, status(500))));
        }
        if self.strikes("mint refused", 4) {
            return Err(MintError::NotMinted(Self::error(verb, status(400))));
        }
        if self.strikes("mint lost", 5) {
            return Err(MintError::Unknown(Self::error(verb, Self::cut())));
        }
        if self.strikes("mint carried out late", 4) {
            let at = Instant::now() + Duration::from_secs(fastrand::u64(1..600));
            self.state().late.push((at, order.clone()));
            return Err(MintError::Unknown(Self::error(verb, ErrorKind::Timeout(Duration::from_secs(30)))));
        }
        let minted = self.create(order, false);
        if self.broken == Break::RepeatsMints {
            let _second = self.create(order, true);
        }
        if self.strikes("mint answered by nobody", 8) {
            return Err(MintError::Unknown(Self::error(verb, Self::cut())));
        }
        if self.strikes("mint answered 500", 3) {
            return Err(MintError::Unknown(Self::error(verb, status(500))));
        }
        Ok(minted)
    }

    fn create(&self, order: &Order, hidden: bool) -> Minted {
        let label = Label::find(&order.description);
        let mut state = self.state();
        let id = self.add(&mut state, label, order.grants.clone(), false);
        let token = state.tokens.get_mut(&id).expect("just added");
        token.hidden = hidden;
        Minted {
            id,
            secret: Credential::Token(Secret::new(token.secret.clone())),
            grants: order.grants.clone(),
            created_at: token.row.created_at.expect("created"),
            expires_at: None,
        }
    }

    pub(super) fn add(
        &self,
        state: &mut State,
        label: Option<Label>,
        grants: Grants,
        foreign: bool,
    ) -> TokenId {
        state.ids += 1;
        let id = TokenId(format!("id-{}", state.ids));
        let (healed, fixed) = (state.healed, state.activation);
        let active = || {
            let slowest = if healed || fastrand::bool() { 1 } else { 180 };
            Instant::now() + fixed.unwrap_or_else(|| Duration::from_secs(fastrand::u64(0..slowest)))
        };
        let row = Listed {
            id: id.clone(),
            label,
            grants: Some(grants.clone()),
            created_at: Some(self.now()),
            expires_at: None,
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
                accepted: None,
                hidden: false,
                active,
                turns: [0; 2],
            },
        );
        id
    }

    pub(in super::super) fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        self.tell(format!("revoke {id}"));
        let (foreign, current) = {
            let state = self.state();
            let foreign = state.tokens.get(id).is_none_or(|token| {
                token.foreign
                    || token.by_hand.is_none()
                        && token.row.label.as_ref().is_none_or(|label| !state.posted.contains(&label.marker))
            });
            let current = state.records.values().any(|(record, _)| {
                record.current.as_ref().is_some_and(|held| held.id == *id && held.origin != Origin::Inherited)
            });
            (foreign, current)
        };
        if foreign {
            self.broken("rule 8", "somebody else's token is ended");
        }
        if current {
            self.broken("rule 7", "the current token is ended");
        }
        self.check_end(id);
        if self.strikes("revoke lost", 5) {
            return Err(Self::error("end token", Self::cut()));
        }
        let now = self.now();
        if let Some(token) = self.state().tokens.get_mut(id) {
            token.row.revoked_at.get_or_insert(now);
        }
        if self.strikes("revoke answered by nobody", 5) {
            return Err(Self::error("end token", Self::cut()));
        }
        Ok(())
    }

    pub(in super::super) fn check_begins(&self) {
        let (checking, limit) = {
            let mut state = self.state();
            state.checking += 1;
            (state.checking, if state.has_accepted { 16 } else { 1 })
        };
        // The first acceptance may be known to the keeper a moment later than to the model, never earlier.
        if checking > limit {
            self.broken("probes", "too many at once");
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
            self.broken("rule 1", "a secret is used before it is sealed");
        }
        if self.strikes("check unanswered", 5) {
            return Verdict::Unreachable { why: "no answer".into(), retry_after: None };
        }
        let now = Instant::now();
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
        let is_live = token.row.revoked_at.is_none() || self.broken == Break::HidesEnds;
        if is_live && is_active && may {
            token.accepted = Some(now);
            Verdict::Accepted
        } else {
            Verdict::Refused { status: 401 }
        }
    }
}
