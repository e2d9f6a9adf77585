//! Secrets as systemd's credentials: `LoadCredential=telegraf.NAME:/run/influx-tokend/credentials.sock` in a unit has
//! systemd, as root and within that unit's cgroup, connect here under a name that says which unit is to have which
//! credential. Who may read is decided by the unit.
//!
//! systemd knows no refusal: it starts the unit with whatever it has read, nothing and half a secret too. So an answer
//! is the whole secret, or more than a credential may have, at which the unit fails. What is neither yet is waited for.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use super::socket::{
    Book, Peer, Secrets, Served,
    reads::{Consumer, Who},
    serve::{drain, serve, told_to_stop},
    served::{One, Value},
};
use crate::model::{Name, Time};

mod claim;
mod connection;
mod refused;
#[cfg(test)]
mod tests;

pub use connection::Left;
pub use refused::Refused;

use claim::Claim;
use connection::Connection;
use refused::{Reason, Refusals};

/// So many are answered at once; systemd waits with the others. Closing one would give its unit an empty secret.
const MOST: usize = 128;
/// A token that is not ready is waited for so long: less than the 90 s that systemd gives a unit to start, and what is
/// left of that is the unit's own.
const WAIT: Duration = Duration::from_secs(60);

/// What answers where systemd asks for credentials.
#[derive(Debug)]
pub struct Credentials {
    secrets: Arc<Secrets>,
    served: Arc<Served>,
    book: Arc<Book>,
    refusals: Refusals,
}

/// Who asks, as the kernel says it, and for what, as it says itself.
struct Asked {
    peer: Peer,
    address: Vec<u8>,
    /// A former process has begun to answer.
    is_begun: bool,
}

/// What comes of waiting for a token.
enum Came {
    Value(Name, Value),
    /// Who has asked does not wait any more.
    Nobody,
    Refusal(Reason),
}

impl Credentials {
    pub(super) fn new(secrets: Arc<Secrets>, served: Arc<Served>, book: Arc<Book>) -> Self {
        Self { secrets, served, book, refusals: Refusals::default() }
    }

