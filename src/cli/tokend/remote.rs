//! Asking a running daemon, over its admin socket.

use std::{io, os::unix::net::UnixStream as StdStream, path::Path};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::context::Failure;
use crate::{
    cli::ui,
    model::wiped_json,
    operate::command::{Command, Line, MAX_LINE, PATH},
};

/// A connection to a daemon.
pub(super) struct Daemon(StdStream);

impl Daemon {
    /// The daemon, if one answers there and lets us in. Begins no thread: without a daemon this process may have to
    /// become another user first.
    pub(super) fn at(socket: &Path) -> Option<Self> {
        match StdStream::connect(socket) {
            Ok(stream) => Some(Self(stream)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                ui::note(
                    "influx-tokend",
                    &format!("{socket:?} is for root and the group influx-tokend-admin"),
                );
                None
            }
            Err(_) => None,
        }
    }

    /// Has a command carried out, telling how far it is.
    pub(super) async fn ask<T: DeserializeOwned>(self, command: &Command) -> Result<T, Failure> {
        self.0.set_nonblocking(true)?;
        let stream = UnixStream::from_std(self.0)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
        let mut connection = std::pin::pin!(connection);
        let body = Full::new(Bytes::from_owner(wiped_json(command)));
        let request = Request::post(PATH).header("host", "localhost").body(body);
        let request = request.map_err(|error| Failure::System(io::Error::other(error)))?;
        let conversation = async {
            let answer = sender.send_request(request).await.map_err(cut)?;
            read(answer.into_body()).await
        };
        let mut conversation = std::pin::pin!(conversation);
        tokio::select! {
            biased;
            outcome = &mut conversation => outcome,
            // What it has read is still to be looked at.
            _ = &mut connection => conversation.await,
        }
    }
}

/// Lines until one that is no note.
async fn read<T: DeserializeOwned>(mut answer: Incoming) -> Result<T, Failure> {
    let mut line = Vec::new();
    while let Some(frame) = answer.frame().await {
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.len() > MAX_LINE {
                return Err(strange());
            }
            if !part.ends_with(b"\n") {
                continue;
            }
            match serde_json::from_slice(&line).map_err(|_| strange())? {
                Line::Note(note) => ui::note("influx-tokend", &note),
                Line::Done(done) => return Ok(done),
                Line::Failed(refusal) => return Err(Failure::Refused(refusal)),
            }
            line.clear();
        }
    }
    Err(Failure::Several("the daemon ended before it had answered".to_owned()))
}

fn cut(error: hyper::Error) -> Failure {
    Failure::System(io::Error::other(error))
}

fn strange() -> Failure {
    Failure::Usage {
        what: "the daemon's answer makes no sense: it is of another version".to_owned(),
        fix: "`systemctl restart influx-tokend`".to_owned(),
    }
}
