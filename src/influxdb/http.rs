//! The one HTTP client: no redirects, no proxy but the configured one, no repeats, bounded bodies.

use std::{
    error::Error,
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Method, Proxy, RequestBuilder, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION,
        RETRY_AFTER,
    },
    redirect, retry,
};
use serde::de::IgnoredAny;
use url::Url;
use zeroize::Zeroizing;

use super::{
    ErrorKind, ServerError, TlsCause,
    error::is_refusal,
    server_text::{clean, shown},
};
use crate::{
    config::{ClientCertificate, ServerConfig},
    model::{Product, Secret, ServerDate, ServerName, Time},
};

/// Longer than this no server makes us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The largest answer to anything but a list.
pub(super) const MAX_BODY: usize = 1 << 20;
/// The largest list.
pub(super) const MAX_LIST: usize = 64 << 20;

/// The longest text of a date that is shown, in characters.
const MAX_DATE: usize = 60;
/// How gzip begins.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// So long a connection that is not used is kept.
const KEPT: Duration = Duration::from_secs(20);

/// A client of one server.
#[derive(Clone, Debug)]
pub(super) struct Http {
    name: ServerName,
    product: Product,
    /// For one request, connection included.
    pub(super) timeout: Duration,
    /// Keeps connections: for the management API.
    pub(super) pooled: Client,
    /// A new connection each time, so that a balancer may choose another replica: for probes.
    pub(super) fresh: Client,
    /// When an answer came last: for so long a connection may be kept.
    answered: Arc<Mutex<Option<Instant>>>,
}

/// An answer, read whole. It may have secrets in it, wherever the server likes to put them.
pub(super) struct ServerAnswer {
    pub(super) status: u16,
    pub(super) date: ServerDate,
    pub(super) retry_after: Option<Duration>,
    location: Option<Zeroizing<String>>,
    is_html: bool,
    /// How the body is compressed, which it should not be.
    compressed: Option<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What a server says of a request that did not succeed.
#[derive(serde::Deserialize)]
pub(super) struct ErrorBody {
    #[serde(alias = "error")]
    pub(super) message: String,
}

/// A request that got no whole answer.
#[derive(Debug)]
pub(super) struct FailedRequest {
    pub(super) error: ServerError,
    /// Not a byte of the request has left.
    pub(super) unsent: bool,
}

impl From<FailedRequest> for ServerError {
    fn from(failed: FailedRequest) -> Self {
        failed.error
    }
}

/// How connections are made.
pub(super) struct Connecting<'a> {
    /// Where to.
    pub(super) urls: &'a [&'a Url],
    pub(super) ca_file: Option<&'a Path>,
    pub(super) client_certificate: Option<&'a ClientCertificate>,
    pub(super) insecure_skip_verify: bool,
    pub(super) proxy: Option<&'a Url>,
    pub(super) timeout: Duration,
}

impl Http {
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub(super) fn new(name: &ServerName, config: &ServerConfig) -> Result<Self, ServerError> {
        let connecting = Connecting {
            urls: &[&config.url, &config.data_url],
            ca_file: config.ca_file.as_deref(),
            client_certificate: config.client_certificate.as_ref(),
            insecure_skip_verify: config.insecure_skip_verify,
            proxy: config.proxy.as_ref(),
            timeout: config.timeout,
        };
        Self::connecting(name, config.product, &connecting)
    }

    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub(super) fn connecting(
        name: &ServerName,
        product: Product,
        how: &Connecting<'_>,
    ) -> Result<Self, ServerError> {
        let build = || -> Result<(Client, Client), ErrorKind> {
            let pooled = builder(how)?.pool_idle_timeout(KEPT);
            let fresh = builder(how)?.pool_max_idle_per_host(0);
            let built = |builder: ClientBuilder| {
                // The one cause that is left once the files are read.
                let cause = TlsCause::NoAuthorities;
                builder.build().map_err(|error| ErrorKind::Tls { cause, why: chain(&error) })
            };
            Ok((built(pooled)?, built(fresh)?))
        };
        let (pooled, fresh) =
            build().map_err(|kind| ServerError { server: name.clone(), product, verb: "set up", kind })?;
        Ok(Self {
            name: name.clone(),
            product,
            timeout: how.timeout,
            pooled,
            fresh,
            answered: Arc::default(),
        })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        verb: &'static str,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<ServerAnswer, FailedRequest> {
        let failed = |kind, unsent| FailedRequest { error: self.error(verb, kind), unsent };
        let response = self
            .respond(request)
            .await
            .map_err(|error| failed(self.kind_of(&error), error.is_connect() || error.is_builder()))?;
        let headers = response.headers();
        let date = date(headers);
        let mut answer = ServerAnswer {
            status: response.status().as_u16(),
            retry_after: retry_after(headers, &date),
            date,
            location: text(headers, LOCATION).map(Zeroizing::new),
            is_html: text(headers, CONTENT_TYPE)
                .is_some_and(|kind| kind.trim_start().starts_with("text/html")),
            compressed: text(headers, CONTENT_ENCODING)
                .map(|coding| clean(coding.trim()))
                .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity")),
            body: Zeroizing::default(),
        };
        let body = self.body(response, limit).await.map_err(|kind| failed(kind, false))?;
        if body.starts_with(GZIP) {
            answer.compressed.get_or_insert_with(|| "gzip".to_owned());
        }
        answer.body = readable(body);
        Ok(answer)
    }

