//! Misbehaviour on demand.

use std::time::Duration;

use hyper::Method;

/// What goes wrong, with which requests.
#[derive(Clone, Debug)]
pub struct Fault {
    method: Option<Method>,
    path: String,
    client: String,
    skip: usize,
    times: Option<usize>,
    effect: Effect,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Another answer, without doing anything.
    Status {
        /// The HTTP status.
        status: u16,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// It is done, and something else is answered.
    StatusAfter {
        /// The HTTP status.
        status: u16,
        /// Header fields.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The right answer, later: nothing is done before.
    Delay(Duration),
    /// It is done later, whether or not somebody still waits for it then.
    Late(Duration),
    /// It is done at once, and answered later.
    DelayAfter(Duration),
    /// The connection is closed, nothing is done.
    CutBefore,
    /// It is done, and the connection closed without an answer.
    CutAfter,
    /// It is done, and half of the answer sent.
    HalfBody,
    /// It is done, and the answer never ends.
    EndlessBody,
    /// It is not done, and never answered.
    Silence,
    /// It is done, and never answered.
    SilenceAfter,
    /// A list shows how things were this long ago.
    Lag(Duration),
}

impl Effect {
    /// By which it is counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "another status",
            Self::StatusAfter { .. } => "another status after the effect",
            Self::Delay(_) => "delay",
            Self::Late(_) => "late effect",
            Self::DelayAfter(_) => "delay after the effect",
            Self::CutBefore => "cut before the effect",
            Self::CutAfter => "cut after the effect",
            Self::HalfBody => "half a body",
            Self::EndlessBody => "endless body",
            Self::Silence => "silence",
            Self::SilenceAfter => "silence after the effect",
            Self::Lag(_) => "list that lags",
        }
    }
}

impl Fault {
    /// With every request of this method (or any) whose path begins so.
    #[must_use]
    pub fn on(method: Option<Method>, path: &str, effect: Effect) -> Self {
        Self { method, path: path.to_owned(), client: String::new(), skip: 0, times: None, effect }
    }

    /// A status and a JSON body in the management API's form.
    #[must_use]
    pub fn status(method: Method, path: &str, status: u16) -> Self {
        let (headers, body) = on_demand(status);
        Self::on(Some(method), path, Effect::Status { status, headers, body })
    }

    /// The same, after what was asked for is done.
    #[must_use]
    pub fn status_after(method: Method, path: &str, status: u16) -> Self {
        let (headers, body) = on_demand(status);
        Self::on(Some(method), path, Effect::StatusAfter { status, headers, body })
    }

    /// Only with those of clients whose User-Agent begins so.
    #[must_use]
    pub fn of(mut self, client: &str) -> Self {
        client.clone_into(&mut self.client);
        self
    }

    /// Not with the first of them.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// With so many of them.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// The effect on this request, if there is one.
    pub(crate) fn strike(&mut self, method: &Method, path: &str, client: &str) -> Option<Effect> {
        let concerns = self.method.as_ref().is_none_or(|own| own == method)
            && path.starts_with(&self.path)
            && client.starts_with(&self.client);
        if !concerns {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        match &mut self.times {
            Some(0) => return None,
            Some(times) => *times -= 1,
            None => {}
        }
        Some(self.effect.clone())
    }
}

/// Header fields and a body in the management API's form.
fn on_demand(status: u16) -> (Vec<(String, String)>, String) {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    (headers, format!("{{\"code\":{status},\"message\":\"on demand\"}}"))
}
