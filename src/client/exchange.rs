//! A connection, and for each request over it one whole answer within a time.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use zeroize::Zeroizing;

use super::{
    Error, FileKind, Unreachable,
    response::{self, Head, MAX_HEAD, Nonsense},
};

/// Head and body of what the daemon usually answers fit into this.
const FIRST: usize = 1 << 10;
/// The largest body that tells an error.
const MAX_ERROR: usize = 64 << 10;

/// A whole answer, in memory that is wiped.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The other end closes the connection after it.
    pub(super) closes: bool,
    received: Received,
    body: std::ops::Range<usize>,
}

impl Answer {
    pub(super) fn body(&self) -> &[u8] {
        &self.received.bytes[self.body.clone()]
    }

    /// What it says about an error, fit to be shown.
    pub(super) fn said(&self) -> Option<String> {
        response::sentences(self.body())
    }
}

/// Until when there is to be an answer.
pub(super) struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    pub(super) fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience }
    }

    fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) target: &'a str,
    /// What is answered is for somebody else.
    pub(super) relays: bool,
    /// A good answer's body has at most so many bytes.
    pub(super) limit: usize,
    /// More is asked over this connection.
    pub(super) keeps: bool,
}

/// A connection to the daemon.
pub(super) struct Connection {
    stream: UnixStream,
    socket: PathBuf,
}

impl Connection {
    pub(super) fn open(socket: &Path, deadline: &Deadline) -> Result<Self, Error> {
        let stream = open(socket, deadline.left()).map_err(|errno| Error::Unreachable {
            socket: socket.to_owned(),
            why: instead(socket).unwrap_or_else(|| why(errno.into(), deadline)),
        })?;
        Ok(Self { stream, socket: socket.to_owned() })
    }

    pub(super) fn ask(&self, question: &Question<'_>, deadline: &Deadline) -> Result<Answer, Error> {
        let unreachable = |why| Error::Unreachable { socket: self.socket.clone(), why };
        let Question { target, relays, limit, keeps } = *question;
        let connection = if keeps { "keep-alive" } else { "close" };
        let relay = if relays { "x-influx-secrets: relay\r\n" } else { "" };
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n\
             user-agent: influx-secrets/{}\r\n{relay}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        (&self.stream).write_all(request.as_bytes()).map_err(|error| unreachable(why(error, deadline)))?;
        answer(&self.stream, limit, deadline).map_err(|fault| match fault {
            Fault::Io(error) => unreachable(why(error, deadline)),
            Fault::Closed => unreachable(Unreachable::Closed),
            Fault::Nonsense(nonsense) => {
                Error::Nonsense { socket: self.socket.clone(), what: nonsense.to_string() }
            }
        })
    }
}

/// Connects; std's own way has no time limit, and waits for as long as the queue of a hung daemon is full.
fn open(socket: &Path, patience: Duration) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(socket)?;
    let descriptor = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(descriptor);
    // Of the kernel's own accord this bounds connect too.
    stream.set_write_timeout(Some(patience.max(Duration::from_millis(1)))).map_err(|_| Errno::INVAL)?;
    // A time limit makes it fail with EINTR where we are stopped and continued (signal(7)): nothing is connected then.
    retry_on_intr(|| connect(&stream, &address))?;
    Ok(stream)
}

/// What is there that no daemon can ever listen at: the system says of a folder or a file that nobody listens.
fn instead(socket: &Path) -> Option<Unreachable> {
    if socket.as_os_str().as_encoded_bytes().windows(3).any(|part| part == b"://") {
        return Some(Unreachable::NotAPath);
    }
    let kind = std::fs::metadata(socket).ok()?.file_type();
    match (kind.is_socket(), kind.is_dir()) {
        (true, _) => None,
        (false, true) => Some(Unreachable::NotASocket(FileKind::Folder)),
        (false, false) => Some(Unreachable::NotASocket(FileKind::File)),
    }
}

enum Fault {
    Io(io::Error),
    Closed,
    Nonsense(Nonsense),
}

