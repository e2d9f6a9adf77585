//! The HTTP server around the state.

use std::{
    io::{self, Read as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Request, Response, Uri,
    body::Incoming,
    header::{AUTHORIZATION, CONTENT_ENCODING, USER_AGENT},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    answer::{Answer, Sent, Wrong},
    data,
    fault::Effect,
    influxctl, management,
    oddities::{Misbehaviour, Oddities},
    provider,
    state::{Event, Recorded, State},
};

/// The largest request body.
const MAX_BODY: usize = 16 << 20;

/// What is served at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Both,
    Management,
    Data,
}

pub(crate) async fn serve(
    listener: TcpListener,
    part: Part,
    state: Arc<Mutex<State>>,
    mut stop: watch::Receiver<bool>,
) {
    // Dropped with this function: no connection outlives the sandbox.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(|request| handle(request, part, state.clone()));
            // A server may have no Date.
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.auto_date_header(false).serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own affair, and cutting it off is often the point.
            let _cut = connection.await;
        });
    }
}

/// An error cuts the connection.
async fn handle(
    request: Request<Incoming>,
    part: Part,
    state: Arc<Mutex<State>>,
) -> io::Result<Response<Sent>> {
    let (mut head, body) = request.into_parts();
    let base = state.lock().unwrap_or_else(PoisonError::into_inner).options.base.clone();
    let below = below(&head.uri, &base);
    let mut instead = below.is_none().then(Answer::from_ingress);
    head.uri = below.unwrap_or(head.uri);
    let what = format!("{} {}", head.method, head.uri.path());
    let client = head.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (latency, oddities, effects, number) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tell(&Event::Received { what: what.clone() });
        let Misbehaviour { oddities, effects } = misbehaviour(&mut state, &head, client);
        state.requests.push(recorded(&head));
        (state.options.latency, Arc::new(oddities), effects, state.requests.len() - 1)
    };
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let body = if head.headers.get(CONTENT_ENCODING).is_some_and(|value| value == "gzip") {
        let mut clear = Vec::new();
        GzDecoder::new(&body[..]).take(MAX_BODY as u64).read_to_end(&mut clear)?;
        clear
    } else {
        body.to_vec()
    };
    tokio::time::sleep(latency).await;
    let mut lag = Duration::ZERO;
    let mut wrong = Wrong::Nothing;
    let mut cut_after = false;
    let mut silent_after = false;
    let (mut late, mut delay_after) = (None, None);
    let mut instead_after = None;
    for effect in effects {
        match effect {
            Effect::Status { status, headers, body } => {
                instead = Some(Answer { status, headers, body: body.into_bytes() });
            }
            Effect::StatusAfter { status, headers, body } => {
                instead_after = Some(Answer { status, headers, body: body.into_bytes() });
            }
            Effect::Delay(delay) => tokio::time::sleep(delay).await,
            Effect::CutBefore => return Err(io::ErrorKind::ConnectionAborted.into()),
            Effect::Silence => std::future::pending().await,
            Effect::CutAfter => cut_after = true,
            Effect::SilenceAfter => silent_after = true,
            Effect::Late(delay) => late = Some(delay),
            Effect::DelayAfter(delay) => delay_after = Some(delay),
            Effect::HalfBody => wrong = Wrong::Half,
            Effect::EndlessBody => wrong = Wrong::Endless,
            Effect::Lag(by) => lag = by,
        }
    }
    let done = {
        let (state, head) = (state.clone(), head.clone());
        let otherwise = Otherwise { oddities: oddities.clone(), lag, instead };
        move || carry_out(&state, part, number, &head, &body, otherwise)
    };
    let (answer, date) = match late {
        Some(delay) => {
            // A task of its own does not end with the connection.
            let later = async move {
                tokio::time::sleep(delay).await;
                done()
            };
            tokio::spawn(later).await.map_err(io::Error::other)?
        }
        None => done(),
    };
    if cut_after {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    if silent_after {
        std::future::pending::<()>().await;
    }
    if let Some(delay) = delay_after {
        tokio::time::sleep(delay).await;
    }
    let answer = instead_after.unwrap_or(answer);
    let answered = Event::Answered { what, status: answer.status };
    state.lock().unwrap_or_else(PoisonError::into_inner).tell(&answered);
    Ok(oddities.dressed(answer, &head.headers, head.uri.path(), date).into_response(wrong))
}

