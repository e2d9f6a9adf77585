//! Telegraf, which reads secrets itself and follows their changes: it is given a copy of its configuration in which
//! `@<influx:NAME>` stands as `@{influx:NAME}`, and a secret store beside it that fits its version. No secret is in either.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use zeroize::Zeroizing;

mod arguments;
mod folders;
mod unfit;

pub use unfit::Unfit;

use arguments::{Argument, arguments};
use folders::walk;

use super::{Contents, Order, files::copy_of};
use crate::{
    cli::{
        secrets::{
            Failure,
            arguments::From,
            brief,
            source::{Source, socket},
            text::read_text,
        },
        ui,
    },
    reference::{Spelling, find, line_of},
    telegraf::{Store, Version, defines},
};

/// `telegraf --version` has this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Our store, among the copies.
const STORE: &str = "influx-tokend/store.conf";

/// Telegraf's.
pub(super) struct Telegraf<'o> {
    id: &'o str,
    arguments: Vec<Argument<'o>>,
    /// The store to write, unless the configuration has one.
    table: String,
}

impl<'o> Telegraf<'o> {
    pub(super) fn new(from: &From, id: &'o str, order: &'o Order) -> Result<Self, Failure> {
        let From::Daemon(named) = from else { return Err(Unfit::FromStore.into()) };
        let arguments = arguments(order.command.get(1..).unwrap_or_default());
        let mut paths = arguments.iter().filter_map(|argument| match argument {
            Argument::Configuration { path, .. } => Some(*path),
            Argument::Plain(_) => None,
        });
        if let Some(both) = paths.clone().find(|path| order.files.iter().any(|file| file == path)) {
            return Err(Unfit::IsConfiguration(both.to_owned()).into());
        }
        if paths.next().is_none() {
            return Err(Unfit::NoConfiguration.into());
        }
        let version = version(order.program())?;
        let store = version.store().ok_or(Unfit::TooOld(version))?;
        let socket = absolute(socket(named.clone()));
        let files = order.delivered.clone().unwrap_or_else(|| socket.with_file_name("secrets"));
        let files = absolute(files);
        if matches!(store, Store::Files { .. }) && !files.is_dir() {
            return Err(Unfit::NoFiles { version, folder: files }.into());
        }
        tell_of_reloads(version, store);
        Ok(Self { id, arguments, table: store.table(id, &socket, &files).map_err(Unfit::from)? })
    }

    pub(super) fn contents(&self, _source: &Source) -> Result<Contents, Failure> {
        let mut contents = Contents::default();
        let mut has_store = false;
        for (number, argument) in self.arguments.iter().enumerate() {
            let Argument::Configuration { path, is_folder, .. } = argument else { continue };
            let mut found = vec![];
            if *is_folder {
                let root = PathBuf::from(number.to_string());
                walk(path, &root, 0, &mut contents.folders, &mut found)?;
            } else {
                found.push((path.to_path_buf(), copy_of(number, path)));
            }
            for (file, copy) in found {
                let text = self.rewritten(&file)?;
                has_store |= defines(&text, self.id);
                contents.files.push((copy, text));
            }
        }
        // One that is empty adds nothing, and can be named all the same.
        let table = if has_store { "" } else { &self.table };
        contents.files.push((STORE.into(), Zeroizing::new(table.to_owned())));
        Ok(contents)
    }

    /// A file's text in Telegraf's spelling.
    fn rewritten(&self, file: &Path) -> Result<Zeroizing<String>, Failure> {
        // Other secrets than ours may be in it.
        let text = Zeroizing::new(read_text(file)?);
        let mut out = Zeroizing::new(String::with_capacity(text.len()));
        let mut done = 0;
        for reference in find(&text).filter(|reference| reference.store == self.id) {
            let start = reference.span.start;
            match reference.spelling {
                Spelling::Telegraf => {}
                Spelling::Angle => {
                    out.push_str(&text[done..start]);
                    // As long as it was: nothing grows.
                    out.push_str(&format!("@{{{}:{}}}", reference.store, reference.key));
                    done = reference.span.end;
                }
                Spelling::Literal if is_comment(&text, start) => {}
                Spelling::Literal => {
                    let (line, reference) = (line_of(&text, start), reference.to_string());
                    return Err(Unfit::Literal { file: file.to_owned(), line, reference }.into());
                }
            }
        }
        out.push_str(&text[done..]);
        Ok(out)
    }

    /// The first configuration has the store behind it.
    pub(super) fn arguments(&self, folder: &Path) -> Vec<OsString> {
        let mut out: Vec<OsString> = vec![];
        let mut is_first = true;
        for (number, argument) in self.arguments.iter().enumerate() {
            let (option, path, is_folder) = match argument {
                Argument::Plain(plain) => {
                    out.push((*plain).to_owned());
                    continue;
                }
                Argument::Configuration { option, path, is_folder } => (*option, *path, *is_folder),
            };
            let copy = if is_folder { number.to_string().into() } else { copy_of(number, path) };
            let copy = folder.join(copy).into_os_string();
            if option.as_bytes().ends_with(b"=") {
                let mut argument = option.to_owned();
                argument.push(copy);
                out.push(argument);
            } else {
                out.extend([option.to_owned(), copy]);
            }
            if std::mem::take(&mut is_first) {
                out.extend(["--config".into(), folder.join(STORE).into_os_string()]);
            }
        }
        out
    }
}

fn version(program: &Path) -> Result<Version, Failure> {
    let mut command = Command::new(program);
    let no_version = |why: String| Unfit::NoVersion { program: program.to_owned(), why };
    let (status, said) = match brief::run(command.arg("--version"), PATIENCE) {
        Ok(ran) => ran,
        Err(error) if error.raw_os_error().is_some() => {
            return Err(Failure::NotStarted { program: program.to_owned(), source: error });
        }
        Err(error) => return Err(no_version(error.to_string()).into()),
    };
    let version = Version::parse(&said).filter(|_| status.success());
    Ok(version.ok_or_else(|| no_version(format!("{status}, and it says {:?}", shown(&said))))?)
}

/// The beginning of the first line.
fn shown(said: &str) -> String {
    said.lines().next().unwrap_or_default().chars().take(80).collect()
}

/// What a person who reloads it must know.
fn tell_of_reloads(version: Version, store: Store) {
    let note = |line: String| ui::note("influx-secrets", &format!("warning: {line}"));
    if !store.is_dynamic() {
        note(format!(
            "telegraf {version} takes a new token at a reload only: send this process SIGHUP while the old one works"
        ));
    } else if !version.reloads() {
        note(format!(
            "telegraf {version} ends on a reload (SIGHUP) while it uses tokens: restart it instead"
        ));
    }
}

/// Whether the line is a comment up to this place.
fn is_comment(text: &str, at: usize) -> bool {
    text[..at].rsplit('\n').next().unwrap_or_default().trim_start().starts_with('#')
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests;