    /// A kept connection may be one that the server is just closing. What it never answered is asked once more, where that
    /// changes nothing.
    async fn respond(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        let (client, request) = request.build_split();
        let request = request?;
        let may_be_kept = {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.take().is_some_and(|at| at.elapsed() < KEPT)
        };
        let is_idempotent = request.method() == Method::GET && !request.headers().contains_key(CONNECTION);
        let again = request.try_clone().filter(|_| may_be_kept && is_idempotent);
        let response = match (client.execute(request).await, again) {
            (Err(error), Some(again)) if is_closed(&error) => client.execute(again).await,
            (first, _) => first,
        };
        if response.is_ok() {
            *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        response
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Zeroizing<Vec<u8>>, ErrorKind> {
        let told = response.content_length().and_then(|length| usize::try_from(length).ok());
        if told.is_some_and(|length| length > limit) {
            return Err(ErrorKind::TooLarge(limit));
        }
        // Sized beforehand where the length is known, so that growing leaves no copy of a secret behind.
        let mut body = Zeroizing::new(Vec::with_capacity(told.unwrap_or(64 << 10)));
        while let Some(piece) = response.chunk().await.map_err(|error| self.kind_of(&error))? {
            if body.len() + piece.len() > limit {
                return Err(ErrorKind::TooLarge(limit));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn error(&self, verb: &'static str, kind: ErrorKind) -> ServerError {
        ServerError { server: self.name.clone(), product: self.product, verb, kind }
    }

    fn kind_of(&self, error: &reqwest::Error) -> ErrorKind {
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        let lookup = causes(error).find_map(|cause| cause.downcast_ref::<Lookup>());
        match (lookup, tls) {
            (Some(lookup), _) => ErrorKind::Dns(lookup.0.to_string()),
            (None, Some(tls)) => ErrorKind::Tls { cause: TlsCause::of(tls), why: clean(&tls.to_string()) },
            (None, None) if error.is_timeout() && !error.is_connect() => ErrorKind::Timeout(self.timeout),
            (None, None) if error.is_connect() => ErrorKind::Connect(last_cause(error)),
            (None, None) => ErrorKind::Cut(last_cause(error)),
        }
    }
}

impl ServerAnswer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the server refused this, so that nothing came of it. A page of HTML is a proxy's: what became of the request
    /// behind it, it does not say.
    pub(super) fn is_refusal(&self) -> bool {
        is_refusal(self.status) && !self.is_page()
    }

    fn is_page(&self) -> bool {
        let begins_like_one = || self.body.trim_ascii_start().starts_with(b"<");
        (self.is_html || begins_like_one()) && serde_json::from_slice::<IgnoredAny>(&self.body).is_err()
    }

    /// A date that is not one is shown: not where it repeats one of these secrets.
    pub(super) fn check_date(&mut self, secrets: &[&Secret]) {
        if let ServerDate::Unreadable(text) = &mut self.date
            && !text.is_empty()
            && shown(text, secrets).is_none()
        {
            "…".clone_into(text);
        }
    }

    /// Why this is not a success, in the server's words where it has some that repeat none of these secrets.
    pub(super) fn failure(&self, secrets: &[&Secret]) -> ErrorKind {
        if (300..400).contains(&self.status) {
            let location = self.location.as_deref().and_then(|location| shown(location, secrets));
            return ErrorKind::Redirect { status: self.status, location };
        }
        ErrorKind::Status {
            status: self.status,
            message: self.message(secrets),
            retry_after: self.retry_after,
        }
    }

    fn message(&self, secrets: &[&Secret]) -> Option<String> {
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(error) => shown(&Zeroizing::new(error.message), secrets),
            Err(_) if self.compressed.is_some() => Some("a compressed text".to_owned()),
            Err(_) if self.is_page() => Some("an HTML page".to_owned()),
            Err(_) => shown(std::str::from_utf8(&self.body).ok()?.lines().next()?, secrets),
        }
    }

    /// What a success must be to be believed. What it is labelled as does not matter where it can be read.
    pub(super) fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ErrorKind> {
        // The error names the place alone: the text around it may be a token.
        serde_json::from_slice(&self.body).map_err(|error| {
            if let Some(coding) = &self.compressed {
                return ErrorKind::Compressed(coding.clone());
            }
            if self.is_page() {
                return ErrorKind::Nonsense("an HTML page".to_owned());
            }
            let what = match error.classify() {
                serde_json::error::Category::Eof => "ends too early",
                serde_json::error::Category::Syntax => "is not JSON",
                _ => "is not what the API describes",
            };
            ErrorKind::Nonsense(format!("the body {what} (line {}, column {})", error.line(), error.column()))
        })
    }
}

fn builder(how: &Connecting<'_>) -> Result<ClientBuilder, ErrorKind> {
    // Fails where another client of this process has done it already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("influx-tokend/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .no_proxy()
        .http1_only()
        .connect_timeout(how.timeout.min(Duration::from_secs(10)))
        .timeout(how.timeout)
        .dns_resolver(Arc::new(SystemResolver));
    if let Some(proxy) = how.proxy {
        let proxy = Proxy::all(proxy.as_str()).map_err(|error| ErrorKind::Connect(chain(&error)))?;
        builder = builder.proxy(proxy);
    }
    if let Some(path) = how.ca_file {
        let pem = read_pem(path)?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| bad_pem(path, &chain(&error)))?;
        if certificates.is_empty() {
            return Err(bad_pem(path, "holds no certificate"));
        }
        builder = builder.tls_certs_only(certificates);
    } else if how.urls.iter().all(|url| url.scheme() == "http") {
        // Nothing to verify: a machine without any certificate must do.
        builder = builder.tls_certs_only([]);
    }
    if let Some(client) = how.client_certificate {
        let mut pem = read_pem(&client.certificate)?;
        pem.extend_from_slice(&read_pem(&client.key)?);
        let identity = Identity::from_pem(&pem).map_err(|error| bad_pem(&client.key, &chain(&error)))?;
        builder = builder.identity(identity);
    }
    if how.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

fn read_pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, ErrorKind> {
    use io::Read as _;
    let mut pem = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    let read = fs::File::open(path).and_then(|file| file.take(MAX_BODY as u64).read_to_end(&mut pem));
    read.map_err(|error| bad_pem(path, &error.to_string()))?;
    Ok(pem)
}

fn bad_pem(path: &Path, why: &str) -> ErrorKind {
    ErrorKind::Tls { cause: TlsCause::File, why: format!("cannot use {path:?}: {why}") }
}

/// `url` with more segments after its own path, each escaped.
pub(super) fn under(url: &Url, segments: &[&str]) -> Url {
    let mut url = url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The system's resolver, with an error of its own type.
struct SystemResolver;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lookup(io::Error);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Lookup)?;
            let addresses: Vec<SocketAddr> = found.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Everything under an error, also what an [`io::Error`] hides from [`Error::source`].
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// Whether the server closed the connection instead of answering.
fn is_closed(error: &reqwest::Error) -> bool {
    let is_cut =
        |error: &hyper::Error| error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let is_reset = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
        )
    };
    !error.is_connect()
        && !error.is_timeout()
        && causes(error).any(|cause| {
            cause.downcast_ref().is_some_and(is_cut) || cause.downcast_ref().is_some_and(is_reset)
        })
}

fn last_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn date(headers: &HeaderMap) -> ServerDate {
    let Some(value) = headers.get(DATE) else { return ServerDate::Absent };
    let text = String::from_utf8_lossy(value.as_bytes());
    let at = httpdate::parse_http_date(&text).ok().and_then(|at| Time::try_from(at).ok());
    let unreadable = || ServerDate::Unreadable(clean(&text).chars().take(MAX_DATE).collect());
    at.map_or_else(unreadable, ServerDate::At)
}

/// Seconds, or a date (RFC 9110, 10.2.3), which is measured from the answer's own: by no other clock than the one that made
/// it. One that has passed says nothing.
fn retry_after(headers: &HeaderMap, date: &ServerDate) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = Time::try_from(httpdate::parse_http_date(&value).ok()?).ok()?;
            Duration::try_from(until.duration_since(date.time()?)).ok()?
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// A body that is text: bytes that are none, in a description say, cost nothing but themselves.
pub(super) fn readable(body: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if std::str::from_utf8(&body).is_ok() {
        return body;
    }
    // Sized for the worst case, so that growing leaves no copy of a secret behind.
    let mut text = Zeroizing::new(Vec::with_capacity(body.len() * '\u{fffd}'.len_utf8()));
    for chunk in body.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            text.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    text
}

/// `SCHEME SECRET` as the value of a header that no log shows. No copy of it is left behind here.
pub(super) fn authorization(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + 1 + secret.len()));
    text.extend_from_slice(scheme.as_bytes());
    text.push(b' ');
    text.extend_from_slice(secret.as_bytes());
    let mut value = HeaderValue::from_bytes(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
