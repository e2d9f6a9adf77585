//! Accepting connections, and speaking HTTP/1.1 on those of the secrets and the admin socket, within bounds.

use std::{convert::Infallible, future::Future, io, time::Duration};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};
use tokio_io_timeout::TimeoutStream;

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// A caller that takes no byte of its answer for so long is given up.
const STALLED: Duration = Duration::from_secs(10);
/// What is being answered when the daemon stops may take so long.
const DRAIN: Duration = Duration::from_secs(2);
/// When the process has no file descriptors left, it waits so long before it accepts again.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Accepts until told to stop, and then lets what is being answered end. `admit` gives what becomes of a connection;
/// those beyond `most` at once wait to be accepted.
pub(crate) async fn serve<C>(
    what: &str,
    most: usize,
    listener: UnixListener,
    mut stopping: watch::Receiver<bool>,
    mut admit: impl FnMut(UnixStream) -> Option<C>,
) where
    C: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut is_exhausted = false;
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok((stream, _)) => {
                    is_exhausted = false;
                    if let Some(connection) = admit(stream) {
                        connections.spawn(connection);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_exhausted, true) {
                        tracing::error!("cannot accept connections on the {what} socket: {error}");
                    }
                    tokio::time::sleep(EXHAUSTED).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told_to_stop(&mut stopping) => break,
        }
    }
    drain(connections).await;
}

/// Lets what is being answered end.
pub(crate) async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// How long one connection may take, and how often it may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// It may be idle for so long, and the head of a request take so long to come.
    pub(crate) idle: Duration,
    /// For more than one request.
    pub(crate) keep_alive: bool,
}

/// Answers the requests of one connection, one after the other. An error of `answer` ends it unanswered.
pub(crate) async fn converse<A, B>(
    stream: UnixStream,
    terms: Terms,
    mut stopping: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> A,
) -> Result<(), hyper::Error>
where
    A: Future<Output = Result<Response<B>, io::Error>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(terms.idle)
        .keep_alive(terms.keep_alive)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => ended,
        () = told_to_stop(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

pub(crate) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone will not ask for anything else.
    let _gone = stopping.wait_for(|stopping| *stopping).await;
}
