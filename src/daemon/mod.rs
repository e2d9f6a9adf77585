//! The daemon: wiring only. Watches the list, keeps a keeper per server, answers signals, tells systemd.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::{
    config::{self, Config},
    hint::Hint,
    model::Name,
    operate::command::Refusal,
    store::Retired,
    supervisor::{Supervisor, Watchdog},
    watch::ListWatch,
};

mod admin;
mod assemble;
mod board;
mod desk;
mod hooks;
mod keepers;
mod list;
mod listen;
mod operator;

pub use assemble::{
    AssembleError, Home, HostKeeper, connect, connect_all, hooks, memory, migrate, open, open_read_only,
    open_to_retire, reseal, take_over,
};
pub use board::Board;
pub use list::accept;

use desk::Desk;
use hooks::HookWatch;
use keepers::{Keepers, Registry};
use list::{Accepted, Reload};
use listen::Passed;
use operator::{Ask, Operator};

/// Beyond the servers' own time limits, this long is given to seal what was minted at the last moment.
const DRAIN: Duration = Duration::from_secs(5);

/// What is not available is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// A start that takes longer is no restart that clients may simply wait for.
const PROMPT: Duration = Duration::from_secs(2);

/// How the daemon ended, if not by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop.
    Stopped,
    /// The management token is refused for good, and only a restart brings a fresh one.
    WantsRestart,
}

/// Runs until a signal ends it. No fault of list, store, server or certificates does.
///
/// # Errors
/// The process cannot be set up at all: signals, or the first list with no accepted one to fall back on.
pub async fn run(list: PathBuf, context: config::ListContext) -> Result<End, AssembleError> {
    let mut signals = Signals::new().map_err(AssembleError::Signals)?;
    let supervisor = Supervisor;
    let board = Arc::new(Board::new());
    // Before the list is read: what changes in between is then seen.
    let mut watch = ListWatch::new(&list);
    let desk = Desk::new(Passed::take());
    let mut watchdog = supervisor.watchdog();
    let starting =
        alive_while(supervisor, &mut watchdog, Box::pin(start(&list, &context, supervisor, &desk)));
    let Some(opened) = signals.or_stop(starting).await else {
        desk.stop().await;
        return Ok(End::Stopped);
    };
    let (mut accepted, home) = opened?;
    board.list(accepted.fault.clone());
    home.set_specs(accepted.config.specs.clone());
    home.deliver_all().await;
    home.deliver.report_strangers(names(&home)).await;
    let (asks, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let operator = Arc::new(Operator {
        list: list.clone(),
        context: context.clone(),
        home: home.clone(),
        board: board.clone(),
        keepers: Arc::new(Registry::default()),
        hooks: HookWatch::default(),
        config: RwLock::new(Arc::new(accepted.config.clone())),
        asks,
    });
    desk.gate.open(operator.clone());
    let listening = alive_while(supervisor, &mut watchdog, listen(&desk, supervisor));
    if signals.or_stop(listening).await.is_none() {
        desk.stop().await;
        return Ok(End::Stopped);
    }
    supervisor.ready();
    tracing::info!(list = %list.display(), tokens = accepted.config.specs.len(), "ready");

    let mut keepers = Keepers::start(&accepted.config, &home, &board, &operator.keepers);
    // So many persons are about to retire the host, or one has begun to: meanwhile no keeper is started.
    let mut halts = 0_u32;
    // When a list that the store could not have is tried again.
    let mut again = None;
    let mut follow_hooks = std::pin::pin!(operator.hooks.follow(&*home));
    let end = loop {
        supervisor.status(&board.summary(&home));
        tokio::select! {
            told = signals.next() => match told {
                Told::Stop => break End::Stopped,
                Told::Reload if halts > 0 => {}
                Told::Reload => {
                    supervisor.reloading();
                    let reload = Box::pin(reload(&operator, &mut accepted, &mut keepers));
                    let reload = alive_while(supervisor, &mut watchdog, reload);
                    let Some(next) = signals.or_stop(reload).await else { break End::Stopped };
                    again = next;
                    supervisor.ready();
                }
            },
            () = changed(&mut watch, again), if halts == 0 => {
                let reload = Box::pin(reload(&operator, &mut accepted, &mut keepers));
                let reload = alive_while(supervisor, &mut watchdog, reload);
                let Some(next) = signals.or_stop(reload).await else { break End::Stopped };
                again = next;
            }
            () = watchdog.tick() => supervisor.alive(),
            // After each pass.
            () = board.changed() => operator.hooks.look(),
            () = &mut follow_hooks => {}
            Some(ask) = asked.recv() => match ask {
                Ask::Halt(done) => {
                    halts += 1;
                    alive_while(supervisor, &mut watchdog, keepers.stop(drain(&accepted.config))).await;
                    // Whoever asked may have gone away.
                    let _told = done.send(());
                }
                // For good, from the mark in the store on.
                Ask::GoOn if Retired::of(&home.ledger.store().path()) != Retired::No => {}
                Ask::GoOn => {
                    halts -= 1;
                    if halts == 0 {
                        let go_on = Box::pin(go_on(&operator, &mut accepted, &mut keepers));
                        let go_on = alive_while(supervisor, &mut watchdog, go_on);
                        let Some(next) = signals.or_stop(go_on).await else { break End::Stopped };
                        again = next;
                    }
                }
                Ask::End => break End::Stopped,
            },
            () = board.wants_restart() => break End::WantsRestart,
        }
    };
    supervisor.stopping();
    tracing::info!("stopping");
    let drain = drain(&accepted.config);
    supervisor.extend_timeout(drain + DRAIN);
    let stop = async {
        keepers.stop(drain).await;
        home.ledger.finish().await;
    };
    alive_while(supervisor, &mut watchdog, stop).await;
    // Last: consumers are answered as long as there is somebody to answer.
    desk.stop().await;
    Ok(end)
}

/// Returns when the list is to be looked at.
async fn changed(watch: &mut ListWatch, again: Option<Instant>) {
    match again {
        None => watch.changed().await,
        Some(again) => drop(tokio::time::timeout_at(again, watch.changed()).await),
    }
}

/// Waiting for a slow server is no hang.
async fn alive_while<T>(supervisor: Supervisor, watchdog: &mut Watchdog, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = watchdog.tick() => supervisor.alive(),
        }
    }
}

