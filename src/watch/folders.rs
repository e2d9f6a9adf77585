//! The system's watches on every folder that a path leads through.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use tokio::sync::Notify;

use super::settling::Touch;

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What the system's thread tells the task. However much happens, this does not grow.
#[derive(Debug, Default)]
pub(super) struct Told {
    wake: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The file, by each path that events may call it.
    targets: Vec<PathBuf>,
    /// The last that was seen of it: what came before does not matter any more.
    touch: Option<Touch>,
}

impl Told {
    /// Waits until there is something to look at.
    pub(super) async fn something(&self) {
        self.wake.notified().await;
    }

    /// What has happened to the file, if that was told.
    pub(super) fn take(&self) -> Option<Touch> {
        self.inner().touch.take()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<Event>) {
        if let Ok(event) = event {
            let touch = match event.kind {
                // Reading, ours too.
                EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write) => return,
                EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                    Some(Touch::Complete)
                }
                EventKind::Modify(ModifyKind::Data(_)) => Some(Touch::Written),
                // Events were lost: the last of them may have been the one that counts.
                _ if event.need_rescan() => Some(Touch::Complete),
                // Created, removed, linked, another mode: to be seen by looking.
                _ => None,
            };
            let mut inner = self.inner();
            if event.need_rescan() || event.paths.iter().any(|path| inner.targets.contains(path)) {
                inner.touch = touch.or(inner.touch);
            }
        }
        // A link on the way to the file may have another name than the file.
        self.wake.notify_one();
    }
}

/// Keeps a watch on each folder between a path and its file.
#[derive(Debug)]
pub(super) struct Folders {
    told: Arc<Told>,
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched, by device and inode: a new folder of the same name needs a new watch.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    complained: bool,
}

impl Folders {
    pub(super) fn new(told: Arc<Told>) -> Self {
        let hear = {
            let told = Arc::clone(&told);
            move |event| told.hear(event)
        };
        let mut folders = Self { told, watcher: None, armed: BTreeMap::new(), complained: false };
        match notify::recommended_watcher(hear) {
            Ok(watcher) => folders.watcher = Some(watcher),
            Err(error) => folders.complain(&error),
        }
        folders
    }

    /// Watches nothing, as where the system has no watches left.
    #[cfg(test)]
    pub(super) fn blind() -> Self {
        Self { told: Arc::default(), watcher: None, armed: BTreeMap::new(), complained: true }
    }

    /// Puts the watches where the path leads now. False where one is missing: then the file must be looked at often.
    pub(super) fn arm(&mut self, path: &Path) -> bool {
        let targets = targets(path);
        let wanted: BTreeMap<PathBuf, Option<(u64, u64)>> = targets
            .iter()
            .filter_map(|target| target.parent())
            .map(|folder| (folder.to_owned(), identity(folder)))
            .collect();
        self.told.inner().targets = targets;
        let Some(watcher) = &mut self.watcher else { return false };
        self.armed.retain(|folder, identity| {
            let stays = wanted.get(folder) == Some(&Some(*identity));
            if !stays {
                // The watch of a folder that is gone is gone as well.
                let _gone = watcher.unwatch(folder);
            }
            stays
        });
        let mut failed = None;
        for (folder, identity) in &wanted {
            match identity {
                Some(_) if self.armed.contains_key(folder) => {}
                Some(identity) => match watcher.watch(folder, RecursiveMode::NonRecursive) {
                    Ok(()) => _ = self.armed.insert(folder.clone(), *identity),
                    Err(error) => failed = Some(error),
                },
                None => {}
            }
        }
        if let Some(error) = failed {
            self.complain(&error);
        }
        self.armed.len() == wanted.len()
    }

    fn complain(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!("cannot watch the list, looking at it every 2 s instead: {error}");
        }
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The path, each link it leads through, and the file at the end.
fn targets(path: &Path) -> Vec<PathBuf> {
    let mut targets = vec![std::path::absolute(path).unwrap_or_else(|_| path.to_owned())];
    while targets.len() <= MAX_LINKS
        && let Some(last) = targets.last()
        && let Ok(link) = fs::read_link(last)
    {
        let next = last.parent().unwrap_or(Path::new("/")).join(link);
        targets.push(next);
    }
    targets.extend(fs::canonicalize(path));
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_on_the_way_is_a_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("a path");
        fs::create_dir(root.join("data")).expect("made");
        symlink("second", root.join("list")).expect("a link");
        symlink(root.join("data/file"), root.join("second")).expect("a link");
        fs::write(root.join("data/file"), "").expect("written");
        assert_eq!(
            targets(&root.join("list")),
            [root.join("list"), root.join("second"), root.join("data/file")]
        );
        symlink("round", root.join("round")).expect("a link");
        assert!(targets(&root.join("round")).len() <= MAX_LINKS + 1);
    }
}