/// What is odd about the answer to a request, and what goes wrong with it.
fn misbehaviour(state: &mut State, head: &hyper::http::request::Parts, client: &str) -> Misbehaviour {
    let (method, path) = (&head.method, head.uri.path());
    let is_management = path.starts_with("/api/v0/");
    let Misbehaviour { oddities, effects: drawn } = match &mut state.draw {
        Some(draw) => draw.0(method, path),
        None => Misbehaviour { oddities: state.oddities.clone(), effects: vec![] },
    };
    let mut effects: Vec<Effect> =
        state.faults.iter_mut().filter_map(|fault| fault.strike(method, path, client)).chain(drawn).collect();
    if !is_management && path != provider::PATH {
        effects.extend(oddities.data.clone());
    }
    if let Some(redirect) = oddities.redirect.as_ref().filter(|_| is_management) {
        let headers = vec![("location".to_owned(), format!("{}{path}", redirect.to))];
        effects.push(Effect::Status { status: redirect.status, headers, body: "{}".to_owned() });
    }
    let names = oddities.names(is_management, method, path);
    for name in names.into_iter().chain(effects.iter().map(Effect::name)) {
        *state.struck.entry(name).or_default() += 1;
    }
    Misbehaviour { oddities, effects }
}

/// How else a request is answered than rightly.
struct Otherwise {
    oddities: Arc<Oddities>,
    /// A list shows how things were this long ago.
    lag: Duration,
    /// Nothing is done, and this answered.
    instead: Option<Answer>,
}

/// An address without the base; `None` where it lies beside it.
fn below(uri: &Uri, base: &str) -> Option<Uri> {
    if base.is_empty() {
        return Some(uri.clone());
    }
    uri.path_and_query()?.as_str().strip_prefix(base).filter(|rest| rest.starts_with('/'))?.parse().ok()
}

/// Does what a request wants, or answers something else `instead`; the answer, and when it was done.
fn carry_out(
    state: &Mutex<State>,
    part: Part,
    number: usize,
    head: &hyper::http::request::Parts,
    body: &[u8],
    otherwise: Otherwise,
) -> (Answer, SystemTime) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let Otherwise { oddities, lag, instead } = otherwise;
    let (answer, token) = match instead {
        Some(answer) => (answer, None),
        None => dispatch(&mut state, part, head, body, &oddities, lag),
    };
    if let Some(recorded) = state.requests.get_mut(number) {
        recorded.body = String::from_utf8_lossy(body).into_owned();
        recorded.status = Some(answer.status);
        recorded.token = token;
    }
    (answer, UNIX_EPOCH + Duration::from_secs(state.clock.now().as_second().unsigned_abs()))
}

fn dispatch(
    state: &mut State,
    part: Part,
    head: &hyper::http::request::Parts,
    body: &[u8],
    oddities: &Oddities,
    lag: Duration,
) -> (Answer, Option<String>) {
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let path = head.uri.path();
    if part != Part::Data && path.starts_with("/api/v0/") {
        let is_influxctl =
            head.headers.get(influxctl::CLIENT_HEADER).is_some_and(|client| client == influxctl::CLIENT);
        if !state.options.rest && !is_influxctl {
            return (Answer::from_ingress(), None);
        }
        let lag = SignedDuration::try_from(lag).unwrap_or(SignedDuration::ZERO);
        let now = state.clock.now();
        let as_of = now.saturating_sub(lag).unwrap_or(now);
        let request =
            management::Request { method: &head.method, path, authorization, body, as_of, oddities };
        return (management::answer(state, &request), None);
    }
    if let (provider::PATH, Some(provider)) = (path, state.options.provider.clone())
        && part != Part::Data
    {
        return (provider::answer(state, &provider, authorization, body), None);
    }
    if part == Part::Management {
        return (Answer::error(404, "not found"), None);
    }
    let query = head.uri.query().unwrap_or_default();
    data::answer(state, &data::Request { method: &head.method, path, query, authorization, body })
}

fn recorded(head: &hyper::http::request::Parts) -> Recorded {
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| *name != AUTHORIZATION)
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Recorded {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: String::new(),
        status: None,
        token: None,
    }
}
