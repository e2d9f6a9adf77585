//! Retiring a host: its tokens are revoked, and the store is wiped.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};

use super::{
    HostKeeper, Keepers,
    command::Refusal,
    digest::{self, must_be},
};
use crate::{
    deliver::Deliver,
    lifecycle::{
        Ledger, Shared, SystemClock,
        plan::{Exemption, ExemptionReason, Retirement, Revocation},
    },
    model::{Known, Record, ServerKey, TokenId},
    store::{HostStore, Store},
};

/// So many tokens are revoked at once on one server.
const AT_ONCE: usize = 8;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetireReport {
    /// Tokens that were revoked.
    pub revoked: Vec<Revocation>,
    /// Tokens that stay, and why.
    pub stays: Vec<Exemption>,
    /// What is left to do, and why.
    pub errors: Vec<String>,
    /// The store's folder, once it is wiped.
    pub wiped: Option<PathBuf>,
}

/// What would become of this host's tokens. Those in `also` are revoked too.
///
/// # Errors
/// A server cannot be asked, a record is a later program's, or one of `also` is not a token that only a person may add.
pub async fn find<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ledger: &Ledger<T>,
    also: &[TokenId],
) -> Result<Retirement, Refusal> {
    let known = ledger.known();
    if let Some((name, _)) = known.iter().find(|(_, known)| matches!(known, Known::Later(_))) {
        let what = format!("token {name}: the record has a later version");
        return Err(Refusal::new(what, "run `retire` with the influx-tokend that wrote it, or a later one"));
    }
    let mut all = Retirement::default();
    for keeper in keepers {
        let found = keeper.retirement(also).await.map_err(|error| Refusal::of(&error))?;
        all.revokes.extend(found.revokes);
        all.stays.extend(found.stays);
        all.unanswered.extend(found.unanswered);
    }
    if let Some(id) = also.iter().find(|id| all.revokes.iter().all(|one| one.id != **id)) {
        let what = format!("token id {:?} is not a live token of this host, nothing was revoked", id.0);
        return Err(Refusal::new(what, "run `influx-tokend retire` to list the tokens that stay"));
    }
    let named: Vec<&ServerKey> = keepers.iter().map(|keeper| keeper.server_key()).collect();
    let out_of_reach = elsewhere(&named, &all, known.values().filter_map(Known::record));
    all.stays.extend(out_of_reach);
    all.unreadable =
        known.iter().filter(|(_, known)| known.record().is_none()).map(|(name, _)| name.clone()).collect();
    all.revokes.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    all.stays.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(all)
}

/// Tokens on servers that the list does not name, unless they have been found under another address.
fn elsewhere<'a>(
    named: &[&ServerKey],
    found: &Retirement,
    records: impl Iterator<Item = &'a Record>,
) -> Vec<Exemption> {
    let found: BTreeSet<&TokenId> =
        found.revokes.iter().map(|one| &one.id).chain(found.stays.iter().map(|one| &one.id)).collect();
    let of = |record: &'a Record| {
        let held = record.held().filter(|held| !named.contains(&&held.server) && !found.contains(&held.id));
        let exempt = held.map(|held| Exemption {
            name: record.name.clone(),
            id: held.id.clone(),
            server: held.server.clone(),
            why: ExemptionReason::FormerServer,
        });
        exempt.collect::<Vec<_>>()
    };
    records.flat_map(of).collect()
}

/// So that nobody confirms something else than what was shown.
#[must_use]
pub fn digest(retirement: &Retirement) -> String {
    let Retirement { revokes, stays, unreadable, .. } = retirement;
    let revokes =
        revokes.iter().map(|Revocation { name, id, server, .. }| format!("revoke {name}\n{id}\n{server}\n"));
    let stays =
        stays.iter().map(|Exemption { name, id, server, .. }| format!("leave {name}\n{id}\n{server}\n"));
    let unreadable = unreadable.iter().map(|name| format!("unreadable {name}\n"));
    digest::digest(revokes.chain(stays).chain(unreadable))
}

