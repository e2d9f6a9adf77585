//! Requests that did not succeed, and why.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use super::TlsCause;
use crate::{
    model::{Product, ServerName},
    source::SourceError,
};

/// A request to the management API that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("server {name:?}: {verb}: {kind}", name = server.0)]
pub struct ServerError {
    /// Which server, by its name in the list.
    pub server: ServerName,
    /// Its kind, which knows what to do.
    pub product: Product,
    /// What was asked: `list tokens`, `mint token` and so on.
    pub verb: &'static str,
    /// What came of it.
    pub kind: ErrorKind,
}

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server answered with a status that is not a success.
    #[error("{status}{}", message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What its body says, shortened, control characters taken out.
        message: Option<String>,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// It points elsewhere; redirects are never followed.
    #[error("{status}: redirected{}, which is not followed", location.as_ref().map(|location| format!(" to {location:?}")).unwrap_or_default())]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The Location header, where there is one that repeats no secret.
        location: Option<String>,
    },
    /// The host name has no address.
    #[error("no address for the host: {0}")]
    Dns(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server could not be trusted, or did not trust us.
    #[error("tls: {why}")]
    Tls {
        /// Which remedy it has.
        cause: TlsCause,
        /// What happened.
        why: String,
    },
    /// No answer in time.
    #[error("timed out after {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection ended before the answer did.
    #[error("the answer was cut off: {0}")]
    Cut(String),
    /// The answer is larger than is read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what the API promises.
    #[error("unexpected answer: {0}")]
    Nonsense(String),
    /// The answer is compressed, which was not asked for.
    #[error("unexpected answer: compressed ({0}), expected identity")]
    Compressed(String),
    /// The management token could not be had.
    #[error("management token: {0}")]
    ManagementToken(SourceError),
    /// What a management token is issued for could not be had.
    #[error("client secret: {0}")]
    ClientSecret(SourceError),
    /// The identity provider issued no management token.
    #[error("no management token from {by}: {why}")]
    NotIssued {
        /// The address it was asked at.
        by: String,
        /// What came of it.
        why: Box<ErrorKind>,
    },
    /// The server refuses what the identity provider issued.
    #[error("401{}: the server refuses the token from {by}", message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    IssuedRefused {
        /// The provider's address.
        by: String,
        /// What the server's answer says.
        message: Option<String>,
    },
    /// It could not be handed to influxctl.
    #[error("cannot pass the management token on: {0}")]
    NotHanded(String),
    /// influxctl is not installed.
    #[error("there is no {program:?}{}", if program.components().count() > 1 { String::new() } else { format!(" on PATH ({path:?})") })]
    NoProgram {
        /// What was looked for.
        program: PathBuf,
        /// Where.
        path: OsString,
    },
    /// An influxctl that cannot do it.
    #[error("influxctl {found} is too old: expected {least} or later")]
    Outdated {
        /// The version that is installed.
        found: String,
        /// The oldest that will do.
        least: String,
    },
    /// influxctl could not do it, or says so: what has been done, nobody knows.
    #[error("influxctl: {0}")]
    Failed(String),
    /// The server refused what influxctl asked it for: nothing was done.
    #[error("influxctl: refused: {code}{}", message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    Refused {
        /// The gRPC code.
        code: RefusalCode,
        /// The message, shortened, without control characters.
        message: Option<String>,
    },
    /// An answer of influxctl's in a form that is not known here.
    #[error("unexpected answer: `{command}` printed {shape}")]
    UnknownShape {
        /// The words it was run with.
        command: &'static str,
        /// Names and kinds in its answer, without any text.
        shape: String,
    },
    /// influxctl cannot do it, or its answer is not understood.
    #[error("influxctl cannot do this: {0}")]
    Unsupported(String),
}

/// The gRPC codes by which a server refuses, so that nothing was done. Not those that may come of what a proxy or a timeout
/// did to a call that arrived, nor `AlreadyExists` and `ResourceExhausted`: as 409 and 429 over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are gRPC's own names")]
pub enum RefusalCode {
    Unauthenticated,
    PermissionDenied,
    InvalidArgument,
    NotFound,
    FailedPrecondition,
    OutOfRange,
    Unimplemented,
}

impl RefusalCode {
    pub(super) const ALL: [Self; 7] = [
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::InvalidArgument,
        Self::NotFound,
        Self::FailedPrecondition,
        Self::OutOfRange,
        Self::Unimplemented,
    ];
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ServerError {
    /// How long the server asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.kind.retry_after()
    }

    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            ErrorKind::Status { status, .. } | ErrorKind::Redirect { status, .. } => Some(*status),
            ErrorKind::IssuedRefused { .. } => Some(401),
            _ => None,
        }
    }

    /// Whether what this process presents, kept where the list says, is refused: as it is, it always will be.
    #[must_use]
    pub fn refuses_the_secret(&self) -> bool {
        match &self.kind {
            ErrorKind::Status { status, .. } => *status == 401,
            // A provider may answer that it does not know a client with 400, too (RFC 6749, 5.2).
            ErrorKind::NotIssued { why, .. } => {
                matches!(**why, ErrorKind::Status { status: 400 | 401 | 403, .. })
            }
            _ => false,
        }
    }

    /// Whether the server may have done what it was asked, or may yet do it.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        match &self.kind {
            ErrorKind::Status { status, .. } => !is_refusal(*status),
            ErrorKind::Redirect { .. }
            | ErrorKind::Refused { .. }
            | ErrorKind::Dns(_)
            | ErrorKind::Connect(_)
            | ErrorKind::Tls { .. }
            | ErrorKind::ManagementToken(_)
            | ErrorKind::ClientSecret(_)
            | ErrorKind::NotIssued { .. }
            | ErrorKind::IssuedRefused { .. }
            | ErrorKind::NotHanded(_)
            | ErrorKind::NoProgram { .. }
            | ErrorKind::Outdated { .. }
            | ErrorKind::Unsupported(_) => false,
            ErrorKind::Timeout(_)
            | ErrorKind::Cut(_)
            | ErrorKind::TooLarge(_)
            | ErrorKind::Nonsense(_)
            | ErrorKind::UnknownShape { .. }
            | ErrorKind::Compressed(_)
            | ErrorKind::Failed(_) => true,
        }
    }

    /// Whether it cannot do this at all: an older release, or no right to.
    #[must_use]
    pub fn is_unable(&self) -> bool {
        matches!(self.status(), Some(403 | 404)) || matches!(self.kind, ErrorKind::Unsupported(_))
    }

    /// Whether trying again soon is pointless: somebody has to change something first.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        self.kind.needs_a_person()
    }
}

impl ErrorKind {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::NotIssued { why, .. } => why.retry_after(),
            _ => None,
        }
    }

    fn needs_a_person(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_refusal(*status),
            Self::Refused { .. } => true,
            Self::NotIssued { why, .. } => why.needs_a_person(),
            Self::Redirect { .. }
            | Self::Tls { .. }
            | Self::ManagementToken(_)
            | Self::ClientSecret(_)
            | Self::IssuedRefused { .. }
            | Self::NotHanded(_)
            | Self::NoProgram { .. }
            | Self::Outdated { .. } => true,
            _ => false,
        }
    }
}

/// Whether a status says that the server refused the request, so that nothing came of it. Not 408 and 409, which may come
/// after the effect; not 425 and 429, which promise nothing; and nothing above 451, where none is registered: there proxies
/// tell what became of a connection (499: the client left) while the server behind them may be at work.
pub(super) fn is_refusal(status: u16) -> bool {
    matches!(status, 400..=451) && !matches!(status, 408 | 409 | 425 | 429)
}
