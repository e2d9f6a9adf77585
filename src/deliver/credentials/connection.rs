//! One asking of systemd's: a connection on which it says nothing, its own end of saying closed from the start, and takes
//! for the secret whatever it reads up to the end. Nothing and half a secret are secrets to it as well, so that the end of
//! a connection is never left to chance.

use std::{
    io,
    os::{fd::AsFd as _, unix::net::UnixStream as StdStream},
};

use rustix::net::{
    SendFlags, Shutdown, send, shutdown,
    sockopt::{set_socket_broadcast, socket_broadcast},
};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use crate::{deliver::socket::Peer, supervisor::Supervisor};

/// What no secret is: more than the 1 MiB that systemd takes, and the eighth more where it takes one for sealed. It stops
/// reading there, and fails the unit.
const REFUSAL: usize = 4 << 20;
/// What that consists of, for whoever reads it who is not systemd. A line break is in no token.
const REFUSED: &[u8] = b"refused by influx-tokend: its log says why\n";
/// So often at once.
const AT_ONCE: usize = 1024;
/// What names begin with under which systemd keeps connections.
const KEPT: &str = "credential-";

/// A connection that a former process has left in systemd's hands.
#[derive(Debug)]
pub struct Left {
    name: String,
    stream: StdStream,
}

impl Left {
    /// `name`: as systemd calls it. Nothing, where that is no name of ours.
    #[must_use]
    pub fn new(name: &str, stream: StdStream) -> Option<Self> {
        name.starts_with(KEPT).then(|| Self { name: name.to_owned(), stream })
    }
}

/// A connection, until it is answered.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// How systemd calls it, where it keeps it too.
    kept: Option<String>,
}

impl Connection {
    /// One that has just been accepted. From now on systemd keeps it as well, and gives it to the next process where this
    /// one is killed: otherwise whoever waits would read its end, and take that for an empty secret.
    pub(super) fn accepted(stream: UnixStream) -> Self {
        let kept = getrandom::u64().ok().map(|random| format!("{KEPT}{random:016x}"));
        kept.iter().for_each(|name| Supervisor.keep(name, stream.as_fd()));
        Self { stream, kept }
    }

    /// One that a former process has left, and whether that had begun to answer.
    pub(super) fn of_left(left: Left) -> io::Result<(Self, bool)> {
        left.stream.set_nonblocking(true)?;
        // See `begin`.
        let is_begun = socket_broadcast(&left.stream)?;
        Ok((Self { stream: UnixStream::from_std(left.stream)?, kept: Some(left.name) }, is_begun))
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> io::Result<Peer> {
        Peer::of(&self.stream)
    }

    /// The abstract address of the other end, without its first byte; empty where it has none.
    pub(super) fn address(&self) -> Vec<u8> {
        let address = self.stream.peer_addr().ok();
        address.as_ref().and_then(|address| address.as_abstract_name()).unwrap_or_default().to_vec()
    }

    /// Hands the secret out.
    pub(super) async fn give(mut self, secret: &[u8]) {
        self.begin();
        // At once, without a look whether there is room, which there is: in one piece, whatever becomes of this process.
        let sent = send(&self.stream, secret, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or_default();
        let rest = &secret[sent.min(secret.len())..];
        // Who has gone away does not start with it.
        let _gone = self.stream.write_all(rest).await;
        self.end();
    }

    /// Hands out what makes systemd fail the unit. However long that takes: what is cut short would be a secret.
    pub(super) async fn refuse(mut self) {
        self.begin();
        let lines = REFUSED.repeat(AT_ONCE);
        let mut left = REFUSAL;
        // It ends the connection when it has seen enough.
        while left > 0 && self.stream.write_all(&lines).await.is_ok() {
            left = left.saturating_sub(lines.len());
        }
        self.end();
    }

    /// A part of an answer.
    #[cfg(test)]
    pub(super) async fn write_for_tests(&mut self, part: &[u8]) {
        self.stream.write_all(part).await.expect("written");
    }

    /// The answer is whole.
    fn end(self) {
        // Also for systemd's descriptor of it, which is another one of the same connection.
        let _ended_already = shutdown(&self.stream, Shutdown::Both);
        self.kept.iter().for_each(|name| Supervisor.release(name));
    }

    /// Notes on the connection itself that an answer has begun, so that the next process does not begin another one after
    /// half of this. The option means nothing to a Unix socket, and stays with it whoever holds it.
    pub(super) fn begin(&self) {
        if self.kept.is_some()
            && let Err(error) = set_socket_broadcast(&self.stream, true)
        {
            tracing::debug!("a connection cannot be marked: {error}");
        }
    }
}
