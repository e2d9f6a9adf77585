//! `influx-secrets backend`: the answer to an agent that runs a program for its secrets.
//!
//! Vector's `exec` and Datadog's `secret_backend_command` speak the same JSON but for two things: to Vector any `error`
//! that is not null is one, an empty one too, and it never looks at the exit code; Datadog takes nothing of an answer with
//! another exit code than 0, and shows stderr instead. So `error` is null where there is a value, a name that gives none
//! has its reason in the JSON with exit code 0, and where nothing could be asked for both are told.
//!
//! Both read all of the output as one text and take every error for the failure of the whole: there is nothing to gain
//! from an answer that comes late. So it comes in time, or says that it did not.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Failure, arguments::From, source::client, store::Store};
use crate::{cli::ui, model::wiped_json};

mod answer;
mod request;

pub use request::BadRequest;

/// What an agent gets when nobody says otherwise. Vector waits for five seconds, which begin before we do and end after; a
/// daemon that is started again by systemd is back in two.
const PATIENCE: Duration = Duration::from_secs(3);
/// What Datadog's agent takes of an output (`secret_backend_output_max_size`).
const MAX_OUTPUT: usize = 1 << 20;

/// How long it may take, and how much it may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) patience: Duration,
    /// In bytes.
    pub(super) max_output: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self { patience: PATIENCE, max_output: MAX_OUTPUT }
    }
}

/// Where nothing could be asked for that is told on stderr as well as in the answer.
pub(super) fn run(from: From, terms: Terms) -> Result<(), Failure> {
    let deadline = Instant::now() + terms.patience;
    let handles = request::read(rustix::stdio::stdin(), terms.patience)?;
    let (answers, failure) = ask(from, &handles, deadline);
    let json = wiped_json(&answers);
    drop(answers);
    if json.len() > terms.max_output {
        return Err(Failure::TooMuch { bytes: json.len(), limit: terms.max_output });
    }
    ui::print_bytes(&json)?;
    failure.map_or(Ok(()), Err)
}

fn ask(from: From, handles: &BTreeSet<String>, deadline: Instant) -> (answer::Answers<'_>, Option<Failure>) {
    match from {
        From::Daemon(socket) => answer::of_the_daemon(&client(socket).relaying(), handles, deadline),
        From::Store { path, identity, unwrap } => {
            answer::of_a_store(&Store::unattended(path, identity, unwrap), handles, deadline)
        }
    }
}
