//! Carrying out what a person asks a running daemon for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc::UnboundedSender,
    oneshot,
};

use super::{
    assemble::{Home, HostKeeper, connect_all, hooks},
    board::Board,
    hooks::HookWatch,
    keepers::Registry,
};
use crate::{
    config::{self, Config},
    deliver::Deliver as _,
    lifecycle::{self, Status, Turn, statuses},
    model::{Holders, Known, Name, ServerName, Time, TokenId},
    operate::{
        applied::{ApplyReport, PendingNames, ServerReport, Summary},
        check::Checked,
        command::{Command, Import, Refusal},
        confirm::Proposal,
        forget,
        import::Done,
        plan::{self, Notice},
        retire,
        status::{HostStatus, ListStatus, Seen, ServerStatus, Verdict},
        strays::{self, Separation},
        undo::{self, Cut},
    },
};

/// Beyond a probe's deadline and a server's time limit, this long is given to what a person waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the daemon's command line works with.
pub(super) struct Operator {
    pub(super) list: PathBuf,
    pub(super) context: config::ListContext,
    pub(super) home: Arc<Home>,
    pub(super) board: Arc<Board>,
    pub(super) keepers: Arc<Registry>,
    pub(super) hooks: HookWatch,
    /// The list in force.
    pub(super) config: RwLock<Arc<Config>>,
    /// To whoever runs the keepers.
    pub(super) asks: UnboundedSender<Ask>,
}

/// What only whoever runs the keepers can do.
pub(super) enum Ask {
    /// Stop them, and tell when they have stopped.
    Halt(oneshot::Sender<()>),
    /// Whoever had them stopped is done: they take up their work again, unless the store is being retired by now.
    GoOn,
    /// There is nothing left to do for this process.
    End,
}

/// The keepers have stopped, for as long as this is there: in whatever way that ends, they are not forgotten.
struct Halted(UnboundedSender<Ask>);

impl Drop for Halted {
    fn drop(&mut self) {
        _ = self.0.send(Ask::GoOn);
    }
}

