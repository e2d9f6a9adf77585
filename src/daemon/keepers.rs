//! One task per server.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    assemble::{Home, HostKeeper, connect},
    board::Board,
};
use crate::{
    config::{Config, TokenSource},
    hint::Hint,
    lifecycle::{Clock, Mode, Signals, SystemClock},
    model::{Known, ServerName},
};

/// A server whose certificates cannot be read is tried again after this.
const RECONNECT: Duration = Duration::from_secs(30);
/// This soon after boot the first list may wait, so that a rack that comes up does not ask all at once (rule 15).
const AFTER_BOOT: Duration = Duration::from_secs(600);
/// And it waits this long at most.
const LONGEST_START: Duration = Duration::from_secs(300);

/// The keepers at work, for whoever asks them for something.
#[derive(Debug, Default)]
pub(super) struct Registry(RwLock<BTreeMap<ServerName, Arc<HostKeeper>>>);

impl Registry {
    pub(super) fn all(&self) -> Vec<Arc<HostKeeper>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn enter(&self, name: &ServerName, keeper: &Arc<HostKeeper>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), keeper.clone());
    }

    fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The keepers of all servers of a list.
pub(super) struct Keepers {
    registry: Arc<Registry>,
    stop: watch::Sender<bool>,
    wake: watch::Sender<u64>,
    tasks: JoinSet<()>,
}

impl Keepers {
    pub(super) fn start(
        config: &Config,
        home: &Arc<Home>,
        board: &Arc<Board>,
        registry: &Arc<Registry>,
    ) -> Self {
        let mut keepers = Self {
            registry: registry.clone(),
            stop: watch::Sender::new(false),
            wake: watch::Sender::new(0),
            tasks: JoinSet::new(),
        };
        board.servers(config.servers.keys().cloned().collect());
        for name in config.servers.keys() {
            let task = keep(
                config.clone(),
                name.clone(),
                home.clone(),
                board.clone(),
                registry.clone(),
                keepers.stop.subscribe(),
                keepers.wake.subscribe(),
            );
            keepers.tasks.spawn(task);
        }
        keepers
    }

    /// Another list with the same servers is in force.
    pub(super) fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    /// Nothing new is begun; what is under way is awaited up to the deadline (rule 17).
    pub(super) async fn stop(&mut self, deadline: Duration) {
        self.stop.send_replace(true);
        self.registry.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!(
                "a server has not answered in {} s, what it was asked is left to its list",
                deadline.as_secs()
            );
            self.tasks.shutdown().await;
        }
    }
}

async fn keep(
    config: Config,
    name: ServerName,
    home: Arc<Home>,
    board: Arc<Board>,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
    mut wake: watch::Receiver<u64>,
) {
    let keeper = loop {
        match connect(&config, &name, &home) {
            Ok(keeper) => break Arc::new(keeper),
            Err(error) => board.server_error(&name, &error.to_string(), error.hint(), false),
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    };
    registry.enter(&name, &keeper);
    let may_restart = matches!(config.servers[&name].secret(), Some(TokenSource::Credential(_)));
    let signals = Signals::new(stop);
    let drive = keeper.drive(Mode::Daemon, first_wait(&name, &home), signals, |report| {
        board.report(&name, report, may_restart);
    });
    let wakes = async {
        while wake.changed().await.is_ok() {
            keeper.wake();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = drive => {}
        () = wakes => {}
    }
}

/// Soon after a boot with nothing to do, some time up to five minutes; else at once.
fn first_wait(name: &ServerName, home: &Home) -> Duration {
    let records = home.ledger.known();
    let settled = home.specs().values().filter(|spec| spec.server == *name).all(|spec| {
        let record = records.get(&spec.name).and_then(Known::record);
        record.is_some_and(|record| {
            record.current.is_some() && record.next.is_none() && record.intents.is_empty()
        })
    });
    if settled && SystemClock.since_boot() < AFTER_BOOT {
        LONGEST_START.mul_f64(home.share())
    } else {
        Duration::ZERO
    }
}
