//! The admin socket: the command line beside a running daemon. Whoever the socket's file lets in may look; only root and
//! the daemon's own user may change anything.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{
        mpsc::{Receiver, channel, unbounded_channel},
        watch,
    },
};
use zeroize::Zeroize as _;

use super::{desk::Gate, operator::Operator};
use crate::{
    deliver::socket::{
        Peer,
        serve::{Terms, converse, serve, told_to_stop},
    },
    operate::command::{Command, Line, MAX_COMMAND, PATH, Refusal},
};

/// One command per connection, which comes at once.
const TERMS: Terms = Terms { idle: Duration::from_secs(5), keep_alive: false };
/// A command takes so long to come at most.
const COMING: Duration = Duration::from_secs(5);

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Carries out commands until told to stop.
pub(super) async fn answer(gate: Arc<Gate>, listener: UnixListener, stopping: watch::Receiver<bool>) {
    serve("admin", usize::MAX, listener, stopping.clone(), |stream| {
        let peer = Peer::of(&stream).ok()?;
        Some(talk(gate.clone(), stream, peer, stopping.clone()))
    })
    .await;
}

async fn talk(gate: Arc<Gate>, stream: UnixStream, peer: Peer, stopping: watch::Receiver<bool>) {
    let (uid, is_master) = (peer.uid, peer.is_master());
    let told = stopping.clone();
    let ended = converse(stream, TERMS, stopping, |request| {
        let (gate, told) = (gate.clone(), told.clone());
        async move { Ok::<_, io::Error>(take(gate, request, uid, is_master, told).await) }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(uid, "admin connection ended: {error}");
    }
}

async fn take(
    gate: Arc<Gate>,
    request: Request<Incoming>,
    uid: u32,
    is_master: bool,
    stopping: watch::Receiver<bool>,
) -> Answer {
    if (request.method(), request.uri().path()) != (&Method::POST, PATH) {
        return refuse(
            StatusCode::NOT_FOUND,
            Refusal::new("no such path", format!("POST a command to {PATH}")),
        );
    }
    let body = tokio::time::timeout(COMING, Limited::new(request.into_body(), MAX_COMMAND).collect()).await;
    let Ok(Ok(body)) = body else {
        return refuse(
            StatusCode::BAD_REQUEST,
            Refusal::new("the command does not come whole", "send it at once"),
        );
    };
    let body = body.to_bytes();
    let parsed = serde_json::from_slice::<Command>(&body);
    // It may have held a secret.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    let command = match parsed {
        Ok(command) => command,
        // What serde says of it may repeat a secret.
        Err(_) => {
            let what = "the daemon does not know this command: it is of another version";
            return refuse(StatusCode::BAD_REQUEST, Refusal::new(what, "`systemctl restart influx-tokend`"));
        }
    };
    if !is_master && !command.only_looks() {
        let what = format!("{} is for root and the user that the daemon runs as", command.word());
        let hint = format!("`sudo influx-tokend {} …`", command.word());
        return refuse(StatusCode::FORBIDDEN, Refusal::new(what, hint));
    }
    if command.only_looks() {
        tracing::debug!(uid, "asked to {command}");
    } else {
        tracing::info!(uid, "asked to {command}");
    }
    match gate.operator() {
        Ok(operator) => carry_out(operator, command, stopping),
        Err(refusal) => refuse(StatusCode::SERVICE_UNAVAILABLE, refusal),
    }
}

/// Answers at once and goes on telling how far it is.
fn carry_out(operator: Arc<Operator>, command: Command, mut stopping: watch::Receiver<bool>) -> Answer {
    let (sender, lines) = channel(16);
    tokio::spawn(async move {
        let (notes, mut told) = unbounded_channel();
        let word = command.word();
        let outcome = async {
            tokio::select! {
                // What has come of it is told, although the daemon stops because of it.
                biased;
                outcome = operator.carry_out(command, &notes) => outcome,
                () = told_to_stop(&mut stopping) => {
                    Err(Refusal::new(format!("the daemon stops: {word} was not seen to its end"), "ask again"))
                }
            }
        };
        let mut outcome = std::pin::pin!(outcome);
        let last = loop {
            tokio::select! {
                biased;
                Some(note) = told.recv() => {
                    // Who has gone away is not waited for; what was begun goes on.
                    let _gone = sender.send(line(&Line::<()>::Note(note))).await;
                }
                outcome = &mut outcome => break outcome,
            }
        };
        let last = match last {
            Ok(done) => line(&Line::Done(done)),
            Err(refusal) => line(&Line::<()>::Failed(refusal)),
        };
        let _gone = sender.send(last).await;
    });
    Response::new(body_of(lines))
}

/// Ends after the last line. (The `Channel` of http-body-util may end without it: it asks whether its sender is gone after
/// it has looked for what that has sent.)
fn body_of(mut lines: Receiver<Bytes>) -> BoxBody<Bytes, Infallible> {
    StreamBody::new(stream::poll_fn(move |context| {
        lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }))
    .boxed()
}

fn refuse(status: StatusCode, refusal: Refusal) -> Answer {
    let body = http_body_util::Full::new(line(&Line::<()>::Failed(refusal)));
    let mut answer = Response::new(body.boxed());
    *answer.status_mut() = status;
    answer
}

fn line<T: serde::Serialize>(line: &Line<T>) -> Bytes {
    let mut json = serde_json::to_vec(line).unwrap_or_default();
    json.push(b'\n');
    Bytes::from(json)
}