/// Opens what the list names. A store that is not available is waited for; it is never taken for empty. Once the sockets
/// say so, systemd need not wait with us: what comes after this unit would wait for it, or be given up.
async fn start(
    list: &std::path::Path,
    context: &config::ListContext,
    supervisor: Supervisor,
    desk: &Desk,
) -> Result<(Accepted, Arc<Home>), AssembleError> {
    let (mut told, mut told_of_sockets) = (String::new(), String::new());
    loop {
        let mut opening = std::pin::pin!(list::first(list, context, desk));
        let opened = match tokio::time::timeout(PROMPT, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                let why = Refusal::new("the store has not opened yet", "ask again");
                refuse(desk, &why, &mut told_of_sockets, supervisor).await;
                opening.await
            }
        };
        let error = match opened {
            Ok(opened) => return Ok(opened),
            Err(error) if error.passes() => error,
            Err(error) => return Err(error),
        };
        // Before it is told: who reads that may then ask.
        let is_answered = refuse(desk, &error, &mut told_of_sockets, supervisor).await;
        tell_once(&error, &mut told, supervisor);
        // Without a list nobody knows where to answer.
        if is_answered && !matches!(error, AssembleError::List(_)) {
            supervisor.ready();
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Answers on the sockets that there is nothing yet. Whether they can be had.
async fn refuse(desk: &Desk, why: &dyn Hint, told: &mut String, supervisor: Supervisor) -> bool {
    let answered = desk.answer_not_ready(why).await;
    if let Err(error) = &answered {
        tell_once(error, told, supervisor);
    }
    answered.is_ok()
}

/// Answers on the sockets, as soon as they can be had.
async fn listen(desk: &Desk, supervisor: Supervisor) {
    let mut told = String::new();
    while let Err(error) = desk.answer().await {
        tell_once(&error, &mut told, supervisor);
        tokio::time::sleep(RETRY).await;
    }
}

fn tell_once(error: &dyn Hint, told: &mut String, supervisor: Supervisor) {
    let text = error.to_string();
    if text != *told {
        tracing::error!("{text}");
        error.hint().iter().for_each(|hint| tracing::error!("hint: {hint}"));
        supervisor.status(&text);
        *told = text;
    }
}

/// Takes over what the file says now, if it is valid. `Some`: that is to be tried again then.
async fn reload(operator: &Operator, accepted: &mut Accepted, keepers: &mut Keepers) -> Option<Instant> {
    let Operator { list, context, home, board, .. } = operator;
    operator.hooks.look();
    let reload = list::reload(list, context, accepted, home).await;
    let again = matches!(reload, Reload::NotSealed(_)).then(|| Instant::now() + RETRY);
    match reload {
        Reload::Same => board.list(None),
        // Told already, and tried again.
        Reload::NotSealed(fault) if board.list_fault().as_ref() == Some(&fault) => {}
        Reload::Refused(fault) | Reload::NotSealed(fault) => {
            tracing::error!("the list is not taken over, the last accepted one stays in force\n{fault}");
            board.list(Some(fault));
        }
        Reload::Accepted(new) => take_over_list(operator, *new, accepted, keepers).await,
    }
    again
}

/// Another list is in force.
async fn take_over_list(operator: &Operator, new: Accepted, accepted: &mut Accepted, keepers: &mut Keepers) {
    let Operator { home, board, .. } = operator;
    tracing::info!(tokens = new.config.specs.len(), "list accepted");
    for part in list::needs_restart(&accepted.config, &new.config) {
        tracing::warn!("{part} has changed: that takes effect when influx-tokend is restarted");
    }
    let servers_changed = accepted.config.servers != new.config.servers
        || accepted.config.lifecycle != new.config.lifecycle
        || accepted.config.reconcile != new.config.reconcile;
    *accepted = new;
    operator.accept(accepted.config.clone());
    board.list(None);
    home.set_specs(accepted.config.specs.clone());
    home.deliver_all().await;
    if servers_changed {
        keepers.stop(drain(&accepted.config)).await;
        *keepers = Keepers::start(&accepted.config, home, board, &operator.keepers);
    } else {
        keepers.wake();
    }
}

/// Has the tokens looked after again: nothing has come of retiring the host.
async fn go_on(operator: &Operator, accepted: &mut Accepted, keepers: &mut Keepers) -> Option<Instant> {
    let Operator { home, board, keepers: registry, .. } = operator;
    tracing::warn!("the host is not retired: its tokens are looked after again");
    *keepers = Keepers::start(&accepted.config, home, board, registry);
    // Nobody has looked at the list meanwhile.
    reload(operator, accepted, keepers).await
}

/// Requests under way are awaited as long as the slowest server may take.
fn drain(config: &Config) -> Duration {
    config.servers.values().map(|server| server.timeout).max().unwrap_or_default() + DRAIN
}

/// Every name that a file may be delivered for.
fn names(home: &Home) -> BTreeSet<Name> {
    home.specs().keys().chain(home.ledger.known().keys()).cloned().collect()
}

/// What a person or systemd tells us.
enum Told {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// `None` once told to stop. A hangup meanwhile waits to be heard.
    async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }
}