/// Memory for an answer, that is wiped however it ends.
struct Received {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl Received {
    /// The old memory is wiped: a vector that grows by itself would leave a copy behind.
    fn grow(&mut self, size: usize) {
        if size > self.bytes.len() {
            let mut larger = Zeroizing::new(vec![0; size]);
            larger[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
            self.bytes = larger;
        }
    }

    /// What has come in the meantime; 0 at the end.
    fn read(&mut self, stream: &UnixStream, deadline: &Deadline) -> Result<usize, Fault> {
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Err(Fault::Io(io::ErrorKind::TimedOut.into()));
            }
            stream.set_read_timeout(Some(left)).map_err(Fault::Io)?;
            match (&*stream).read(&mut self.bytes[self.filled..]) {
                Ok(count) => {
                    self.filled += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end is gone with what we wrote unread, as when it is killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                Err(error) => return Err(Fault::Io(error)),
            }
        }
    }
}

fn answer(stream: &UnixStream, limit: usize, deadline: &Deadline) -> Result<Answer, Fault> {
    let mut received = Received { bytes: Zeroizing::new(vec![0; FIRST]), filled: 0 };
    let head = loop {
        if received.filled == received.bytes.len() {
            if received.filled >= MAX_HEAD {
                return Err(Fault::Nonsense(Nonsense::LongHead));
            }
            received.grow((received.filled * 4).min(MAX_HEAD));
        }
        if received.read(stream, deadline)? == 0 {
            let before = received.filled == 0;
            return Err(if before { Fault::Closed } else { Fault::Nonsense(Nonsense::CutHead) });
        }
        if let Some(head) = response::head(&received.bytes[..received.filled]).map_err(Fault::Nonsense)? {
            break head;
        }
    };
    let Head { status, length, body, closes } = head;
    let limit = if status == 200 { limit } else { MAX_ERROR };
    if length > limit {
        return Err(Fault::Nonsense(Nonsense::LongBody { length, limit }));
    }
    let end = body + length;
    received.grow(end);
    while received.filled < end {
        if received.read(stream, deadline)? == 0 {
            let got = received.filled - body;
            return Err(Fault::Nonsense(Nonsense::CutBody { got, length }));
        }
    }
    Ok(Answer { status, closes, received, body: body..end })
}

fn why(error: io::Error, deadline: &Deadline) -> Unreachable {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => Unreachable::Missing,
        Kind::ConnectionRefused => Unreachable::Refused,
        Kind::PermissionDenied => Unreachable::NotPermitted,
        // EAGAIN is how the kernel tells that a time set on a socket is over.
        Kind::WouldBlock | Kind::TimedOut => Unreachable::TimedOut(deadline.patience),
        Kind::BrokenPipe | Kind::ConnectionReset => Unreachable::Closed,
        Kind::InvalidFilename | Kind::InvalidInput => Unreachable::NoSocketPath,
        _ => Unreachable::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of these bytes, and the end of the connection after them.
    fn answered(bytes: &[u8]) -> Result<Answer, Fault> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(bytes).expect("a buffer that holds it");
        drop(theirs);
        answer(&ours, 1 << 16, &Deadline::after(Duration::from_secs(30)))
    }

    proptest! {
        #[test]
        fn an_answer_that_is_cut_anywhere_is_an_error_or_whole(
            body in proptest::collection::vec(any::<u8>(), 0..3000), padding in "[a-z]{0,1500}", cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes =
                format!("HTTP/1.1 200 OK\r\nx: {padding}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(&body);
            let whole = answered(&bytes).map_err(|_| TestCaseError::fail("the whole is an answer"))?;
            prop_assert_eq!((whole.status, whole.body()), (200, &*body));
            let cut = cut.index(bytes.len());
            match answered(&bytes[..cut]) {
                Err(Fault::Closed) => prop_assert_eq!(cut, 0),
                Err(Fault::Nonsense(Nonsense::CutHead | Nonsense::CutBody { .. })) => {}
                _ => prop_assert!(false, "cut at {} of {}", cut, bytes.len()),
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let _whatever = answered(&bytes);
        }
    }
}
