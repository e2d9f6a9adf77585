//! What the server knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    Options,
    clock::Clock,
    fault::Fault,
    oddities::{Draw, Oddities},
};

/// How long each of three replicas of each plane takes to learn of a new token.
#[derive(Clone, Debug, Default)]
pub struct Activation {
    /// The routers.
    pub write: [Duration; 3],
    /// The queriers.
    pub query: [Duration; 3],
}

impl Activation {
    /// All at once, after this long.
    #[must_use]
    pub fn all(delay: Duration) -> Self {
        Self { write: [delay; 3], query: [delay; 3] }
    }
}

/// One database token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// A random UUID.
    pub id: String,
    /// What clients present. The real server keeps a hash of it.
    pub secret: String,
    /// As it was given.
    pub description: String,
    /// Action and database.
    pub permissions: Vec<(String, String)>,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    active: [[Timestamp; 3]; 2],
    turns: [usize; 2],
}

impl Token {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now)
    }

    pub(crate) fn may(&self, action: &str, database: &str) -> bool {
        self.permissions
            .iter()
            .any(|(own, resource)| own == action && (resource == "*" || resource == database))
    }
}

/// The two planes, as indices.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plane {
    Write = 0,
    Query = 1,
}

/// One request, without its credentials.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    /// The header fields, Authorization left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The answer's status; none while there is none, or never.
    pub status: Option<u16>,
    /// The id of the database token that came with it, if it is one.
    pub token: Option<String>,
}

/// One line of line protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where to.
    pub database: String,
    /// The line.
    pub line: String,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request has arrived; nothing is done yet.
    Received {
        /// `POST /api/v0/tokens`.
        what: String,
    },
    /// A token exists.
    Minted {
        /// Its id.
        id: String,
    },
    /// A token may do something else.
    Patched {
        /// Its id.
        id: String,
    },
    /// A token has ended.
    Revoked {
        /// Its id.
        id: String,
    },
    /// The answer is about to be sent.
    Answered {
        /// `POST /api/v0/tokens`.
        what: String,
        /// Its status.
        status: u16,
    },
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) management_token: String,
    /// What the identity provider has issued, and until when it is taken.
    pub(crate) issued: BTreeMap<String, Timestamp>,
    pub(crate) databases: BTreeSet<String>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) written: BTreeMap<String, Vec<Written>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) oddities: Oddities,
    /// What is odd about each request, where that is drawn.
    pub(crate) draw: Option<Draw>,
    /// How often each oddity and each effect of a fault met a request.
    pub(crate) struck: BTreeMap<&'static str, usize>,
    pub(crate) requests: Vec<Recorded>,
    pub(crate) listeners: Vec<mpsc::Sender<Event>>,
    by_secret: BTreeMap<String, String>,
}

impl State {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            clock: Clock::new(),
            management_token: options.management_token.clone().unwrap_or_else(|| random_text("mgmt_", 24)),
            issued: BTreeMap::new(),
            databases: options.databases.iter().cloned().collect(),
            tokens: BTreeMap::new(),
            written: BTreeMap::new(),
            faults: Vec::new(),
            oddities: Oddities::default(),
            draw: None,
            struck: BTreeMap::new(),
            requests: Vec::new(),
            listeners: Vec::new(),
            by_secret: BTreeMap::new(),
            options,
        }
    }

    pub(crate) fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }

    pub(crate) fn mint(
        &mut self,
        description: String,
        permissions: Vec<(String, String)>,
        expires_at: Option<Timestamp>,
        activation: &Activation,
    ) -> Token {
        let now = self.clock.now();
        let at = |delay: Duration| {
            let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
            now.saturating_add(delay).unwrap_or(Timestamp::MAX)
        };
        let token = Token {
            id: random_uuid(),
            secret: random_text("apiv1_", 48),
            description,
            permissions,
            created_at: truncated(now),
            expires_at,
            revoked_at: None,
            active: [activation.write.map(at), activation.query.map(at)],
            turns: [0; 2],
        };
        self.by_secret.insert(token.secret.clone(), token.id.clone());
        self.tokens.insert(token.id.clone(), token.clone());
        self.tell(&Event::Minted { id: token.id.clone() });
        token
    }

    /// Whether there was one to end.
    pub(crate) fn revoke(&mut self, id: &str) -> bool {
        let now = truncated(self.clock.now());
        let Some(token) = self.tokens.get_mut(id) else { return false };
        if token.revoked_at.is_none() {
            token.revoked_at = Some(now);
            self.tell(&Event::Revoked { id: id.to_owned() });
        }
        true
    }

    /// Replaces what a token may do.
    pub(crate) fn permit(&mut self, id: &str, permissions: Vec<(String, String)>) {
        if let Some(token) = self.tokens.get_mut(id) {
            token.permissions = permissions;
            self.tell(&Event::Patched { id: id.to_owned() });
        }
    }

    /// Whether this lets somebody in to the management API.
    pub(crate) fn may_manage(&self, token: &str) -> bool {
        let is_issued = || self.issued.get(token).is_some_and(|until| *until > self.clock.now());
        token == self.management_token || is_issued()
    }

    /// The id of the token with this secret.
    pub(crate) fn id_of(&self, secret: &str) -> Option<&str> {
        self.by_secret.get(secret).map(String::as_str)
    }

    /// The token with this secret, if the replica whose turn it is knows it as live.
    pub(crate) fn authenticate(&mut self, secret: &str, plane: Plane) -> Option<&Token> {
        let now = self.clock.now();
        let id = self.by_secret.get(secret)?;
        let token = self.tokens.get_mut(id)?;
        let plane = plane as usize;
        let replica = token.turns[plane] % 3;
        token.turns[plane] += 1;
        (token.is_live(now) && token.active[plane][replica] <= now).then_some(&*token)
    }
}

/// The API's times have milliseconds.
fn truncated(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bits");
    bytes
}

/// A prefix and so many random bytes in hexadecimal (at most 48).
pub(crate) fn random_text(prefix: &str, bytes: usize) -> String {
    let digits: String = random_bytes::<48>()[..bytes].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{digits}")
}

fn random_uuid() -> String {
    let mut bits = u128::from_be_bytes(random_bytes());
    // Version 4, variant 1 (RFC 9562).
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
