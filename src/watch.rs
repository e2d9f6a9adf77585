//! Watching the list: a change counts once the file was closed or renamed into place and has been left alone for a
//! moment, so that an editor is never overtaken.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A file unchanged for this long is complete.
const QUIET: Duration = Duration::from_millis(300);
/// Where the system gives no events, the file is looked at this often.
const POLL: Duration = Duration::from_secs(2);

/// Tells when a file may say something else.
#[derive(Debug)]
pub struct ListWatch {
    path: PathBuf,
    events: mpsc::Receiver<()>,
    /// Keeps the system's watches.
    watcher: Option<RecommendedWatcher>,
    seen: Option<Stamp>,
    /// Something has happened that [`Self::changed`] has not looked at to the end: it may be dropped at any await.
    pending: bool,
}

type Stamp = (u64, u64, u64, i64, i64);

impl ListWatch {
    /// Watches the folder of a file, and where links lead: editors replace files by renaming.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        // One waiting event says all: the file is looked at whatever it was.
        let (sender, events) = mpsc::channel(1);
        let targets = targets(path);
        // The folders themselves too: one that is removed takes its watch with it.
        let parents = targets.iter().filter_map(|path| path.parent().map(Path::to_owned));
        let concerned: Vec<PathBuf> = targets.iter().cloned().chain(parents).collect();
        let tell = move |event: notify::Result<Event>| {
            let concerns = event.is_ok_and(|event| {
                is_end_of_change(event.kind) && event.paths.iter().any(|path| concerned.contains(path))
            });
            if concerns {
                let _full = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(tell)
            .and_then(|mut watcher| {
                for target in &targets {
                    watcher.watch(target.parent().unwrap_or(Path::new("/")), RecursiveMode::NonRecursive)?;
                }
                Ok(watcher)
            })
            .inspect_err(|error| tracing::warn!("cannot watch {path:?}, looking every 2 s instead: {error}"))
            .ok();
        Self { path: path.to_owned(), events, watcher, seen: stamp(path), pending: false }
    }

    /// Returns when the file has changed and then been left alone for 300 ms. A call that is dropped loses nothing.
    pub async fn changed(&mut self) {
        loop {
            if self.pending {
                // Dropped before it was done.
            } else if self.watcher.is_some() && self.events.recv().await.is_some() {
                if !self.path.parent().is_some_and(Path::exists) {
                    self.watcher = None;
                }
            } else {
                sleep_until(Instant::now() + POLL).await;
            }
            self.pending = stamp(&self.path) != self.seen;
            if !self.pending {
                continue;
            }
            self.until_quiet().await;
            self.pending = false;
            // Links may lead elsewhere now.
            let now = stamp(&self.path);
            if now != self.seen && now.is_some() {
                *self = Self::new(&self.path);
                self.seen = now;
                return;
            }
        }
    }

    async fn until_quiet(&mut self) {
        let mut last = stamp(&self.path);
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            sleep_until(since + QUIET).await;
            let now = stamp(&self.path);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

fn is_end_of_change(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Other
    )
}

/// The file, and what it is a link to.
fn targets(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut targets = vec![absolute];
    targets.extend(fs::canonicalize(path).ok().filter(|target| *target != targets[0]));
    targets
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for the system's event to arrive, short of the quiet time.
    const SOON: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_call_that_is_dropped_loses_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("list");
        fs::write(&file, "a").expect("written");
        let mut watch = ListWatch::new(&file);
        assert!(tokio::time::timeout(SOON, watch.changed()).await.is_err(), "nothing has changed");
        fs::write(&file, "ab").expect("written");
        for _ in 0..3 {
            assert!(tokio::time::timeout(SOON, watch.changed()).await.is_err(), "not left alone for 300 ms");
        }
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("a change");
    }

    #[tokio::test]
    async fn a_folder_that_comes_back_is_watched_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("etc");
        let file = inside.join("list");
        fs::create_dir(&inside).expect("made");
        fs::write(&file, "a").expect("written");
        let mut watch = ListWatch::new(&file);
        fs::remove_dir_all(&inside).expect("removed");
        assert!(
            tokio::time::timeout(SOON * 5, watch.changed()).await.is_err(),
            "a list that is gone says nothing"
        );
        fs::create_dir(&inside).expect("made");
        fs::write(&file, "ab").expect("written");
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("a change");
    }
}
