//! A simulated InfluxDB Clustered for the tests and the quickstart of influx-tokend: a real HTTP server with state,
//! that answers as the published API describes and misbehaves on demand.
//!
//! [`Sandbox::start`] runs it on a thread of its own; [`Sandbox::spawn`] in the runtime at hand, whose clock may be
//! paused.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::Runtime,
    sync::watch,
};

mod answer;
mod clock;
mod data;
mod fault;
mod management;
mod serve;
mod state;

pub use fault::{Effect, Fault};
pub use state::{Activation, Event, Recorded, Token, Written};

use state::State;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// The databases it has.
    pub databases: Vec<String>,
    /// What the management API wants to see; drawn if not given.
    pub management_token: Option<String>,
    /// How long each replica takes to learn of a new token.
    pub activation: Activation,
    /// Every request takes this long.
    pub latency: Duration,
    /// Revoked tokens stay in the list, with `revokedAt`.
    pub lists_revoked: bool,
    /// The status of an unknown, revoked, expired or not yet active token (401 or 403: documents and source differ).
    pub refusal: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            databases: vec!["telemetry".to_owned()],
            management_token: None,
            activation: Activation::default(),
            latency: Duration::ZERO,
            lists_revoked: true,
            refusal: 401,
        }
    }
}

/// A running one. Stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// While it does not listen: nobody else is to answer in its place.
    port: Option<TcpSocket>,
}

impl Sandbox {
    /// Starts one on a thread and a runtime of its own.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = runtime()?;
        let mut sandbox = {
            let _inside = runtime.enter();
            runtime.block_on(Self::spawn(options))?
        };
        sandbox.run(runtime)?;
        Ok(sandbox)
    }

    /// Listens again where it did before it was stopped, with the state that it had then.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start_again(&mut self) -> io::Result<()> {
        self.stop();
        let port = self.port.take().ok_or(io::ErrorKind::AddrInUse)?;
        let runtime = runtime()?;
        self.stop.send_replace(false);
        {
            let _inside = runtime.enter();
            tokio::spawn(serve::serve(port.listen(1024)?, self.state.clone(), self.stop.subscribe()));
        }
        self.run(runtime)
    }

    /// On a thread of its own, until it is stopped.
    fn run(&mut self, runtime: Runtime) -> io::Result<()> {
        let mut stopped = self.stop.subscribe();
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
            runtime.block_on(async {
                let _gone = stopped.wait_for(|stop| *stop).await;
            });
            runtime.shutdown_background();
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Starts one in the current runtime.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn spawn(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new(options)));
        let stop = watch::Sender::new(false);
        tokio::spawn(serve::serve(listener, state.clone(), stop.subscribe()));
        Ok(Self { address, state, stop, thread: None, port: None })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the management API wants to see.
    #[must_use]
    pub fn management_token(&self) -> String {
        self.state().management_token.clone()
    }

    /// Another one from now on.
    pub fn set_management_token(&self, token: &str) {
        token.clone_into(&mut self.state().management_token);
    }

    /// Every token there is or was.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        self.state().tokens.values().cloned().collect()
    }

    /// Those that work, or will once they are active.
    #[must_use]
    pub fn live(&self) -> Vec<Token> {
        let state = self.state();
        let now = state.clock.now();
        state.tokens.values().filter(|token| token.is_live(now)).cloned().collect()
    }

    /// Adds somebody else's token, active at once; returns its id.
    pub fn add_token(&self, description: &str, permissions: &[(&str, &str)]) -> String {
        self.state().mint(description.to_owned(), owned(permissions), None, &Activation::default()).id
    }

    /// Replaces what a token may do, as a person would.
    pub fn permit(&self, id: &str, permissions: &[(&str, &str)]) {
        self.state().permit(id, owned(permissions));
    }

    /// Ends a token as a person would.
    pub fn revoke(&self, id: &str) {
        self.state().revoke(id);
    }

    /// Forgets a token as if it had never been.
    pub fn remove(&self, id: &str) {
        self.state().tokens.remove(id);
    }

    /// Makes a token expire now.
    pub fn expire(&self, id: &str) {
        let mut state = self.state();
        let now = state.clock.now();
        if let Some(token) = state.tokens.get_mut(id) {
            token.expires_at = Some(now);
        }
    }

    /// How long replicas take from now on to learn of new tokens.
    pub fn set_activation(&self, activation: Activation) {
        self.state().options.activation = activation;
    }

    /// Adds a database.
    pub fn add_database(&self, name: &str) {
        self.state().databases.insert(name.to_owned());
    }

    /// Drops a database.
    pub fn drop_database(&self, name: &str) {
        self.state().databases.remove(name);
    }

    /// Moves the server's clock.
    pub fn shift_clock(&self, by: jiff::SignedDuration) {
        self.state().clock.shift(by);
    }

    /// Misbehaves from now on.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Behaves from now on.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state().requests.clear();
    }

    /// The lines that were written with a token, by its id.
    #[must_use]
    pub fn written(&self, id: &str) -> Vec<Written> {
        self.state().written.get(id).cloned().unwrap_or_default()
    }

    /// The lines that were written, by token id.
    #[must_use]
    pub fn all_written(&self) -> BTreeMap<String, Vec<Written>> {
        self.state().written.clone()
    }

    /// What happens from now on, as it happens.
    #[must_use]
    pub fn events(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel();
        self.state().listeners.push(sender);
        receiver
    }

    /// Stops listening at once: who connects is refused. The state stays and can be looked at.
    pub fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
            self.port = bound(self.address).ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A socket that has an address and does not listen there.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop();
    }
}

fn owned(permissions: &[(&str, &str)]) -> Vec<(String, String)> {
    permissions.iter().map(|(action, resource)| ((*action).to_owned(), (*resource).to_owned())).collect()
}
