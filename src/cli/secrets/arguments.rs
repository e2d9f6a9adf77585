//! From arguments to what is wanted.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{Arg, Parser};

use super::{
    backend::Terms,
    commands::{COMMANDS, Sub, Verb},
    exec,
    install::Order,
    keyring,
    options::{Key, Opt, help, options_of, usage},
};
use crate::{
    cli::Format,
    duration::{self, NotDuration},
    hint::Hint,
    nearest::nearest,
};

mod orders;

/// How long `wait` waits when nobody says: what systemd gives a unit to start, less some.
const WAIT: Duration = Duration::from_secs(80);

/// What is wanted.
pub(super) enum Asked {
    /// Help, or the version.
    Text(String),
    Run(Invocation),
}

pub(super) struct Invocation {
    pub(super) from: From,
    pub(super) id: String,
    pub(super) command: Command,
}

/// Where secrets come from.
pub(super) enum From {
    /// The daemon; at its usual socket where none is named.
    Daemon(Option<PathBuf>),
    Store {
        path: Option<PathBuf>,
        identity: Option<PathBuf>,
        unwrap: Option<PathBuf>,
    },
}

pub(super) enum Command {
    Get { name: String },
    List { format: Format },
    Resolve { text: Option<String> },
    Check { files: Vec<PathBuf> },
    Render { file: PathBuf, out: Option<PathBuf> },
    Wait { names: Vec<String>, timeout: Duration },
    Watch { name: String, command: Vec<OsString> },
    Backend(Terms),
    InstallExec(Order),
    Exec(exec::Order),
    Keyring(keyring::Order),
}

/// A command line that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Usage {
    what: String,
    fix: Option<String>,
}

impl Hint for Usage {
    fn hint(&self) -> Option<String> {
        self.fix.clone()
    }
}

impl Usage {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: Some(fix.into()) }
    }

    /// Of a command, with how it is written.
    fn of(sub: &Sub, what: impl Into<String>) -> Self {
        Self::new(what, format!("usage: {}", usage(sub)))
    }
}

pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Usage> {
    let mut parser = Parser::from_args(arguments);
    let mut sub = None;
    let mut given = Given::default();
    while let Some(argument) = parser.next().map_err(unexpected_value)? {
        let option = match argument {
            Arg::Value(value) => {
                match sub {
                    None => sub = Some(command(&value)?),
                    Some(_) => given.operands.push(value),
                }
                continue;
            }
            Arg::Long(long) => options_of(sub)
                .find(|option| option.long == long)
                .ok_or_else(|| unknown_option(&format!("--{long}"), sub))?,
            Arg::Short(short) => options_of(sub)
                .find(|option| option.short == Some(short))
                .ok_or_else(|| unknown_option(&format!("-{short}"), sub))?,
        };
        match option.key {
            Key::Help => return Ok(Asked::Text(help(sub))),
            Key::Version => {
                return Ok(Asked::Text(
                    concat!("influx-secrets ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
                ));
            }
            _ => given.take(option, &mut parser)?,
        }
    }
    let sub = sub.ok_or_else(|| {
        Usage::new(
            "a command is missing",
            "`influx-secrets --help` shows the commands, `get NAME` for instance",
        )
    })?;
    given.invocation(sub).map(Asked::Run)
}

fn command(text: &OsString) -> Result<&'static Sub, Usage> {
    COMMANDS.iter().find(|sub| *text == *sub.name).ok_or_else(|| {
        let fix = match nearest(&text.to_string_lossy(), COMMANDS.iter().map(|sub| sub.name)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "`influx-secrets --help` shows the commands".to_owned(),
        };
        Usage::new(format!("unknown command {text:?}"), fix)
    })
}

