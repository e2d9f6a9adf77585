//! The secrets socket: HTTP/1.1 over a Unix socket, answered from memory. What each caller may read is decided by who
//! the kernel says it is, never by what it says itself.

use std::{
    fmt, io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
};

use super::access::{Nss, Resolver, user_name};
use crate::model::{Allow, Name};

mod answer;
mod holders;
mod peer;
pub(super) mod reads;
pub(crate) mod serve;
pub(super) mod served;
mod slots;
#[cfg(test)]
mod tests;
mod view;

pub(super) use holders::Book;
pub use peer::Peer;
pub use reads::LastRead;
pub use served::Served;

use holders::{Followed, Read};
use reads::{Consumer, Reads, Who};
use serve::{Terms, converse, told_to_stop};
use served::One;
use slots::{Slot, Slots};
use view::View;

/// A reader's connection may be idle for so long, and the head of a request take so long to come.
const READER_IDLE: Duration = Duration::from_secs(90);
/// The same for a stranger, who gets one answer per connection.
const STRANGER_IDLE: Duration = Duration::from_secs(5);
/// Users and groups are looked up at a denial at most so often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// And an answer waits for them no longer than this: it comes from memory.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Tells why a name has no value, for people.
pub type WhyNot = Box<dyn Fn(&Name) -> Option<String> + Send + Sync>;

/// What answers on the secrets socket.
pub struct Secrets {
    served: Arc<Served>,
    resolver: Arc<Mutex<Resolver<Nss>>>,
    pub(super) reads: Reads,
    book: Arc<Book>,
    slots: Arc<Slots>,
    why_not: OnceLock<WhyNot>,
    looked: Arc<Mutex<Looked>>,
}

/// The last time that users and groups were looked up for a denial.
#[derive(Debug, Default)]
struct Looked {
    at: Option<Instant>,
    under_way: bool,
}

/// The other end of one connection.
pub(super) struct Caller {
    peer: Arc<Peer>,
    consumer: Arc<Consumer>,
    followed: Followed,
    view: Mutex<Option<Arc<View>>>,
}

impl Secrets {
    pub(super) fn new(served: Arc<Served>, book: Arc<Book>, resolver: Arc<Mutex<Resolver<Nss>>>) -> Self {
        Self {
            served,
            resolver,
            book,
            reads: Reads::default(),
            slots: Arc::default(),
            why_not: OnceLock::new(),
            looked: Arc::default(),
        }
    }

    /// Who knows why a name has no value. Only the first that is given counts.
    pub fn explain(&self, why_not: WhyNot) {
        let _first = self.why_not.set(why_not);
    }

    /// When each name was read last, and by whom.
    #[must_use]
    pub fn last_reads(&self) -> std::collections::BTreeMap<Name, LastRead> {
        self.reads.last()
    }

