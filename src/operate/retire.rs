//! Retiring a host: every token of this instance ends, and the store is wiped.

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
        plan::{Ending, Retirement, Staying, Stays},
    },
    model::{Known, Record, ServerKey, TokenId},
    store::{HostStore, Store},
};

/// So many tokens are ended at once on one server.
const ENDS: usize = 8;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Retired {
    /// Tokens that have ended.
    pub ended: Vec<Ending>,
    /// What is left to do, and why.
    pub errors: Vec<String>,
    /// The store's folder, once it is wiped.
    pub wiped: Option<PathBuf>,
}

/// What would become of this host's tokens.
///
/// # Errors
/// A server cannot be asked, or a record is a later program's.
pub async fn find<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ledger: &Ledger<T>,
) -> Result<Retirement, Refusal> {
    let known = ledger.known();
    if let Some((name, _)) = known.iter().find(|(_, known)| matches!(known, Known::Later(_))) {
        let what = format!("token {name}: its record is of a later version");
        return Err(Refusal::new(what, "retire with the influx-tokend that wrote it, or a later one"));
    }
    let mut all = Retirement::default();
    for keeper in keepers {
        let found = keeper.retirement().await.map_err(|error| Refusal::of(&error))?;
        all.ends.extend(found.ends);
        all.stays.extend(found.stays);
        all.unanswered.extend(found.unanswered);
    }
    let named: Vec<&ServerKey> = keepers.iter().map(|keeper| keeper.server_key()).collect();
    let out_of_reach = elsewhere(&named, &all, known.values().filter_map(Known::record));
    all.stays.extend(out_of_reach);
    all.unreadable =
        known.iter().filter(|(_, known)| known.record().is_none()).map(|(name, _)| name.clone()).collect();
    all.ends.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    all.stays.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(all)
}

/// Tokens on servers that the list does not name, unless they have been found under another address.
fn elsewhere<'a>(
    named: &[&ServerKey],
    found: &Retirement,
    records: impl Iterator<Item = &'a Record>,
) -> Vec<Staying> {
    let found: BTreeSet<&TokenId> =
        found.ends.iter().map(|one| &one.id).chain(found.stays.iter().map(|one| &one.id)).collect();
    let of = |record: &'a Record| {
        let held = record.held().filter(|held| !named.contains(&&held.server) && !found.contains(&held.id));
        let staying = held.map(|held| Staying {
            name: record.name.clone(),
            id: held.id.clone(),
            server: held.server.clone(),
            why: Stays::FormerServer,
        });
        staying.collect::<Vec<_>>()
    };
    records.flat_map(of).collect()
}

/// So that nobody confirms something else than what was shown.
#[must_use]
pub fn digest(retirement: &Retirement) -> String {
    let Retirement { ends, stays, unreadable, .. } = retirement;
    let ends = ends.iter().map(|Ending { name, id, server, .. }| format!("end {name}\n{id}\n{server}\n"));
    let stays =
        stays.iter().map(|Staying { name, id, server, .. }| format!("leave {name}\n{id}\n{server}\n"));
    let unreadable = unreadable.iter().map(|name| format!("unreadable {name}\n"));
    digest::digest(ends.chain(stays).chain(unreadable))
}

/// Whether a person has confirmed what would be done now.
///
/// # Errors
/// It is something else.
pub fn confirmed(retirement: &Retirement, told: &str) -> Result<(), Refusal> {
    must_be(&digest(retirement), told, "retire")
}

/// Ends what was found, and wipes the store once that is done. To be called, and to be found, when nothing else works with
/// the store: what is minted meanwhile would be left.
///
/// # Errors
/// Nothing was ended.
pub async fn carry_out<D: Deliver>(
    keepers: Keepers<'_, HostStore, D>,
    home: &Shared<HostStore, D, SystemClock>,
    found: Retirement,
    tell: impl Fn(String),
) -> Result<Retired, Refusal> {
    // From here on nothing is minted in place of what has ended, whatever happens to this process.
    home.ledger.store().begin_to_retire().map_err(|error| Refusal::of(&error))?;
    tell(format!("ending {} tokens", found.ends.len()));
    let mut retired = Retired::default();
    let asked: BTreeSet<TokenId> = found.ends.iter().map(|one| one.id.clone()).collect();
    end_all(keepers, found.ends, &mut retired).await;
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
async fn end_all<D: Deliver>(keepers: Keepers<'_, HostStore, D>, ends: Vec<Ending>, retired: &mut Retired) {
    let mut of: BTreeMap<_, Vec<Ending>> = BTreeMap::new();
    ends.into_iter().for_each(|one| of.entry(one.server.clone()).or_default().push(one));
    let servers = keepers.iter().filter_map(|keeper| Some((keeper, of.remove(keeper.server_name())?)));
    let all = servers.map(|(keeper, ends)| {
        let each = ends.into_iter().map(move |one| async move {
            let outcome = end(keeper, &one).await;
            (one, outcome)
        });
        stream::iter(each).buffer_unordered(ENDS).collect::<Vec<_>>()
    });
    for (one, outcome) in futures_util::future::join_all(all).await.into_iter().flatten() {
        match outcome {
            Ok(errors) => {
                retired.errors.extend(errors);
                retired.ended.push(one);
            }
            Err(error) => retired.errors.push(error),
        }
    }
}

/// Ends one, and tells what could not be sealed or delivered after that.
async fn end<T: Store, D: Deliver>(keeper: &HostKeeper<T, D>, one: &Ending) -> Result<Vec<String>, String> {
    let ended = if one.is_recorded {
        keeper.retire(&one.name, &one.id).await
    } else {
        keeper.end_unrecorded(&one.id).await.map(|()| vec![])
    };
    ended.map_err(|error| format!("token {}: {} has not ended: {error}", one.name, one.id))
}

/// What a list taken afterwards shows that was not to be ended before, and what may come yet.
async fn left<T: Store, D: Deliver>(
    keepers: Keepers<'_, T, D>,
    ledger: &Ledger<T>,
    asked: &BTreeSet<TokenId>,
) -> Vec<String> {
    let left = match find(keepers, ledger).await {
        Ok(left) => left,
        Err(refusal) => return vec![refusal.to_string()],
    };
    let live = left.ends.iter().filter(|one| !asked.contains(&one.id));
    let live =
        live.map(|one| format!("token {}: {} has appeared on server {}", one.name, one.id, one.server));
    let unanswered = left.unanswered.iter().map(|one| {
        let (name, server, until) = (&one.name, &one.server, one.until);
        format!(
            "token {name}: server {server} did not answer a mint, what comes of it is known by {until:.0}"
        )
    });
    live.chain(unanswered).collect()
}