fn unknown_option(text: &str, sub: Option<&Sub>) -> Usage {
    if let Some(sub) = sub.filter(|_| ["--store", "--identity", "--unwrap"].contains(&text)) {
        return no_store(sub);
    }
    let known: Vec<String> = options_of(sub).map(|option| format!("--{}", option.long)).collect();
    let elsewhere =
        COMMANDS.iter().find(|sub| sub.options.iter().any(|option| format!("--{}", option.long) == text));
    let fix = match (elsewhere, nearest(text, known.iter().map(String::as_str)), sub) {
        (Some(sub), _, None) => {
            format!("it goes after the command: `influx-secrets {} {text} …`", sub.name)
        }
        (_, Some(near), _) => format!("did you mean {near:?}?"),
        (_, None, None) => "`influx-secrets --help` shows the options".to_owned(),
        (_, None, Some(Sub { verb: Verb::Watch | Verb::Exec, .. })) => {
            "write `--` before the command that is to be run".to_owned()
        }
        (_, None, Some(sub)) => format!("`influx-secrets {} --help` shows the options", sub.name),
    };
    Usage::new(format!("unknown option {text:?}"), fix)
}

fn no_store(sub: &Sub) -> Usage {
    let what = format!("`influx-secrets {}` asks the daemon: no store can be named", sub.name);
    Usage::new(what, "leave out --store, --identity and --unwrap")
}

fn unexpected_value(error: lexopt::Error) -> Usage {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => {
            Usage { what: format!("option {option:?} takes no value"), fix: None }
        }
        other => Usage { what: other.to_string(), fix: None },
    }
}

/// What stands on the command line.
#[derive(Default)]
struct Given {
    options: Vec<(Key, OsString)>,
    operands: Vec<OsString>,
}

impl Given {
    fn take(&mut self, option: &Opt, parser: &mut Parser) -> Result<(), Usage> {
        let long = option.long;
        let Some(wanted) = option.value else {
            self.options.push((option.key, OsString::new()));
            return Ok(());
        };
        let value = match parser.optional_value() {
            Some(value) => value,
            None => match parser.value() {
                Ok(value) if !looks_like_an_option(&value) => value,
                Ok(value) => {
                    let fix = format!("write --{long}={} if that is meant", value.display());
                    return Err(Usage::new(
                        format!("option \"--{long}\" wants {wanted}, found {value:?}"),
                        fix,
                    ));
                }
                Err(_) => {
                    return Err(Usage {
                        what: format!("option \"--{long}\" wants {wanted} after it"),
                        fix: None,
                    });
                }
            },
        };
        if option.key == Key::Check {
            // As many as there are: `resolve --check a.conf b.conf`.
            self.options.push((Key::Check, value));
            self.options.extend(parser.values().into_iter().flatten().map(|value| (Key::Check, value)));
            return Ok(());
        }
        let is_one = !matches!(option.key, Key::File | Key::Env);
        if is_one && self.options.iter().any(|(key, _)| *key == option.key) {
            return Err(Usage::new(format!("option \"--{long}\" stands there twice"), "keep one of them"));
        }
        self.options.push((option.key, value));
        Ok(())
    }

    fn value(&mut self, wanted: Key) -> Option<OsString> {
        let at = self.options.iter().position(|(key, _)| *key == wanted)?;
        Some(self.options.remove(at).1)
    }

    fn path(&mut self, wanted: Key) -> Option<PathBuf> {
        self.value(wanted).map(PathBuf::from)
    }

    fn invocation(mut self, sub: &Sub) -> Result<Invocation, Usage> {
        let from = self.from(sub)?;
        let id = self.value(Key::Id).map_or(Ok("influx".to_owned()), |id| text(id, "--id"))?;
        let command = self.command(sub)?;
        Ok(Invocation { from, id, command })
    }

    fn from(&mut self, sub: &Sub) -> Result<From, Usage> {
        let socket = self.path(Key::Socket);
        let (path, identity, unwrap) =
            (self.path(Key::Store), self.path(Key::Identity), self.path(Key::Unwrap));
        let is_store = path.is_some() || identity.is_some() || unwrap.is_some();
        if is_store && !sub.reads_a_store {
            return Err(no_store(sub));
        }
        match (socket, is_store) {
            (Some(_), true) => Err(Usage::new(
                "--socket asks the daemon; --store, --identity and --unwrap read a store without it",
                "leave out the one or the others",
            )),
            (socket, false) => Ok(From::Daemon(socket)),
            (None, true) => Ok(From::Store { path, identity, unwrap }),
        }
    }