/// Whether a person has confirmed what would be done now.
///
/// # Errors
/// It is something else.
pub fn confirmed(retirement: &Retirement, shown: &str) -> Result<(), Refusal> {
    must_be(&digest(retirement), shown, "retire")
}

/// Revokes what was found, and wipes the store once that is done. To be called, and to be found, when nothing else works with
/// the store: what is minted meanwhile would be left.
///
/// # Errors
/// Nothing was revoked.
pub async fn carry_out<D: Deliver>(
    keepers: Keepers<'_, HostStore, D>,
    home: &Shared<HostStore, D, SystemClock>,
    found: Retirement,
    note: impl Fn(String),
) -> Result<RetireReport, Refusal> {
    // From here on nothing is minted in place of what is revoked, whatever happens to this process.
    home.ledger.store().begin_to_retire().map_err(|error| Refusal::of(&error))?;
    note(format!("revoking {}", tokens(found.revokes.len())));
    let mut retired = RetireReport { stays: found.stays, ..RetireReport::default() };
    let asked: BTreeSet<TokenId> = found.revokes.iter().map(|one| one.id.clone()).collect();
    revoke_all(keepers, found.revokes, &mut retired).await;
    retired.errors.extend(left(keepers, &home.ledger, &asked).await);
    if !retired.errors.is_empty() {
        return Ok(retired);
    }
    retired.errors.extend(home.withdraw_all().await);
    match home.ledger.store().wipe().await {
        Ok(()) => retired.wiped = Some(home.ledger.store().path()),
        Err(error) => retired.errors.push(error.to_string()),
    }
    Ok(retired)
}

/// Each server in its own time.
async fn revoke_all<D: Deliver>(
    keepers: Keepers<'_, HostStore, D>,
    revokes: Vec<Revocation>,
    retired: &mut RetireReport,
) {
    let mut of: BTreeMap<_, Vec<Revocation>> = BTreeMap::new();
    revokes.into_iter().for_each(|one| of.entry(one.server.clone()).or_default().push(one));
    let servers = keepers.iter().filter_map(|keeper| Some((keeper, of.remove(keeper.server_name())?)));
    let all = servers.map(|(keeper, revokes)| {
        let each = revokes.into_iter().map(move |one| async move {
            let outcome = revoke(keeper, &one).await;
            (one, outcome)
        });
        stream::iter(each).buffer_unordered(AT_ONCE).collect::<Vec<_>>()
    });
    for (one, outcome) in futures_util::future::join_all(all).await.into_iter().flatten() {
        match outcome {
            Ok(errors) => {
                retired.errors.extend(errors);
                retired.revoked.push(one);
            }
            Err(error) => retired.errors.push(error),
        }
    }
}

/// Revokes one, and returns what could not be sealed or delivered after that.
async fn revoke<T: Store, D: Deliver>(
    keeper: &HostKeeper<T, D>,
    one: &Revocation,
) -> Result<Vec<String>, String> {
    let errors = if one.is_recorded {
        keeper.retire(&one.name, &one.id).await
    } else {
        keeper.revoke_unrecorded(&one.id).await.map(|()| vec![])
    };
    errors.map_err(|error| format!("token {}: cannot revoke {}: {error}", one.name, one.id))
}

/// `1 token`, or more.
#[must_use]
pub fn tokens(count: usize) -> String {
    format!("{count} token{}", if count == 1 { "" } else { "s" })
}

/// What a list taken afterwards shows besides what was revoked, and what may come yet.
async fn left<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ledger: &Ledger<T>,
    asked: &BTreeSet<TokenId>,
) -> Vec<String> {
    let left = match find(keepers, ledger, &[]).await {
        Ok(left) => left,
        Err(refusal) => return vec![refusal.to_string()],
    };
    let live = left.revokes.iter().filter(|one| !asked.contains(&one.id));
    let live = live.map(|one| format!("token {}: {} appeared on server {}", one.name, one.id, one.server));
    let unanswered = left.unanswered.iter().map(|one| {
        let (name, server, until) = (&one.name, &one.server, one.until);
        format!("token {name}: server {server} did not answer a mint, its outcome is known by {until:.0}")
    });
    live.chain(unanswered).collect()
}
