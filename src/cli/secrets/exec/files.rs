//! Named files with their references resolved, and the arguments that name them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Contents, Order};
use crate::cli::secrets::{Failure, render::rendered, source::Source, text::read_text};

/// Any program's.
pub(super) struct Files<'o> {
    id: &'o str,
    order: &'o Order,
}

impl<'o> Files<'o> {
    pub(super) fn new(id: &'o str, order: &'o Order) -> Self {
        Self { id, order }
    }

    pub(super) fn contents(&self, source: &Source) -> Result<Contents, Failure> {
        let render = |(number, file): (usize, &PathBuf)| {
            Ok((copy_of(number, file), rendered(source, self.id, &read_text(file)?)?))
        };
        let files = self.order.files.iter().enumerate().map(render).collect::<Result<_, Failure>>()?;
        Ok(Contents { files, ..Contents::default() })
    }

    pub(super) fn arguments(&self, folder: &Path) -> Vec<OsString> {
        let replaced = |argument: &OsString| {
            let files = self.order.files.iter().enumerate();
            let names = |(number, file): (usize, &PathBuf)| {
                let before = before_path(argument, file)?;
                let mut with_copy = before.to_owned();
                with_copy.push(folder.join(copy_of(number, file)));
                Some(with_copy)
            };
            files.filter_map(names).next().unwrap_or_else(|| argument.clone())
        };
        self.order.command.iter().skip(1).map(replaced).collect()
    }
}

/// Its own name, which a program may go by, in a folder for each.
pub(super) fn copy_of(number: usize, file: &Path) -> PathBuf {
    Path::new(&number.to_string()).join(file.file_name().unwrap_or(OsStr::new("file")))
}

/// What of an argument stands before the path, where it names this file: nothing, or all to an equals sign.
pub(in crate::cli::secrets) fn before_path<'a>(argument: &'a OsStr, file: &Path) -> Option<&'a OsStr> {
    let before = argument.as_bytes().strip_suffix(file.as_os_str().as_bytes())?;
    (before.is_empty() || before.ends_with(b"=")).then(|| OsStr::from_bytes(before))
}
