//! `influx-secrets wait`: until tokens are ready.

use std::time::{Duration, Instant};

use super::{
    Failure,
    follow::{Follower, Pause, Told, missing},
};
use crate::{
    client::{Client, Error},
    hint::Hint as _,
    model::Name,
};

/// The longest pause before the daemon is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The first question is asked however short the time is.
const FIRST_QUESTION: Duration = Duration::from_secs(1);

pub(super) fn run(client: &Client, names: &[String], timeout: Duration) -> Result<(), Failure> {
    let names = names.iter().map(|name| name.parse()).collect::<Result<Vec<Name>, _>>()?;
    let start = Instant::now();
    let mut follower = Follower::new(client);
    let mut told = Told::new("waiting");
    let mut pause = Pause::up_to(LONGEST_PAUSE);
    let mut reached = false;
    let mut reason: Option<Reason> = None;
    loop {
        let asked = Instant::now();
        let left = timeout.saturating_sub(start.elapsed());
        let outcome = follower.ask(if reason.is_none() { left.max(FIRST_QUESTION) } else { left });
        reached |= !matches!(outcome, Err(Error::Unreachable { .. }));
        let now = match &outcome {
            Ok(_) => match missing(&follower.generations, &names) {
                None => return Ok(()),
                Some(missing) => {
                    // A list may yet come that has them, and it is no change of those that this user may read now.
                    if missing.is_unknown {
                        follower.forget();
                    }
                    Reason { what: missing.what, fix: fix_for(missing.is_unknown) }
                }
            },
            Err(error) => Reason { what: error.to_string(), fix: error.hint() },
        };
        let left = timeout.saturating_sub(start.elapsed());
        // An answer that our own time cut off says nothing new.
        let is_cut = left.is_zero() && matches!(outcome, Err(Error::Unreachable { .. }));
        let reason = match (is_cut, &mut reason) {
            (true, Some(before)) => before,
            (_, reason) => reason.insert(now),
        };
        if left.is_zero() {
            let Reason { what, fix } = reason.clone();
            return Err(Failure::InVain { after: timeout, what, fix, reached });
        }
        told.tell(&reason.what);
        let is_news = matches!(outcome, Ok(true)) && follower.waits();
        pause.after_answer(is_news, asked.elapsed(), left);
    }
}

/// Why it waits.
#[derive(Clone)]
struct Reason {
    what: String,
    fix: Option<String>,
}

fn fix_for(is_unknown: bool) -> Option<String> {
    Some(if is_unknown {
        "see that the list names the token, and this user or unit in its `allow`".to_owned()
    } else {
        "`influx-tokend status` shows what it waits for".to_owned()
    })
}