type Notes = UnboundedSender<String>;
type HostKeepers<'a> = &'a [&'a HostKeeper];

impl Operator {
    /// Another list is in force.
    pub(super) fn accept(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a name has no value, as far as that is known here.
    pub(super) fn why_not(&self, name: &Name) -> Option<String> {
        let specs = self.home.specs();
        let server = specs.get(name).map(|spec| &spec.server);
        self.board.why_not(name, server)
    }

    pub(super) async fn carry_out(&self, command: Command, notes: &Notes) -> Result<Value, Refusal> {
        let keepers = self.keepers.all();
        let keepers: Vec<&HostKeeper> = keepers.iter().map(Arc::as_ref).collect();
        match command {
            Command::Status => value(self.status(&keepers).await),
            Command::Plan => value(plan::plan(&keepers).await.map_err(|error| Refusal::of(&error))?),
            Command::Check { list_only } => value(self.check(&keepers, list_only).await?),
            Command::Apply => {
                value(self.wait_for(&keepers, &PendingNames::default(), || wake_all(&keepers), notes).await?)
            }
            Command::Rotate { names, undo: false } => value(self.rotate(&keepers, names, notes).await?),
            Command::Rotate { names, undo: true } => value(self.undo(&keepers, names, notes).await?),
            Command::Revoke { name } => value(self.revoke(&keepers, name, notes).await?),
            Command::Confirm { digest } => self.confirm(&keepers, digest, notes).await,
            Command::Strays { revoke } if revoke.is_empty() => {
                value(strays::find(&keepers).await.map_err(|error| Refusal::of(&error))?)
            }
            Command::Strays { revoke } => value(strays::revoke(&keepers, &revoke).await?),
            Command::Separate => value(self.separate(&keepers).await?),
            Command::Forget { names } => {
                value(forget::forget(&self.config(), &self.home.ledger, &names).await?)
            }
            Command::Retire { digest, also } => self.retire(digest, &also, notes).await,
            Command::Import(import) => value(self.import(&keepers, import, notes).await?),
        }
    }

    async fn status(&self, keepers: HostKeepers<'_>) -> HostStatus {
        let tokens = self.tokens();
        let mut seen = Seen {
            findings: self.board.findings(),
            probes: probes(&self.home, keepers),
            reads: self.home.deliver.secrets().last_reads(),
            holders: self.holders(&tokens).await,
        };
        HostStatus {
            list: ListStatus { path: self.list.clone(), fault: self.board.list_fault() },
            servers: self.servers(keepers),
            tokens: tokens.into_iter().map(|status| seen.of(status)).collect(),
            hooks: self.hooks.status(&*self.home).await,
            refused_credentials: self.home.deliver.credentials().refused(),
        }
    }

    fn servers(&self, keepers: HostKeepers<'_>) -> Vec<ServerStatus> {
        let mut servers = self.board.server_statuses();
        for server in &mut servers {
            let Some(keeper) = keepers.iter().find(|keeper| keeper.server_name().0 == server.name) else {
                continue;
            };
            server.skew = keeper.skew();
            match keeper.turn() {
                Turn::Asks(since) => server.asked_since = Some(since),
                Turn::Waits(until) => server.asked_again = Some(until),
                Turn::Acts => {}
            }
        }
        servers
    }

    /// Who may hold a former value of those names that have one.
    async fn holders(&self, tokens: &[Status]) -> BTreeMap<Name, Holders> {
        let mut holders = BTreeMap::new();
        for Status { name, generation, .. } in tokens.iter().filter(|status| !status.retiring.is_empty()) {
            holders.insert(name.clone(), self.home.deliver.holders(name, *generation).await);
        }
        holders
    }

    fn tokens(&self) -> Vec<Status> {
        let keepers = self.keepers.all();
        let clocks = lifecycle::clocks(Time::now(), keepers.iter().map(Arc::as_ref));
        statuses(&self.home.specs(), &self.home.ledger.known(), &self.config().lifecycle, &clocks)
    }

    /// The list as it is in the file now, which need not be the one in force.
    async fn check(&self, keepers: HostKeepers<'_>, list_only: bool) -> Result<Checked, Refusal> {
        let config = Config::load(&self.list, &self.context).map_err(|error| Refusal::of(&error))?;
        let mut checked = Checked::list(&config);
        if !list_only {
            checked.hooks(&hooks(&config));
            checked.faults.extend(self.home.ledger.faults().iter().map(|fault| Notice::of_error(fault)));
            checked.ask(keepers).await;
        }
        Ok(checked)
    }

    async fn rotate(
        &self,
        keepers: HostKeepers<'_>,
        names: Vec<Name>,
        notes: &Notes,
    ) -> Result<ApplyReport, Refusal> {
        let names: BTreeSet<Name> = names.into_iter().collect();
        let concerned = lifecycle::keepers_of(keepers.iter().copied(), &names);
        let ask =
            || lifecycle::rotate(keepers.iter().copied(), &names).map_err(|errors| Refusal::of_all(&errors));
        self.wait_for(&concerned, &self.awaited(&names), ask, notes).await
    }

    async fn undo(
        &self,
        keepers: HostKeepers<'_>,
        names: Vec<Name>,
        notes: &Notes,
    ) -> Result<ApplyReport, Refusal> {
        let names: BTreeSet<Name> = names.into_iter().collect();
        let awaited = self.awaited(&names);
        undo::undo(keepers, &names).await?;
        self.follow_up(keepers, &names, &awaited, notes).await
    }

    async fn revoke(&self, keepers: HostKeepers<'_>, name: Name, notes: &Notes) -> Result<Cut, Refusal> {
        let names = BTreeSet::from([name.clone()]);
        let awaited = self.awaited(&names);
        let tell = |line| _ = notes.send(line);
        let (mut cut, errors) = undo::revoke(keepers, &name, tell).await?;
        if self.home.specs().contains_key(&name) {
            cut.applied = Some(self.follow_up(keepers, &names, &awaited, notes).await?);
        }
        errors.into_iter().for_each(|error| _ = notes.send(error));
        Ok(cut)
    }

    /// Has the servers of these names looked at once more.
    async fn follow_up(
        &self,
        keepers: HostKeepers<'_>,
        names: &BTreeSet<Name>,
        awaited: &PendingNames,
        notes: &Notes,
    ) -> Result<ApplyReport, Refusal> {
        let concerned = lifecycle::keepers_of(keepers.iter().copied(), names);
        self.wait_for(&concerned, awaited, || wake_all(&concerned), notes).await
    }

    async fn confirm(
        &self,
        keepers: HostKeepers<'_>,
        digest: Option<String>,
        notes: &Notes,
    ) -> Result<Value, Refusal> {
        let proposal = Proposal::find(keepers).await.map_err(|error| Refusal::of(&error))?;
        let Some(digest) = digest else { return value(proposal) };
        let approval = proposal.approve(&digest)?;
        let names: BTreeSet<Name> = approval.moved().cloned().collect();
        let ask = || {
            approval.pass_to(keepers);
            wake_all(keepers)
        };
        value(self.wait_for(keepers, &self.awaited(&names), ask, notes).await?)
    }

    /// By keepers of its own, which know of no list but what the store has: those at work may be in the middle of
    /// something, and are stopped before anything is revoked.
    async fn retire(
        &self,
        digest: Option<String>,
        also: &[TokenId],
        notes: &Notes,
    ) -> Result<Value, Refusal> {
        let config = self.config();
        let keepers = connect_all(&config, &self.home).map_err(|error| Refusal::of(&error))?;
        let keepers: Vec<&HostKeeper> = keepers.iter().collect();
        let found = retire::find(&keepers, &self.home.ledger, also).await?;
        let Some(digest) = digest else { return value(found) };
        retire::confirmed(&found, &digest)?;
        let _halted = self.halt().await?;
        // What was under way may have been minted since.
        let found = retire::find(&keepers, &self.home.ledger, also).await?;
        let retired = retire::carry_out(&keepers, &self.home, found, |line| _ = notes.send(line)).await?;
        if retired.wiped.is_some() {
            _ = self.asks.send(Ask::End);
        }
        value(retired)
    }

    /// While no keeper mints: its token would bear the former instance. Afterwards they plan anew.
    async fn separate(&self, keepers: HostKeepers<'_>) -> Result<Separation, Refusal> {
        let unknown = strays::unknown(keepers, &self.home.ledger).await?;
        let _halted = self.halt().await?;
        strays::separate(&self.home.ledger, unknown).await
    }

    async fn halt(&self) -> Result<Halted, Refusal> {
        let (told, stopping) = oneshot::channel();
        _ = self.asks.send(Ask::Halt(told));
        let halted = Halted(self.asks.clone());
        stopping.await.map_err(|_| {
            Refusal::new("the daemon is stopping, nothing was revoked", "run the command again")
        })?;
        Ok(halted)
    }

    async fn import(&self, keepers: HostKeepers<'_>, import: Import, notes: &Notes) -> Result<Done, Refusal> {
        let server = import.server_in(&self.config())?;
        let Some(keeper) = keepers.iter().find(|keeper| *keeper.server_name() == server) else {
            return Err(Refusal::new(
                format!("server {server} cannot be asked"),
                "`influx-tokend status` says why",
            ));
        };
        let names = BTreeSet::from([import.name.clone()]);
        let awaited = self.awaited(&names);
        let imported = keeper.import(&import.order()).await?;
        let applied = if imported.listed {
            Some(self.wait_for(&[*keeper], &awaited, || wake_all(&[*keeper]), notes).await?)
        } else {
            None
        };
        Ok(Done { imported, applied })
    }

    fn awaited(&self, names: &BTreeSet<Name>) -> PendingNames {
        PendingNames::of(&self.home.ledger, names)
    }

    /// Asks, and waits until it has been done as far as it can be now. What is refused is not waited for.
    async fn wait_for(
        &self,
        keepers: HostKeepers<'_>,
        awaited: &PendingNames,
        ask: impl FnOnce() -> Result<(), Refusal>,
        notes: &Notes,
    ) -> Result<ApplyReport, Refusal> {
        let reports = self.board.listen();
        let begun = keepers.iter().map(|keeper| (keeper.server_name().clone(), keeper.last_pass())).collect();
        ask()?;
        let mut summary = Summary::about(awaited);
        let patience = self.patience();
        let in_time = keepers.is_empty()
            || tokio::time::timeout(
                patience,
                self.gather(&mut summary, keepers, awaited, begun, reports, notes),
            )
            .await
            .is_ok();
        if !in_time {
            let longer = "it takes longer: the daemon goes on, `influx-tokend status` tells how far it is";
            summary.errors.push(longer.to_owned());
        } else {
            summary.add_lacking(&awaited.lacking(&self.home.ledger));
        }
        Ok(summary.applied(self.tokens()))
    }

    /// Listens until each server has reported on a pass that began after the asking, and no probe is open or all that
    /// was asked for is there.
    async fn gather(
        &self,
        summary: &mut Summary,
        keepers: HostKeepers<'_>,
        awaited: &PendingNames,
        mut begun: BTreeMap<ServerName, u64>,
        mut reports: Receiver<ServerReport>,
        notes: &Notes,
    ) {
        loop {
            match reports.recv().await {
                Ok(report) if keepers.iter().any(|keeper| *keeper.server_name() == report.server) => {
                    report.note().into_iter().for_each(|note| _ = notes.send(note));
                    summary.take(&report);
                    if begun.get(&report.server).is_some_and(|begun| report.pass > *begun) {
                        begun.remove(&report.server);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            let is_there = !awaited.is_empty() && awaited.lacking(&self.home.ledger).is_empty();
            if begun.is_empty() && (is_there || self.is_at_rest(keepers)) {
                return;
            }
        }
    }

    /// Whether no token of these servers is being probed: by whoever keeps them now, for a list may have changed since.
    fn is_at_rest(&self, keepers: HostKeepers<'_>) -> bool {
        let now = self.keepers.all();
        let of = |name: &ServerName| now.iter().find(|keeper| keeper.server_name() == name);
        keepers.iter().all(|keeper| of(keeper.server_name()).is_some_and(|keeper| !keeper.is_probing()))
    }

    /// As long as the slowest probe may take, with a request before and after it.
    fn patience(&self) -> Duration {
        let config = self.config();
        let probe =
            config.specs.values().filter_map(|spec| spec.probe.as_ref()).map(|probe| probe.deadline).max();
        let request = config.servers.values().map(|server| server.timeout).max();
        probe.unwrap_or_default() + request.unwrap_or_default() * 3 + PATIENCE
    }
}

fn wake_all(keepers: HostKeepers<'_>) -> Result<(), Refusal> {
    keepers.iter().for_each(|keeper| keeper.wake());
    Ok(())
}

/// What the data plane said of each name's current token and the one to come.
fn probes(home: &Home, keepers: HostKeepers<'_>) -> BTreeMap<Name, Vec<Verdict>> {
    let known = home.ledger.known();
    let records = known.iter().filter_map(|(name, known)| Some((name, Known::record(known)?)));
    records
        .map(|(name, record)| {
            let held = record.current.iter().chain(&record.next);
            let verdicts = held.filter_map(|held| {
                let keeper = keepers.iter().find(|keeper| *keeper.server_key() == held.server)?;
                let probed = keeper.probed(&held.id)?;
                Some(Verdict {
                    id: held.id.to_string(),
                    accepted_at: probed.accepted_at,
                    refused_since: probed.refused.map(|(first, _)| first),
                    unreachable_since: probed.unreachable_since,
                    last: probed.last,
                })
            });
            (name.clone(), verdicts.collect())
        })
        .collect()
}

fn value(result: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(result).map_err(|error| Refusal::new(error.to_string(), "report this"))
}
