//! Which generation of each name has been delivered, for whoever follows it without reading secrets, and for us after
//! a restart (rule 16).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use tokio::sync::Notify;

use super::{
    OpenError, bounded,
    staged::{make_folder, place_for_all, remove_leftovers},
};
use crate::model::Name;

/// The file, in the daemon's folder.
pub(super) const FILE: &str = "generations";
/// The largest file: far more names than a list can have.
pub(super) const MAX_BYTES: u64 = 8 << 20;

/// While many deliveries follow each other, no more than about this part of the time goes into writing the file again:
/// it grows with the number of names, and so would the time for each of them.
const SHARE: u32 = 10;
/// But nobody waits longer than this for it.
const LONGEST: Duration = Duration::from_millis(500);

/// The file `generations`: a line `NAME GENERATION` for each name, sorted.
#[derive(Debug)]
pub(super) struct Generations {
    folder: PathBuf,
    delivered: BTreeMap<Name, u64>,
    written: bool,
    /// Told whenever the file says something else.
    news: Arc<Notify>,
    /// When it may be written again.
    due: Instant,
}

impl Generations {
    /// Reads what a former process delivered; makes the folder, and those above it (0755).
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let failed = |what| move |source| OpenError { path: folder.to_owned(), what, source };
        make_folders(folder).map_err(failed("cannot make the folder"))?;
        remove_leftovers(folder).map_err(failed("cannot remove leftovers in"))?;
        let bytes = bounded::read(&folder.join(FILE), MAX_BYTES);
        let bytes = bytes.map_err(failed("cannot read the generations in"))?;
        let (delivered, faults) = parse(&bytes.unwrap_or_default());
        for line in faults {
            tracing::warn!("{:?}: line {line}: expected NAME GENERATION; passed over", folder.join(FILE));
        }
        let (news, due) = (Arc::default(), Instant::now());
        Ok(Self { folder: folder.to_owned(), delivered, written: true, news, due })
    }

    pub(super) fn news(&self) -> &Arc<Notify> {
        &self.news
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn delivered(&self) -> &BTreeMap<Name, u64> {
        &self.delivered
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

    /// Whether the file says what has been noted.
    pub(super) fn are_written(&self) -> bool {
        self.written
    }

    /// When it is to be written; `None` where there is nothing to write.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.written).then_some(self.due)
    }

    /// Writes what has been noted, if it is not written yet.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.written {
            return Ok(());
        }
        let begun = Instant::now();
        let written = self.write_all();
        self.due = Instant::now() + (begun.elapsed() * SHARE).min(LONGEST);
        written
    }

    fn write_all(&mut self) -> io::Result<()> {
        make_folders(&self.folder)?;
        // No secret: every hook may follow it.
        place_for_all(&self.folder, FILE, render(&self.delivered).as_bytes())?;
        self.written = true;
        self.news.notify_one();
        Ok(())
    }

    /// Has those who follow the file look again, although it says the same.
    pub(super) fn touch(&mut self) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match utimensat(CWD, self.folder.join(FILE), &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(()),
            // Taken away by somebody.
            Err(rustix::io::Errno::NOENT) => {
                self.written = false;
                self.write()
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folders(parent)?;
    }
    make_folder(folder)
}

pub(super) fn render(delivered: &BTreeMap<Name, u64>) -> String {
    let mut text = String::new();
    for (name, generation) in delivered {
        writeln!(text, "{name} {generation}").expect("a string takes all");
    }
    text
}

/// What can be read, and the numbers of the lines that cannot. Of a name that is there twice the newer generation
/// counts: it is the one that holds an older secret back.
pub(super) fn parse(bytes: &[u8]) -> (BTreeMap<Name, u64>, Vec<usize>) {
    let (mut delivered, mut faults) = (BTreeMap::new(), Vec::new());
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        match parse_line(line) {
            Some((name, generation)) => {
                let known = delivered.entry(name).or_insert(generation);
                *known = generation.max(*known);
            }
            None if line.is_empty() => {}
            None => faults.push(index + 1),
        }
    }
    (delivered, faults)
}

fn parse_line(line: &[u8]) -> Option<(Name, u64)> {
    let (name, generation) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_number = generation.bytes().all(|b| b.is_ascii_digit());
    Some((name.parse().ok()?, is_number.then(|| generation.parse().ok())??))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            entries in prop::collection::btree_map("[A-Za-z0-9_]{1,128}", any::<u64>(), 0..20),
        ) {
            let delivered: BTreeMap<Name, u64> = entries.iter().map(|(text, n)| (name(text), *n)).collect();
            prop_assert_eq!(parse(render(&delivered).as_bytes()), (delivered, vec![]));
        }

        #[test]
        fn garbage_costs_only_its_own_line(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let garbage: Vec<u8> = garbage.into_iter().filter(|b| *b != b'\n').collect();
            let bytes = [b"first 1\n", &garbage[..], b"\nlast 2\n"].concat();
            let (delivered, faults) = parse(&bytes);
            prop_assert!(delivered.contains_key("first") && delivered.contains_key("last"));
            prop_assert!(faults.is_empty() || faults == [2]);
        }
    }

    #[test]
    fn lines_that_are_none_are_told_by_number() {
        let (delivered, faults) =
            parse(b"a 7\na 3\nb\nc -1\nd +1\ne-f 1\ng 1 2\nh 99999999999999999999\n\xff 1\ni  1\n\nz 2");
        assert_eq!(delivered, BTreeMap::from([(name("a"), 7), (name("z"), 2)]));
        assert_eq!(faults, [3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn it_is_written_on_change_only_and_read_again() {
        let run = tempfile::tempdir().expect("a folder");
        let folder = run.path().join("daemon");
        let mut generations = Generations::open(&folder).expect("opened");
        assert_eq!(fs::metadata(&folder).expect("made").mode() & 0o7777, 0o755);
        generations.write().expect("nothing to write");
        assert!(!folder.join(FILE).exists(), "nothing has been delivered");

        generations.note(&name("b"), Some(2));
        generations.note(&name("a"), Some(1));
        generations.write().expect("written");
        let path = folder.join(FILE);
        assert_eq!(fs::read_to_string(&path).expect("the file"), "a 1\nb 2\n");
        let before = fs::metadata(&path).expect("the file");
        assert_eq!(before.mode() & 0o7777, 0o644);

        generations.note(&name("a"), Some(1));
        generations.write().expect("the same");
        assert_eq!(fs::metadata(&path).expect("the file").ino(), before.ino());

        generations.note(&name("b"), None);
        generations.write().expect("written");
        let again = Generations::open(&folder).expect("opened again");
        assert_eq!(again.delivered(), &BTreeMap::from([(name("a"), 1)]));
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_is_no_file_of_ours_is_not_read() {
        let run = tempfile::tempdir().expect("a folder");
        let path = run.path().join(FILE);
        let open = || Generations::open(run.path()).map(|_| ());
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
        open().expect_err("a link");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a folder");
        open().expect_err("a folder");
        fs::remove_dir(&path).expect("removed");
        let file = fs::File::create(&path).expect("a file");
        file.set_len(MAX_BYTES + 1).expect("no room taken");
        let error = open().expect_err("too large");
        assert!(error.source.to_string().contains("larger than"), "{}", error.source);
        file.set_len(0).expect("cut");
        open().expect("empty");
    }
}
