//! `influx-secrets exec`: a program with secrets in its files or, where that is asked for, in its environment.
//!
//! Files are copies in a folder in memory that ends with the program; its arguments name the copies. Nothing is there before
//! all secrets have been read, nothing stays whatever ends the program or us, but for SIGKILL: what that leaves the next run
//! removes. On SIGHUP the copies are made anew before the program gets it, so that its reload finds new secrets.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::process::WaitStatus;
use zeroize::Zeroizing;

use super::{Ended, Failure, arguments::From, resolve::resolved, source::Source};
use crate::cli::ui;

mod child;
mod files;
mod folder;
mod telegraf;

pub use child::end_as;
pub(super) use files::before_path;
pub use telegraf::Unfit;

use child::{Launch, NotRun, Signals};
use folder::Folder;

/// What is to be run, and what it is to be given.
#[derive(Debug)]
pub(super) struct Order {
    /// Files that it reads: arguments of its name them.
    pub(super) files: Vec<PathBuf>,
    /// Names of variables, and texts with references.
    pub(super) environment: Vec<(String, String)>,
    /// It takes Telegraf's arguments, whatever it is called.
    pub(super) is_telegraf: bool,
    /// Where the daemon delivers files.
    pub(super) delivered: Option<PathBuf>,
    pub(super) command: Vec<OsString>,
}

impl Order {
    fn program(&self) -> &Path {
        self.command.first().map(Path::new).unwrap_or(Path::new(""))
    }

    pub(super) fn is_telegraf(&self) -> bool {
        self.is_telegraf || self.program().file_name().is_some_and(|name| name == "telegraf")
    }
}

/// What is in the private folder, by its path there. Made again for each SIGHUP.
#[derive(Default)]
struct Contents {
    files: Vec<(PathBuf, Zeroizing<String>)>,
    folders: BTreeSet<PathBuf>,
}

/// Whose secrets and configuration a program is given.
enum Given<'o> {
    Files(files::Files<'o>),
    Telegraf(telegraf::Telegraf<'o>),
}

impl Given<'_> {
    fn contents(&self, source: &Source) -> Result<Contents, Failure> {
        match self {
            Self::Files(files) => files.contents(source),
            Self::Telegraf(telegraf) => telegraf.contents(source),
        }
    }

    /// Its arguments, with copies in this folder.
    fn arguments(&self, folder: &Path) -> Vec<OsString> {
        match self {
            Self::Files(files) => files.arguments(folder),
            Self::Telegraf(telegraf) => telegraf.arguments(folder),
        }
    }
}

pub(super) fn run(from: From, id: &str, order: &Order) -> Result<Ended, Failure> {
    let given = if order.is_telegraf() {
        Given::Telegraf(telegraf::Telegraf::new(&from, id, order)?)
    } else {
        Given::Files(files::Files::new(id, order))
    };
    let source = Source::new(from, true);
    // While reading takes its time there is nothing to remove: a signal may end us.
    let contents = given.contents(&source)?;
    let mut environment = Vec::with_capacity(order.environment.len());
    for (name, text) in &order.environment {
        environment.push((name.as_str(), resolved(&source, id, text)?));
    }
    source.forget();
    let signals = Signals::hold().map_err(Failure::Signals)?;
    let folder = Folder::new()?;
    let mut names = put(&folder, contents, &BTreeSet::new())?;
    let launch = Launch { program: order.program(), arguments: given.arguments(folder.path()), environment };
    let ended = child::run(launch, &signals, || {
        match given.contents(&source).and_then(|contents| put(&folder, contents, &names)) {
            Ok(now) => names = now,
            Err(failure) => ui::warning("influx-secrets", &failure),
        }
        source.forget();
    });
    drop(folder);
    ended.map(ended_as).map_err(|error| match error {
        NotRun::NotStarted(source) => Failure::NotStarted { program: order.program().to_owned(), source },
        NotRun::Lost(source) => Failure::Lost { program: order.program().to_owned(), source },
    })
}

/// Writes what is to be there and removes what is not to be there any more; the names of the files.
fn put(
    folder: &Folder,
    contents: Contents,
    before: &BTreeSet<PathBuf>,
) -> Result<BTreeSet<PathBuf>, Failure> {
    for name in &contents.folders {
        folder.make_folder(name).map_err(|source| Failure::File {
            what: "cannot make",
            path: folder.path().join(name),
            source,
        })?;
    }
    for (name, text) in &contents.files {
        folder.put(name, text.as_bytes())?;
    }
    let now = contents.files.into_iter().map(|(name, _)| name).collect();
    before.difference(&now).for_each(|name| folder.remove(name));
    Ok(now)
}

fn ended_as(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}
