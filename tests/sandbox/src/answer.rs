//! Answers and their bodies, right and wrong.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

/// An answer before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Self {
        let headers = vec![(CONTENT_TYPE.to_string(), "application/json".to_owned())];
        Self { status, headers, body: value.to_string().into_bytes() }
    }

    /// The management API's errors have a whole number for a code.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "code": status, "message": message }))
    }

    /// Nothing behind the ingress has this path.
    pub(crate) fn from_ingress() -> Self {
        let headers = vec![(CONTENT_TYPE.to_string(), "text/plain; charset=utf-8".to_owned())];
        Self { status: 404, headers, body: b"default backend - 404".to_vec() }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: vec![], body: vec![] }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn into_response(self, wrong: Wrong) -> Response<Sent> {
        let mut response = Response::new(Sent { bytes: Bytes::from(self.body), wrong, sent: false });
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Half of it, then the connection ends.
    Half,
    /// It never ends.
    Endless,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: Bytes,
    wrong: Wrong,
    sent: bool,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let first = !std::mem::replace(&mut self.sent, true);
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match (self.wrong, first) {
            (Wrong::Nothing, true) if !self.bytes.is_empty() => frame(self.bytes.clone()),
            (Wrong::Nothing, _) => Poll::Ready(None),
            (Wrong::Half, true) => frame(self.bytes.slice(..self.bytes.len() / 2)),
            (Wrong::Half, false) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            (Wrong::Endless, _) => {
                // Lets other tasks run: this one is always ready.
                context.waker().wake_by_ref();
                frame(Bytes::from_static(&[b' '; 64 << 10]))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.wrong {
            Wrong::Endless => SizeHint::default(),
            _ => SizeHint::with_exact(self.bytes.len() as u64),
        }
    }
}
