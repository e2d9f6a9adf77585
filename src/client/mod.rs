//! Asks the daemon over its secrets socket: HTTP/1.1, blocking. One request per connection, but for a [`Session`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use crate::model::{Name, Secret};

mod cursor;
mod error;
mod exchange;
mod response;
mod session;

pub use cursor::Cursor;
pub use error::{Error, FileKind, Unreachable};
pub use session::Session;

use exchange::{Answer, Connection, Deadline, Question};

/// What is answered at once comes within this time, or not at all.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The daemon ends a long poll after a minute; some more for a machine under load.
const LONG_POLL: Duration = Duration::from_secs(75);
/// The largest secret, in bytes.
const MAX_SECRET: usize = 64 << 10;
/// The largest answer that names tokens, in bytes.
const MAX_CHANGES: usize = 16 << 20;

/// One socket to ask.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    relays: bool,
}

/// Generations of tokens that the caller may read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Changes {
    /// What to ask with next.
    pub cursor: Cursor,
    /// Those that changed since the cursor of the question, or all of them; 0: not ready yet.
    pub changed: BTreeMap<Name, u64>,
    /// Those that the caller could read then, and cannot any more. An older daemon does not tell.
    #[serde(default)]
    pub gone: BTreeSet<Name>,
}

impl Client {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, relays: false }
    }

    /// Says with each request that what it reads is for somebody else: the daemon then never takes that a newer value
    /// was read for nobody having the older one any more.
    #[must_use]
    pub fn relaying(self) -> Self {
        Self { relays: true, ..self }
    }

    /// The secret of one token: one connection, one request.
    ///
    /// # Errors
    /// There is none for this caller, or no daemon.
    pub fn secret(&self, name: &Name) -> Result<Secret, Error> {
        self.secret_in(name, &self.get(&target_of(name), MAX_SECRET, AT_ONCE)?)
    }

    /// For many secrets, all of them within this time.
    #[must_use]
    pub fn session(&self, patience: Duration) -> Session<'_> {
        Session::new(self, patience)
    }

    /// The secret that an answer brings.
    fn secret_in(&self, name: &Name, answer: &Answer) -> Result<Secret, Error> {
        let said = || answer.said();
        match answer.status {
            200 => {}
            403 => return Err(Error::Denied { name: Some(name.clone()), said: said() }),
            404 => return Err(Error::Unknown { name: name.clone(), said: said() }),
            503 => return Err(Error::NotReady { name: name.clone(), said: said() }),
            status => return Err(self.failed(status, said())),
        }
        match std::str::from_utf8(answer.body()) {
            // Sized by its content: nothing grows, nothing is left behind.
            Ok(text) if !text.is_empty() => Ok(Secret::new(text.to_owned())),
            Ok(_) => Err(self.nonsense("answered with an empty secret")),
            Err(_) => Err(self.nonsense("answered with a secret that is no text")),
        }
    }

    /// What changed since the cursor, as soon as something has; without one, all there is, at once. Waits `at_most`
    /// so long.
    ///
    /// # Errors
    /// The caller may read nothing, or there is no daemon.
    pub fn changes(&self, cursor: Option<&Cursor>, at_most: Duration) -> Result<Changes, Error> {
        let (target, patience) = match cursor {
            None => ("/v1/changes".to_owned(), AT_ONCE),
            Some(cursor) => (format!("/v1/changes?cursor={cursor}"), LONG_POLL),
        };
        let answer = self.get(&target, MAX_CHANGES, patience.min(at_most))?;
        match answer.status {
            200 => serde_json::from_slice(answer.body()).map_err(|error| {
                self.nonsense(&format!("answered with something else than cursor and changes ({error})"))
            }),
            403 => Err(Error::Denied { name: None, said: answer.said() }),
            status => Err(self.failed(status, answer.said())),
        }
    }

    fn get(&self, target: &str, limit: usize, patience: Duration) -> Result<Answer, Error> {
        let deadline = Deadline::after(patience);
        let question = Question { target, relays: self.relays, limit, keeps: false };
        Connection::open(&self.socket, &deadline)?.ask(&question, &deadline)
    }

    /// What no status of the table stands for.
    fn failed(&self, status: u16, said: Option<String>) -> Error {
        if status == 429 || status >= 500 {
            return Error::Failed { socket: self.socket.clone(), status, said };
        }
        self.nonsense(&format!("answered with status {status}"))
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::Nonsense { socket: self.socket.clone(), what: what.to_owned() }
    }
}

fn target_of(name: &Name) -> String {
    format!("/v1/secret/{name}")
}
