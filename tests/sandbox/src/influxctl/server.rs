//! The cluster: the sandbox's management API in place of the gRPC that nobody documents.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Failure, output::Place, profile::Profile, settings::Settings, version::Version};

/// By which the sandbox knows that it is not asked over REST.
pub(crate) const CLIENT_HEADER: &str = "x-sandbox-client";
/// That header's value.
pub(crate) const CLIENT: &str = "influxctl";

/// How the server's refusal is told. gRPC's words for it; the tool's own are not documented.
pub(super) const UNAUTHORIZED: &str = "rpc error: code = Unauthenticated desc = unauthorized";

/// The ids that a Clustered has, in place of those of an account.
const ACCOUNT: &str = "11111111-1111-4111-8111-111111111111";
const CLUSTER: &str = "22222222-2222-4222-8222-222222222222";

/// No answer is larger than this.
const MAX_ANSWER: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Server {
    profile: Profile,
    address: (String, u16),
    base: String,
    version: Version,
    deadline: Instant,
}

impl Server {
    pub(super) fn new(settings: &Settings, profile: Profile, timeout: Duration) -> Result<Self, Failure> {
        let console = settings.written.console.as_ref().filter(|_| profile.dedicated);
        let (host, port) = match console.and_then(|console| console.rsplit_once(':')) {
            Some((host, port)) => (host.to_owned(), port.to_owned()),
            None => profile
                .host
                .clone()
                .zip(profile.port.clone())
                .ok_or_else(|| Failure::new("the profile has no host or no port"))?,
        };
        let port = port.parse().map_err(|_| Failure::new(format!("\"{port}\" is no port")))?;
        let base = match (&profile.account, &profile.cluster) {
            _ if !profile.dedicated => "/api/v0".to_owned(),
            (Some(account), Some(cluster)) => format!("/api/v0/accounts/{account}/clusters/{cluster}"),
            _ => return Err(Failure::new("the profile has no account_id or no cluster_id")),
        };
        let deadline = Instant::now() + timeout;
        Ok(Self { address: (host, port), base, version: settings.version, deadline, profile })
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            account: self.profile.account.as_deref().unwrap_or(ACCOUNT),
            cluster: self.profile.cluster.as_deref().unwrap_or(CLUSTER),
            dedicated: self.profile.dedicated,
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.address.0
    }

    pub(super) fn token(&self) -> &str {
        &self.profile.login.token
    }

    /// One request below the base, and its answer; null if that is empty.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        if !self.profile.plain {
            return Err(Failure::new("rpc error: code = Unavailable desc = the sandbox has no TLS"));
        }
        let (status, body) = self.exchange(method, path, body).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Failure::new("rpc error: code = DeadlineExceeded desc = context deadline exceeded")
            }
            _ => Failure::new(format!("rpc error: code = Unavailable desc = {error}")),
        })?;
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::new(format!("unexpected answer: {error}")))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = self.connect()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        write!(
            stream,
            "{method} {}{path} HTTP/1.1\r\nhost: {}:{}\r\nauthorization: Bearer {}\r\nuser-agent: influxctl/{}\r\n\
             {CLIENT_HEADER}: {CLIENT}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            self.base,
            self.address.0,
            self.address.1,
            self.token(),
            self.version,
            body.len()
        )?;
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        while let read @ 1.. = self.within(&mut stream)?.read(&mut part)? {
            answer.extend_from_slice(&part[..read]);
            if answer.len() as u64 > MAX_ANSWER {
                return Err(io::Error::other("message larger than max"));
            }
        }
        split(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.left()?) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn within<'a>(&self, stream: &'a mut TcpStream) -> io::Result<&'a mut TcpStream> {
        stream.set_read_timeout(Some(self.left()?))?;
        Ok(stream)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// A status in gRPC's words.
    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let code = match status {
            400 => "InvalidArgument",
            401 => {
                // Since 2.5.0: the next call asks for a login.
                self.profile.login.cached.as_ref().map(fs::remove_file);
                return Failure::new(UNAUTHORIZED);
            }
            403 => "PermissionDenied",
            404 => "NotFound",
            409 => "AlreadyExists",
            429 => "ResourceExhausted",
            503 => "Unavailable",
            _ => "Internal",
        };
        let object: Option<Value> = serde_json::from_slice(body).ok();
        let message =
            object.as_ref().and_then(|object| object.get("message")?.as_str()).unwrap_or("no message");
        Failure::new(format!("rpc error: code = {code} desc = {message}"))
    }
}

/// The status and the body, if all of it is there.
fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?.to_lowercase();
    let body = &answer[end + 4..];
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let whole = body.len() == length.unwrap_or(body.len());
    let status = head.split(' ').nth(1)?.parse().ok()?;
    whole.then(|| (status, body.to_vec()))
}
