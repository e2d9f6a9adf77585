//! Where the daemon is asked: its sockets, from the moment they are answered on. That is when what is sealed has been
//! delivered; or before, if the store does not open: nobody is to wait for an answer for as long as that lasts.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    admin,
    assemble::memory,
    listen::{ListenError, Passed, Sockets},
    operator::Operator,
};
use crate::{
    config::Config,
    deliver::{Left, Memory, socket::WhyNot},
    hint::Hint,
    model::{Name, Spec},
    operate::command::Refusal,
};

/// What the admin socket leads to: nothing but a reason, until everything is open.
#[derive(Default)]
pub(super) struct Gate {
    operator: OnceLock<Arc<Operator>>,
    closed: Mutex<Option<Refusal>>,
}

impl Gate {
    /// Everything is open.
    pub(super) fn open(&self, operator: Arc<Operator>) {
        let _only_once = self.operator.set(operator);
    }

    /// Why it is not.
    fn close(&self, why: Refusal) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Who carries commands out.
    pub(super) fn operator(&self) -> Result<Arc<Operator>, Refusal> {
        self.operator.get().cloned().ok_or_else(|| {
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            closed.unwrap_or_else(|| Refusal::new("the daemon has not started yet", "ask again"))
        })
    }
}

/// The sockets, and what they are answered from.
pub(super) struct Desk {
    passed: Passed,
    memory: Memory,
    pub(super) gate: Arc<Gate>,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    socket: Option<PathBuf>,
    /// What the list asks for.
    wanted: Arc<BTreeMap<Name, Spec>>,
    answering: Option<Answering>,
    /// What was being answered when the process before was killed.
    left: Option<Answering>,
}

impl Desk {
    pub(super) fn new(mut passed: Passed) -> Self {
        let (memory, gate) = (memory(), Arc::<Gate>::default());
        memory.secrets().explain(why_not(gate.clone()));
        // Whatever becomes of the sockets.
        let left = Some(Answering::what_is_left(passed.take_left(), &memory));
        let state = State { left, ..State::default() };
        Self { passed, memory, gate, state: tokio::sync::Mutex::new(state) }
    }

    /// What a list's tokens are answered from. Where it names another socket than the one before, that is given up.
    pub(super) async fn memory(&self, config: &Config) -> Memory {
        let mut state = self.state.lock().await;
        state.wanted = config.specs.clone();
        let before = state.socket.replace(config.socket.clone());
        if before != state.socket
            && let Some(answering) = state.answering.take()
        {
            answering.stop().await;
        }
        self.memory.clone()
    }

    /// Answers from now on, if it does not yet.
    pub(super) async fn answer(&self) -> Result<(), ListenError> {
        let mut state = self.state.lock().await;
        let State { socket: Some(socket), answering: answering @ None, .. } = &mut *state else {
            return Ok(());
        };
        let sockets = Sockets::open(socket, &self.passed)?;
        *answering = Some(Answering::start(sockets, &self.memory, &self.gate));
        Ok(())
    }

    /// Answers, although there is nothing to hand out: every name of the list is not ready, for this reason.
    pub(super) async fn answer_not_ready(&self, why: &dyn Hint) -> Result<(), ListenError> {
        self.gate.close(Refusal::of(why));
        let wanted = self.state.lock().await.wanted.clone();
        self.memory.expect(&wanted.iter().map(|(name, spec)| (name, &*spec.allow)).collect()).await;
        self.answer().await
    }

    /// What is being answered is answered.
    pub(super) async fn stop(&self) {
        let mut state = self.state.lock().await;
        for answering in [state.answering.take(), state.left.take()].into_iter().flatten() {
            answering.stop().await;
        }
    }
}

/// What answers on the sockets.
struct Answering {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Answering {
    fn start(sockets: Sockets, memory: &Memory, gate: &Arc<Gate>) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let (secrets, stopping) = (memory.secrets(), stop.subscribe());
        tasks.spawn(async move {
            let (listener, _file) = sockets.secrets.into_parts();
            secrets.serve(listener, stopping).await;
        });
        let (gate, stopping) = (gate.clone(), stop.subscribe());
        tasks.spawn(async move {
            let (listener, _file) = sockets.admin.into_parts();
            admin::answer(gate, listener, stopping).await;
        });
        if let Some(credentials) = sockets.credentials {
            let (answers, stopping) = (memory.credentials(), stop.subscribe());
            tasks.spawn(async move {
                let (listener, _file) = credentials.into_parts();
                answers.serve(listener, stopping).await;
            });
        }
        Self { stop, tasks }
    }

    fn what_is_left(left: Vec<Left>, memory: &Memory) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(memory.credentials().take_up(left, stop.subscribe()));
        Self { stop, tasks }
    }

    async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What the secrets socket tells of a name that has no value.
fn why_not(gate: Arc<Gate>) -> WhyNot {
    Box::new(move |name| match gate.operator() {
        Ok(operator) => operator.why_not(name),
        Err(refusal) => Some(refusal.what),
    })
}
