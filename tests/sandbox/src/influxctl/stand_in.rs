//! What a test sets up, and asks afterwards.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    Call, Defect, program,
    settings::{Rule, Written, read_calls},
};

/// A folder with an executable `influxctl`.
#[derive(Debug)]
pub struct StandIn {
    folder: PathBuf,
    written: Mutex<Written>,
}

impl StandIn {
    /// The stand-in's own program, where tests are built or built now; none where there is no cargo either.
    #[must_use]
    pub fn program() -> Option<&'static Path> {
        program::find()
    }

    /// Makes the folder, and in it a program of this version (`2.12.0`).
    ///
    /// # Errors
    /// There is no [`StandIn::program`]; or the folder cannot be written.
    pub fn new(folder: impl Into<PathBuf>, version: &str) -> io::Result<Self> {
        let folder = folder.into();
        let program = Self::program()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no influxctl is built"))?;
        fs::create_dir_all(&folder)?;
        symlink(program, folder.join("influxctl"))?;
        let written = Written {
            version: version.to_owned(),
            argv_log: folder.join("argv.log"),
            children: folder.join("children"),
            console: None,
            defects: vec![],
        };
        written.write(&folder)?;
        Ok(Self { folder, written: Mutex::new(written) })
    }

    /// What to call.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("influxctl")
    }

    /// Another version from now on.
    pub fn set_version(&self, version: &str) {
        self.change(|written| version.clone_into(&mut written.version));
    }

    /// Where profiles of Cloud Dedicated find the console: HOST:PORT. Without it, at their own host and port.
    pub fn set_console(&self, address: &str) {
        self.change(|written| written.console = Some(address.to_owned()));
    }

    /// Every call of a verb (`token create`; `*` for any) has this defect from now on.
    pub fn defect(&self, verb: &str, defect: Defect) {
        self.add(verb, defect, 0, None);
    }

    /// So many calls of a verb have this defect, after so many that do not.
    pub fn defect_times(&self, verb: &str, defect: Defect, after: usize, times: usize) {
        self.add(verb, defect, after, Some(times));
    }

    fn add(&self, verb: &str, defect: Defect, after: usize, times: Option<usize>) {
        let mut rule = Rule { verb: verb.to_owned(), defect, skip: after, times };
        rule.skip += self.calls().iter().filter(|call| rule.concerns(&call.verb)).count();
        self.change(|written| written.defects.push(rule));
    }

    /// Behaves from now on.
    pub fn clear_defects(&self) {
        self.change(|written| written.defects.clear());
    }

    /// Every call so far, in order.
    ///
    /// # Panics
    /// The log cannot be read.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let log = self.locked(|written| written.argv_log.clone());
        read_calls(&log).expect("the log of calls can be read")
    }

    /// The processes that [`Defect::ChildKeepsPipe`] left behind.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let file = self.locked(|written| written.children.clone());
        fs::read_to_string(file).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Written) -> T) -> T {
        look(&mut self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        self.locked(|written| {
            change(written);
            written.write(&self.folder).expect("the stand-in's folder can be written");
        });
    }
}
