//! A simulated InfluxDB Clustered or Cloud Dedicated for the tests and the quickstart of influx-tokend: a real HTTP server
//! with state, that answers as the published APIs describe and misbehaves on demand.
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
mod dedicated;
mod fault;
pub mod influxctl;
mod management;
mod oddities;
mod provider;
mod serve;
mod state;

pub use dedicated::{Dedicated, ExpirationType};
pub use fault::{Effect, Fault};
pub use oddities::{
    Answers, DateHeader, DescriptionForm, Echo, Gzip, Misbehaviour, Oddities, Redirect, RowOddity, TimeForm,
    TimeOddity,
};
pub use provider::Provider;
pub use state::{Activation, Event, Recorded, Token, Written};

use hyper::Method;
use oddities::Draw;
use serve::Part;
use state::State;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// The path of its address, as `/cluster`; nothing lies beside it. Requests are recorded without it.
    pub base: String,
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
    /// The management API is there for everybody; else for `influxctl` alone, as before release 20250508.
    pub rest: bool,
    /// What becomes of the expiry that a mint asks for.
    pub expiry: Expiry,
    /// Plays a cluster of Cloud Dedicated, not Clustered.
    pub dedicated: Option<Dedicated>,
    /// The identity provider whose tokens the management API takes beside the management token.
    pub provider: Option<Provider>,
}

/// What becomes of the expiry that a mint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is that of the token.
    Kept,
    /// No token expires.
    Ignored,
    /// Every token expires after so long.
    After(Duration),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            base: String::new(),
            databases: vec!["telemetry".to_owned()],
            management_token: None,
            activation: Activation::default(),
            latency: Duration::ZERO,
            lists_revoked: true,
            refusal: 401,
            rest: true,
            expiry: Expiry::Kept,
            dedicated: None,
            provider: None,
        }
    }
}

/// A running one. Stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    data_address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// While it does not listen: nobody else is to answer in its place.
    ports: Vec<(TcpSocket, Part)>,
}

impl Sandbox {
    /// Starts one on a thread and a runtime of its own.
    ///
    /// # Errors
    /// It cannot listen, or the ids of a cluster of Cloud Dedicated are none.
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
        let ports = std::mem::take(&mut self.ports);
        if ports.is_empty() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let runtime = runtime()?;
        self.stop.send_replace(false);
        {
            let _inside = runtime.enter();
            for (port, part) in ports {
                tokio::spawn(serve::serve(
                    port.listen(1024)?,
                    part,
                    self.state.clone(),
                    self.stop.subscribe(),
                ));
            }
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
    /// It cannot listen, or the ids of a cluster of Cloud Dedicated are none.
    pub async fn spawn(options: Options) -> io::Result<Self> {
        let dedicated = options.dedicated.clone();
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new(options)));
        let stop = watch::Sender::new(false);
        let serve = |listener, part| {
            tokio::spawn(serve::serve(listener, part, state.clone(), stop.subscribe()));
        };
        let data_address = match dedicated {
            None => {
                serve(listener, Part::Both);
                address
            }
            Some(dedicated) => {
                let data = TcpListener::bind(dedicated.checked()?.data_listen).await?;
                let data_address = data.local_addr()?;
                serve(listener, Part::Management);
                serve(data, Part::Data);
                data_address
            }
        };
        Ok(Self { address, data_address, state, stop, thread: None, ports: vec![] })
    }

    /// `http://127.0.0.1:PORT` and the base, where tokens are managed.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.state().options.base)
    }

    /// Where tokens are managed.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and the base, where data is written and queried: the same of Clustered, another of Cloud
    /// Dedicated.
    #[must_use]
    pub fn data_url(&self) -> String {
        format!("http://{}{}", self.data_address, self.state().options.base)
    }

    /// Where data is written and queried.
    #[must_use]
    pub fn data_address(&self) -> SocketAddr {
        self.data_address
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

    /// Where the identity provider issues tokens.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}{}", self.url(), provider::PATH)
    }

    /// Changes what the identity provider does from now on, where there is one.
    pub fn set_provider(&self, change: impl FnOnce(&mut Provider)) {
        if let Some(provider) = &mut self.state().options.provider {
            change(provider);
        }
    }

    /// No token that the identity provider has issued so far is taken any more: it signs with another key.
    pub fn end_issued(&self) {
        self.state().issued.clear();
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

    /// What becomes from now on of the expiry that a mint asks for.
    pub fn set_expiry(&self, expiry: Expiry) {
        self.state().options.expiry = expiry;
    }

    /// Whether the management API is there for everybody from now on: a cluster that is upgraded.
    pub fn set_rest(&self, rest: bool) {
        self.state().options.rest = rest;
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

    /// Answers so from now on.
    pub fn set_oddities(&self, oddities: Oddities) {
        let mut state = self.state();
        state.oddities = oddities;
        state.draw = None;
    }

    /// Draws from now on, when a request comes, what is odd about its answer and what goes wrong with it, by its method
    /// and path.
    pub fn draw_oddities(&self, draw: impl FnMut(&Method, &str) -> Misbehaviour + Send + 'static) {
        self.state().draw = Some(Draw(Box::new(draw)));
    }

    /// How often each oddity and each effect of a fault met a request, by name.
    #[must_use]
    pub fn struck(&self) -> BTreeMap<&'static str, usize> {
        self.state().struck.clone()
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
            let parts = match self.data_address == self.address {
                true => vec![(self.address, Part::Both)],
                false => vec![(self.address, Part::Management), (self.data_address, Part::Data)],
            };
            let bound: io::Result<_> =
                parts.into_iter().map(|(address, part)| Ok((bound(address)?, part))).collect();
            self.ports = bound.unwrap_or_default();
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
