//! What is wanted of the commands that are told a lot.

use std::{ffi::OsString, path::PathBuf};

use super::{Given, Usage, text};
use crate::{
    cli::secrets::{
        backend::Terms,
        commands::Sub,
        exec::{self, before_path},
        install::{Agent, Order},
        keyring::{self, RingName, Task},
        options::Key,
    },
    reference::find,
};

impl Given {
    pub(super) fn exec(&mut self, sub: &Sub) -> Result<exec::Order, Usage> {
        let order = exec::Order {
            files: std::iter::from_fn(|| self.value(Key::File)).map(PathBuf::from).collect(),
            environment: std::iter::from_fn(|| self.value(Key::Env))
                .map(variable)
                .collect::<Result<_, _>>()?,
            is_telegraf: self.value(Key::Telegraf).is_some(),
            delivered: self.path(Key::Delivered),
            command: std::mem::take(&mut self.operands),
        };
        let Some((_, arguments)) = order.command.split_first() else {
            return Err(Usage::of(sub, "COMMAND is missing"));
        };
        let is_named =
            |file: &&PathBuf| arguments.iter().any(|argument| before_path(argument, file).is_some());
        if let Some(file) = order.files.iter().find(|file| !is_named(file)) {
            return Err(Usage::of(sub, format!("no argument of COMMAND is {file:?}")));
        }
        if order.files.is_empty() && order.environment.is_empty() && !order.is_telegraf() {
            return Err(Usage::new(
                "nothing is given to COMMAND",
                "name a file that it reads with --file, or a variable with --env",
            ));
        }
        Ok(order)
    }

    pub(super) fn terms(&mut self) -> Result<Terms, Usage> {
        let usual = Terms::default();
        let parsed = |value: OsString| {
            value.to_str().and_then(size).ok_or_else(|| {
                let expected = "expected a number of bytes, or one with KiB or MiB, as in \"2MiB\"";
                Usage::new(format!("\"--max-output\" is {value:?}"), expected)
            })
        };
        Ok(Terms {
            patience: self.timeout()?.unwrap_or(usual.patience),
            max_output: self.value(Key::MaxOutput).map(parsed).transpose()?.unwrap_or(usual.max_output),
        })
    }

    pub(super) fn keyring(&mut self) -> Result<keyring::Order, Usage> {
        let ring = match self.value(Key::Ring) {
            None => RingName::default(),
            Some(name) => RingName::parse(&text(name, "--ring")?).map_err(|error| {
                Usage::new(error.to_string(), "name what Telegraf's store has for its keyring")
            })?,
        };
        let is_to = |given: &mut Self, key| given.value(key).is_some();
        let recheck = self.time(Key::Recheck, "recheck")?;
        let task = match (is_to(self, Key::Follow), is_to(self, Key::Clear), recheck) {
            (false, clear, None) => {
                if clear {
                    Task::Clear
                } else {
                    Task::Fill
                }
            }
            (true, true, _) => {
                return Err(Usage::new("--clear takes out what --follow puts in", "leave out one of them"));
            }
            (false, _, Some(_)) => {
                return Err(Usage::new(
                    "--recheck is said without --follow",
                    "add --follow, or leave it out",
                ));
            }
            (true, false, Some(time)) if time < Task::SHORTEST => {
                return Err(Usage::new(
                    format!("\"--recheck\" is {time:?}"),
                    format!("expected {:?} or more", Task::SHORTEST),
                ));
            }
            (true, false, recheck) => Task::Follow { recheck: recheck.unwrap_or(Task::RECHECK) },
        };
        Ok(keyring::Order { ring, task })
    }

    pub(super) fn order(&mut self, sub: &Sub) -> Result<Order, Usage> {
        let agent = self.value(Key::For).ok_or_else(|| Usage::of(sub, "\"--for\" is missing"))?;
        let agent = agent.to_str().and_then(Agent::called).ok_or_else(|| {
            Usage::new(format!("\"--for\" is {agent:?}"), "expected \"datadog\" or \"vector\"")
        })?;
        Ok(Order {
            user: self.value(Key::User).map(|user| text(user, "--user")).transpose()?,
            path: (!self.operands.is_empty()).then(|| self.operands.remove(0).into()),
            terms: self.terms()?,
            agent,
        })
    }
}

/// `NAME=TEXT`; the text has a reference, for a secret itself has no business in an argument.
fn variable(value: OsString) -> Result<(String, String), Usage> {
    let value = text(value, "--env")?;
    let refused = |what: String| Usage::new(what, "write --env NAME=@{influx:TOKEN}");
    let (name, text) = value
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        // Not what it is: it may be a secret.
        .ok_or_else(|| refused("\"--env\" wants NAME=REF".to_owned()))?;
    if find(text).next().is_none() {
        return Err(refused(format!("\"--env {name}=…\" has no reference")));
    }
    Ok((name.to_owned(), text.to_owned()))
}

/// `1048576`, `1024KiB`, `1MiB`; less than 4 GiB.
fn size(text: &str) -> Option<usize> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return None,
    };
    let bytes = number.parse::<u32>().ok()?.checked_mul(1 << shift)?;
    usize::try_from(bytes).ok()
}