    /// Answers until told to stop; what waits then is refused.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stopping: watch::Receiver<bool>) {
        serve("credentials", MOST, listener, stopping.clone(), |stream: UnixStream| {
            // Here, not in the task, which begins later.
            let connection = Connection::accepted(stream);
            let (credentials, stopping) = (self.clone(), stopping.clone());
            Some(async move { credentials.answer(connection, false, stopping).await })
        })
        .await;
    }

    /// Answers what a former process has left, until told to stop.
    pub async fn take_up(self: Arc<Self>, left: Vec<Left>, mut stopping: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        for left in left {
            match Connection::of_left(left) {
                Ok((connection, is_begun)) => {
                    let (credentials, stopping) = (self.clone(), stopping.clone());
                    connections
                        .spawn(async move { credentials.answer(connection, is_begun, stopping).await });
                }
                Err(error) => tracing::error!("a connection that was left cannot be used: {error}"),
            }
        }
        told_to_stop(&mut stopping).await;
        drain(connections).await;
    }

    /// What was refused and has not been given since, of each unit the last.
    #[must_use]
    pub fn refused(&self) -> Vec<Refused> {
        self.refusals.list()
    }

    /// `is_begun`: a former process has begun to.
    async fn answer(&self, connection: Connection, is_begun: bool, stopping: watch::Receiver<bool>) {
        match connection.peer() {
            Ok(peer) => {
                let asked = Asked { peer, address: connection.address(), is_begun };
                self.answer_to(&asked, connection, stopping).await;
            }
            Err(error) => {
                tracing::debug!("a credential is refused, who asks for it is not known: {error}");
                connection.refuse().await;
            }
        }
    }

    async fn answer_to(&self, asked: &Asked, connection: Connection, stopping: watch::Receiver<bool>) {
        let claim = match asked.claim() {
            Ok(claim) => claim,
            Err(reason) => {
                let who = Who::of(&asked.peer);
                let by = who.to_string();
                self.tell(&self.secrets.reads.consumer(who), by, asked.credential(), &reason);
                return connection.refuse().await;
            }
        };
        let consumer = self.secrets.reads.consumer(Who::Unit(claim.unit.clone()));
        let came = match claim.token() {
            _ if asked.is_begun => Came::Refusal(Reason::Interrupted),
            Ok(name) => self.wait(name, &claim, &asked.peer, stopping).await,
            Err(error) => Came::Refusal(Reason::NoName(error)),
        };
        match came {
            Came::Value(name, value) => {
                self.refusals.forget(&claim.unit, &claim.id);
                consumer.has_read_one(&name, value.generation, Time::now());
                connection.give(value.secret.expose().as_bytes()).await;
            }
            // Unless somebody else has got hold of the connection.
            Came::Nobody => connection.refuse().await,
            Came::Refusal(reason) => {
                self.tell(&consumer, claim.unit, claim.id, &reason);
                connection.refuse().await;
            }
        }
    }

    /// The token, once it is ready.
    async fn wait(
        &self,
        name: Name,
        claim: &Claim,
        peer: &Peer,
        mut stopping: watch::Receiver<bool>,
    ) -> Came {
        let mut versions = self.served.subscribe();
        let mut end = std::pin::pin!(tokio::time::sleep(WAIT));
        let mut is_told = false;
        loop {
            versions.borrow_and_update();
            if !peer.is_alive() {
                return Came::Nobody;
            }
            match self.look(&name, claim) {
                One::Ready(value) => return Came::Value(name, value),
                One::NotYours(allow) => {
                    return Came::Refusal(Reason::NotYours(name, claim.unit.clone(), allow));
                }
                // Before the store is open there may be names that are not known yet.
                One::Unknown if self.served.is_complete() => {
                    return Came::Refusal(Reason::Unknown(name));
                }
                One::NotReady | One::Unknown => {}
            }
            if !std::mem::replace(&mut is_told, true) {
                let why = self.secrets.why_not(&name);
                tracing::info!(%name, "{} waits for it as a credential: {why}", claim.unit);
            }
            tokio::select! {
                biased;
                () = told_to_stop(&mut stopping) => return Came::Refusal(Reason::Stopping(name)),
                () = peer.ended() => return Came::Nobody,
                _ = versions.changed() => {}
                () = &mut end => {
                    let why = self.secrets.why_not(&name);
                    return Came::Refusal(Reason::NotReady(name, WAIT, why));
                }
            }
        }
    }

    /// What the unit gets of a token, about to be handed out. As over the secrets socket, it looks again where a change
    /// came between the look and the note.
    fn look(&self, name: &Name, claim: &Claim) -> One {
        loop {
            let version = self.served.version();
            let found = match self.served.one_of_unit(name, &claim.unit) {
                // To systemd it would be a secret.
                One::Ready(value) if value.secret.expose().is_empty() => One::NotReady,
                found => found,
            };
            if let One::Ready(value) = &found {
                self.book.is_given(&claim.unit, name, value.generation);
            }
            if version == self.served.version() {
                return found;
            }
        }
    }

    /// To the log, as seldom as denials are told that are made over the secrets socket, and to `status`.
    fn tell(&self, consumer: &Consumer, by: String, credential: String, reason: &Reason) {
        let (at, why, hint) = (Time::now(), reason.why(), reason.hint());
        if consumer.is_denied(reason.names(), at) {
            tracing::warn!("{by} is refused credential {credential:?}: {why}");
            hint.iter().for_each(|hint| tracing::warn!("hint: {hint}"));
        }
        self.refusals.note(Refused { by, credential, at, why, hint });
    }
}

impl Asked {
    /// What is asked for, if it is systemd that asks, and in the unit that it names.
    fn claim(&self) -> Result<Claim, Reason> {
        if self.peer.uid != 0 {
            return Err(Reason::NotRoot);
        }
        let claim = Claim::parse(&self.address).ok_or_else(|| Reason::NoClaim(self.address.clone()))?;
        match &self.peer.unit {
            Some(unit) if *unit == claim.unit => Ok(claim),
            unit => Err(Reason::OtherUnit(claim, unit.clone())),
        }
    }

    /// The credential, as far as it is named.
    fn credential(&self) -> String {
        Claim::parse(&self.address).map(|claim| claim.id).unwrap_or_default()
    }
}