    /// Answers until told to stop.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, stopping: watch::Receiver<bool>) {
        // Who finds no slot is closed; nobody waits.
        serve::serve("secrets", usize::MAX, listener, stopping.clone(), |stream| {
            self.clone().admit(stream, stopping.clone())
        })
        .await;
    }

    /// The connection, if there is room for it. Who may read something is not kept out by those who may not.
    fn admit(
        self: Arc<Self>,
        stream: UnixStream,
        stopping: watch::Receiver<bool>,
    ) -> Option<impl Future<Output = ()>> {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!("a connection is closed, its peer is not known: {error}");
                return None;
            }
        };
        let is_reader = self.served.view(&peer).may_read_something();
        let slot = self.slots.take(is_reader.then_some(peer.uid));
        let Some(slot) = slot else {
            tracing::debug!(uid = peer.uid, "a connection is closed, there are too many of its kind");
            return None;
        };
        let caller = self.caller(peer);
        Some(self.converse(stream, caller, is_reader, slot, stopping))
    }

    fn caller(&self, peer: Peer) -> Caller {
        Caller {
            consumer: self.reads.consumer(Who::of(&peer)),
            peer: Arc::new(peer),
            followed: Followed::new(),
            view: Mutex::default(),
        }
    }

    async fn converse(
        self: Arc<Self>,
        stream: UnixStream,
        caller: Caller,
        is_reader: bool,
        _slot: Slot,
        stopping: watch::Receiver<bool>,
    ) {
        let terms =
            Terms { idle: if is_reader { READER_IDLE } else { STRANGER_IDLE }, keep_alive: is_reader };
        let caller = Arc::new(caller);
        let told = Arc::new(stopping.clone());
        let ended = converse(stream, terms, stopping, |request| {
            let (secrets, caller, told) = (self.clone(), caller.clone(), told.clone());
            async move {
                // Its connection may have been handed on: what comes now nobody vouches for.
                if !caller.peer.is_alive() {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                }
                Ok(secrets.answer(&caller, &request, &told).await)
            }
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!("{}: connection ended: {error}", caller.consumer.who());
        }
    }

    fn view(&self, caller: &Caller) -> Arc<View> {
        let mut known = caller.view.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(view) if view.version == self.served.version() => view.clone(),
            _ => known.insert(self.served.view(&caller.peer)).clone(),
        }
    }

    /// All that a caller may read, about to be handed out. Whoever asks for the holders of what was current before a
    /// change shall hear of everybody: where one came between the look and the note, this looks again.
    fn hand_out(&self, caller: &Caller, relays: bool) -> Arc<View> {
        loop {
            let view = self.view(caller);
            self.book.is_read(&caller.peer, &caller.followed, relays, Read::All(view.ready()));
            if view.version == self.served.version() {
                return view;
            }
        }
    }

    /// The same for one name.
    fn hand_out_one(&self, caller: &Caller, relays: bool, name: &Name) -> One {
        loop {
            let version = self.served.version();
            let found = self.served.one(name, &caller.peer);
            if let One::Ready(value) = &found {
                let read = Read::One(name, value.generation);
                self.book.is_read(&caller.peer, &caller.followed, relays, read);
            }
            if version == self.served.version() {
                return found;
            }
        }
    }

    pub(super) fn why_not(&self, name: &Name) -> String {
        let told = self.why_not.get().and_then(|why_not| why_not(name));
        told.unwrap_or_else(|| "none has been accepted by the server yet".to_owned())
    }

    /// Looks up users and groups once more, where that was not done just now: a package may have brought the user
    /// since. Tells whether it has been done.
    async fn look_again(&self) -> bool {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let is_recent = looked.at.is_some_and(|at| at.elapsed() < LOOK_AGAIN);
            if is_recent || std::mem::replace(&mut looked.under_way, true) {
                return false;
            }
        }
        let (served, resolver, looked) = (self.served.clone(), self.resolver.clone(), self.looked.clone());
        let look = tokio::task::spawn_blocking(move || {
            let mut resolver = resolver.lock().unwrap_or_else(PoisonError::into_inner);
            served.resolve_again(|allow| resolver.resolve(allow, Instant::now()));
            drop(resolver);
            *looked.lock().unwrap_or_else(PoisonError::into_inner) =
                Looked { at: Some(Instant::now()), under_way: false };
        });
        tokio::time::timeout(LOOK_TIME, look).await.is_ok()
    }

    /// Who a caller is, in words; its user's name as far as that can be had quickly.
    async fn describe(&self, caller: &Caller) -> Described {
        let uid = caller.peer.uid;
        let user = match caller.consumer.user() {
            Some(known) => known,
            None => {
                let consumer = caller.consumer.clone();
                let look = tokio::task::spawn_blocking(move || consumer.set_user(user_name(uid)));
                let _in_time = tokio::time::timeout(LOOK_TIME, look).await;
                caller.consumer.user().flatten()
            }
        };
        Described { uid, user, unit: caller.peer.unit.clone() }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("served", &self.served).finish_non_exhaustive()
    }
}

/// A caller in words.
#[derive(Debug)]
struct Described {
    uid: u32,
    user: Option<String>,
    unit: Option<String>,
}

impl Described {
    /// What it is to be named by in an `allow`: its user, or its unit where the user is another one tomorrow.
    fn named(&self) -> Allow {
        let mut allow = Allow { users: vec![], groups: vec![], units: vec![] };
        match (&self.unit, super::access::is_lasting(self.uid)) {
            (Some(unit), false) => allow.units.push(unit.clone()),
            _ => allow.users.push(self.user.clone().unwrap_or_else(|| self.uid.to_string())),
        }
        allow
    }

    /// The same, as it stands in a list.
    fn to_add(&self) -> String {
        in_toml(&self.named())
    }

    /// An `allow` that lets it read besides those who may already, as it stands in a list.
    fn with(&self, allow: &Allow) -> String {
        let (mut allow, named) = (allow.clone(), self.named());
        allow.users.extend(named.users);
        allow.units.extend(named.units);
        format!("allow = {{ {} }}", in_toml(&allow))
    }
}

pub(super) fn in_toml(allow: &Allow) -> String {
    let lists = [("users", &allow.users), ("groups", &allow.groups), ("units", &allow.units)];
    let lists = lists.into_iter().filter(|(_, texts)| !texts.is_empty());
    lists.map(|(key, texts)| format!("{key} = {texts:?}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.user.iter().try_for_each(|user| write!(f, " ({user})"))?;
        self.unit.iter().try_for_each(|unit| write!(f, " in {unit}"))
    }
}