    fn command(&mut self, sub: &Sub) -> Result<Command, Usage> {
        let command = match sub.verb {
            Verb::Get => Command::Get { name: text(self.operand(sub)?, "NAME")? },
            Verb::List => Command::List { format: self.format()? },
            Verb::Resolve => {
                let files: Vec<PathBuf> =
                    std::iter::from_fn(|| self.value(Key::Check)).map(PathBuf::from).collect();
                if files.is_empty() {
                    let given = (!self.operands.is_empty()).then(|| self.operands.remove(0));
                    Command::Resolve { text: given.map(|given| text(given, "TEXT")).transpose()? }
                } else {
                    Command::Check { files }
                }
            }
            Verb::Render => Command::Render { file: self.operand(sub)?.into(), out: self.path(Key::Out) },
            Verb::Wait => Command::Wait {
                timeout: self.timeout()?.unwrap_or(WAIT),
                names: self.operands.drain(..).map(|name| text(name, "NAME")).collect::<Result<_, _>>()?,
            },
            Verb::Watch => Command::Watch {
                name: text(self.operand(sub)?, "NAME")?,
                command: std::mem::take(&mut self.operands),
            },
            Verb::Backend => Command::Backend(self.terms()?),
            Verb::InstallExec => Command::InstallExec(self.order(sub)?),
            Verb::Exec => Command::Exec(self.exec(sub)?),
            Verb::Keyring => Command::Keyring(self.keyring()?),
        };
        if matches!(&command, Command::Watch { command, .. } if command.is_empty()) {
            return Err(Usage::of(sub, "COMMAND is missing"));
        }
        match self.operands.first() {
            Some(other) => Err(Usage::of(sub, format!("unexpected {other:?}"))),
            None => Ok(command),
        }
    }

    /// The first of what is given beside options.
    fn operand(&mut self, sub: &Sub) -> Result<OsString, Usage> {
        if self.operands.is_empty() {
            let name = sub.operands.split(' ').next().unwrap_or_default();
            return Err(Usage::of(sub, format!("{name} is missing")));
        }
        Ok(self.operands.remove(0))
    }

    fn format(&mut self) -> Result<Format, Usage> {
        match self.value(Key::Output) {
            None => Ok(Format::Text),
            Some(value) if value == "text" => Ok(Format::Text),
            Some(value) if value == "json" => Ok(Format::Json),
            Some(value) => {
                Err(Usage::new(format!("\"--output\" is {value:?}"), "expected \"text\" or \"json\""))
            }
        }
    }

    fn timeout(&mut self) -> Result<Option<Duration>, Usage> {
        self.time(Key::Timeout, "timeout")
    }

    fn time(&mut self, key: Key, long: &str) -> Result<Option<Duration>, Usage> {
        let parsed = |value: OsString| {
            let text = value.to_string_lossy();
            duration::parse(&text).map_err(|error| {
                let fix = match (error, duration::guess(&text)) {
                    (NotDuration::TooLong, _) => {
                        format!("expected at most {}", duration::render(duration::LONGEST))
                    }
                    (NotDuration::Malformed, Some(guess)) => format!("write --{long} {guess}"),
                    (NotDuration::Malformed, None) => format!("expected {}", duration::EXPECTED),
                };
                Usage::new(format!("\"--{long}\" is {value:?}"), fix)
            })
        };
        self.value(key).map(parsed).transpose()
    }
}

fn looks_like_an_option(value: &OsString) -> bool {
    let bytes = value.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}

fn text(value: OsString, what: &str) -> Result<String, Usage> {
    value.into_string().map_err(|_| Usage { what: format!("{what} is not UTF-8"), fix: None })
}

#[cfg(test)]
mod tests;
