//! Tokens that were made by hand.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Break, World};
use crate::{
    influxdb::ServerError,
    model::{Grants, Listed, Name, Secret, TokenId},
};

impl World {
    /// A token that works everywhere at once, as one that was made long ago does.
    pub(in super::super) fn make_by_hand(&self, grants: Grants, exclusive: bool) -> (TokenId, Secret) {
        let mut state = self.state();
        let id = self.add(&mut state, None, grants, false);
        let token = state.tokens.get_mut(&id).expect("just added");
        token.by_hand = Some(exclusive);
        token.active = [[Instant::now(); 3]; 2];
        (id, Secret::new(token.secret.clone()))
    }

    pub(in super::super) fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        if self.strikes("list lost", 6) {
            return Err(Self::error("get token", Self::cut()));
        }
        Ok(self.state().tokens.get(id).map(|token| token.row.clone()))
    }

    /// Somebody wants new values as soon as there is a process to ask.
    pub(in super::super) fn wish<'a>(&self, names: impl Iterator<Item = &'a Name>) {
        self.state().wishes.extend(names.cloned());
    }

    pub(in super::super) fn take_wishes(&self) -> BTreeSet<Name> {
        std::mem::take(&mut self.state().wishes)
    }

    /// How many tokens of ours live.
    pub(in super::super) fn live(&self) -> usize {
        let state = self.state();
        state.tokens.values().filter(|token| !token.foreign && token.row.revoked_at.is_none()).count()
    }

    /// Which value consumers have.
    pub(in super::super) fn generation(&self, name: &str) -> Option<u64> {
        self.state().delivered.get(name).map(|(generation, _)| *generation)
    }

    pub(in super::super) fn takes_others_for_its_own(&self) -> bool {
        self.broken == Break::TakesOthersForItsOwn
    }

    pub(in super::super) fn is_healed(&self) -> bool {
        self.state().healed
    }
}
