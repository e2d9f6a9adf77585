//! Which generation of each name has been delivered, for whoever follows it without reading secrets, and for us after
//! a restart (rule 16).

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::OpenError;
use crate::model::Name;

/// The largest file: far more names than a list can have.
const MAX_BYTES: u64 = 8 << 20;

/// The file `generations`: a line `NAME GENERATION` for each name.
#[derive(Debug)]
pub(super) struct Generations {
    path: PathBuf,
    delivered: BTreeMap<Name, u64>,
    written: bool,
}

impl Generations {
    /// Reads what a former process delivered; makes the folder (0755).
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |what, source| OpenError { path: folder.to_owned(), what, source };
        match DirBuilder::new().recursive(true).mode(0o755).create(folder) {
            Ok(()) => {}
            Err(error) => return Err(failed("cannot make the folder", error)),
        }
        let path = folder.join("generations");
        let delivered = match fs::File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(MAX_BYTES)
                    .read_to_string(&mut text)
                    .map_err(|error| failed("cannot read generations in", error))?;
                parse(&text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed("cannot read generations in", error)),
        };
        Ok(Self { path, delivered, written: true })
    }

    pub(super) fn of(&self, name: &Name) -> Option<u64> {
        self.delivered.get(name).copied()
    }

    /// Notes what has been delivered; `None`: nothing of this name any more.
    pub(super) fn note(&mut self, name: &Name, generation: Option<u64>) {
        let changed = match generation {
            Some(generation) => self.delivered.insert(name.clone(), generation) != Some(generation),
            None => self.delivered.remove(name).is_some(),
        };
        self.written &= !changed;
    }

    /// Writes what has been noted, if it is not written yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.written {
            return Ok(());
        }
        let mut text = String::new();
        for (name, generation) in &self.delivered {
            text += &format!("{name} {generation}\n");
        }
        let temporary = self.path.with_file_name(".generations.new");
        let _stale = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, &self.path)?;
        self.written = true;
        Ok(())
    }
}

fn parse(text: &str) -> BTreeMap<Name, u64> {
    let mut delivered = BTreeMap::new();
    for line in text.lines() {
        let parsed =
            line.split_once(' ').and_then(|(name, n)| Some((name.parse::<Name>().ok()?, n.parse().ok()?)));
        match parsed {
            Some((name, generation)) => _ = delivered.insert(name, generation),
            None => tracing::warn!("generations has a line that is none: it is passed over"),
        }
    }
    delivered
}
