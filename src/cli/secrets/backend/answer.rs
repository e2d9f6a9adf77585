//! What an agent is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use crate::{
    cli::secrets::{Failure, store::Store},
    client::{Client, Error},
    hint::Hint as _,
    model::{InvalidName, Name, Secret},
    store::age::AgeReader,
};

/// Every handle that was asked for, once.
pub(super) type Answers<'h> = BTreeMap<&'h str, Answer>;

/// A secret, or why there is none.
#[derive(Debug)]
pub(super) struct Answer(Result<Secret, String>);

impl Serialize for Answer {
    /// Both fields always: Vector takes an `error` that is there and not null for one, whatever it says.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut answer = serializer.serialize_struct("Answer", 2)?;
        answer.serialize_field("value", &self.0.as_ref().ok().map(Secret::expose))?;
        answer.serialize_field("error", &self.0.as_ref().err())?;
        answer.end()
    }
}

/// With what has kept us from asking for any, if anything has.
pub(super) fn of_the_daemon<'h>(
    client: &Client,
    handles: &'h BTreeSet<String>,
    deadline: Instant,
) -> (Answers<'h>, Option<Failure>) {
    let mut session = client.session(deadline.saturating_duration_since(Instant::now()));
    let mut away: Option<Error> = None;
    let mut was_answered = false;
    let answers = handles
        .iter()
        .map(|handle| {
            let answer = named(handle).and_then(|name| {
                if let Some(error) = &away {
                    return Err(error.to_string());
                }
                let secret = session.secret(&name).map_err(|error| {
                    let why = error.to_string();
                    match error {
                        // Whoever does not answer once is not asked ten thousand times.
                        Error::Unreachable { .. } | Error::Nonsense { .. } => away = Some(error),
                        _ => was_answered = true,
                    }
                    why
                })?;
                was_answered = true;
                Ok(secret)
            });
            (handle.as_str(), Answer(answer))
        })
        .collect();
    (answers, away.filter(|_| !was_answered).map(Failure::from))
}

/// From so many records on they are opened by several threads: it is arithmetic.
const MANY: usize = 32;

/// The same of a store.
pub(super) fn of_a_store<'h>(
    store: &Store,
    handles: &'h BTreeSet<String>,
    deadline: Instant,
) -> (Answers<'h>, Option<Failure>) {
    let reader = match store.reader() {
        Ok(reader) => reader,
        Err(failure) => {
            let answer = |handle: &'h String| {
                let why = named(handle).err().unwrap_or_else(|| failure.to_string());
                (handle.as_str(), Answer(Err(why)))
            };
            return (handles.iter().map(answer).collect(), Some(failure));
        }
    };
    let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
    let opened = |handles: &[&'h str]| -> Answers<'h> {
        handles.iter().map(|handle| (*handle, Answer(in_store(reader, handle, deadline)))).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    if handles.len() < MANY || threads == 1 {
        return (opened(&handles), None);
    }
    let share = handles.len().div_ceil(threads);
    let answers = std::thread::scope(|scope| {
        let parts: Vec<_> = handles.chunks(share).map(|part| scope.spawn(move || opened(part))).collect();
        // A thread that panicked leaves its names out; both agents take that for an error.
        parts.into_iter().filter_map(|part| part.join().ok()).flatten().collect()
    });
    (answers, None)
}

fn in_store(reader: &AgeReader, handle: &str, deadline: Instant) -> Result<Secret, String> {
    let name = named(handle)?;
    if Instant::now() >= deadline {
        return Err("the time for the answer was over".to_owned());
    }
    let stored = reader.read(&name).map_err(|error| error.to_string())?;
    let stored = stored.ok_or_else(|| Failure::Unknown { name: name.clone(), near: None }.to_string())?;
    let current = stored.record.current.clone().ok_or_else(|| Failure::NotReady(name).to_string())?;
    Ok(current.secret.secret().clone())
}

/// The token that a handle names.
fn named(handle: &str) -> Result<Name, String> {
    handle.parse().map_err(|error: InvalidName| match error.hint() {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wiped_json;

    #[test]
    fn a_value_has_a_null_error_and_an_error_a_null_value() {
        let answers = Answers::from([
            ("a\"b", Answer(Err("why \"not\"".to_owned()))),
            ("t0", Answer(Ok(Secret::new("canary é\n\"".to_owned())))),
        ]);
        assert!(!format!("{answers:?}").contains("canary"));
        let json = wiped_json(&answers);
        assert_eq!(
            std::str::from_utf8(&json).expect("JSON"),
            r#"{"a\"b":{"value":null,"error":"why \"not\""},"t0":{"value":"canary é\n\"","error":null}}"#
        );
    }

    #[test]
    fn a_handle_that_is_no_name_says_which_would_do() {
        assert!(named("edge_writer").is_ok());
        let why = named("edge-writer").expect_err("a dash");
        assert!(why.contains("only letters") && why.contains("call it \"edge_writer\""), "{why}");
        assert!(named("").expect_err("empty").contains("may not be empty"));
    }
}
