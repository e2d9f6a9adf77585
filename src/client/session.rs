//! Many secrets over one connection.

use std::time::Duration;

use super::{Client, Connection, Deadline, Error, MAX_SECRET, Question, Unreachable, target_of};
use crate::model::{Name, Secret};

/// Asks for one secret after another over one connection, and all of it within a time.
pub struct Session<'c> {
    client: &'c Client,
    deadline: Deadline,
    /// One that the daemon keeps open.
    connection: Option<Connection>,
}

impl<'c> Session<'c> {
    pub(super) fn new(client: &'c Client, patience: Duration) -> Self {
        Self { client, deadline: Deadline::after(patience), connection: None }
    }

    /// The secret of one token.
    ///
    /// # Errors
    /// There is none for this caller, or no daemon.
    pub fn secret(&mut self, name: &Name) -> Result<Secret, Error> {
        let kept = self.connection.take();
        let was_kept = kept.is_some();
        match self.ask(kept, name) {
            // What was kept open may have been closed since, by a daemon that was restarted for instance.
            Err(Error::Unreachable { why: Unreachable::Closed, .. }) if was_kept => self.ask(None, name),
            answered => answered,
        }
    }

    fn ask(&mut self, kept: Option<Connection>, name: &Name) -> Result<Secret, Error> {
        let client = self.client;
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&client.socket, &self.deadline)?,
        };
        let target = target_of(name);
        let question = Question { target: &target, relays: client.relays, limit: MAX_SECRET, keeps: true };
        let answer = connection.ask(&question, &self.deadline)?;
        if !answer.closes {
            self.connection = Some(connection);
        }
        client.secret_in(name, &answer)
    }
}
