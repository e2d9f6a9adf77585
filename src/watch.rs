//! Watching the list: a change counts once the file was closed or renamed into place and has been left alone for a
//! moment, so that an editor is never overtaken.

mod folders;
mod settling;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use folders::{Folders, Told};
use settling::{Settling, Touch};

/// Where the system gives no events, the file is looked at this often.
const POLL: Duration = Duration::from_secs(2);
/// Where it does: for what it does not see, as a change made by another host on a network file system. No more often than
/// servers are asked, so that a daemon with nothing to do sleeps.
const SELDOM: Duration = Duration::from_secs(15 * 60);

/// Tells when a file says something else.
#[derive(Debug)]
pub struct ListWatch {
    changes: watch::Receiver<()>,
    task: JoinHandle<()>,
}

impl ListWatch {
    /// Watches a file from now on, through links, whether it exists or not, in a task of its own.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let told = Arc::new(Told::default());
        Self::over(path, Folders::new(Arc::clone(&told)), told)
    }

    fn over(path: &Path, mut folders: Folders, told: Arc<Told>) -> Self {
        let (sender, changes) = watch::channel(());
        let all_watched = folders.arm(path);
        let follower = Follower { path: path.to_owned(), seen: stamp(path), folders, all_watched, told };
        Self { changes, task: tokio::spawn(follower.follow(sender)) }
    }

    /// Returns when the file has changed, was closed, and has then been left alone for 300 ms. A file that is gone
    /// says nothing. A call that is dropped loses nothing.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The task ends only with this watch, or with the runtime.
            std::future::pending().await
        }
    }
}

impl Drop for ListWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells one writing of a file from another, and one file from another; `None` where there is none.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    let (modified, changed) =
        ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Some((metadata.dev(), metadata.ino(), metadata.len(), modified.0, modified.1, changed.0, changed.1))
}

struct Follower {
    path: PathBuf,
    /// As of the last time that a change was told.
    seen: Stamp,
    folders: Folders,
    all_watched: bool,
    told: Arc<Told>,
}

impl Follower {
    async fn follow(mut self, changes: watch::Sender<()>) {
        let mut settling = Settling::default();
        let mut last = self.seen;
        loop {
            let due = settling.due();
            tokio::select! {
                () = self.told.something() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = sleep(if self.all_watched { SELDOM } else { POLL }) => {}
            }
            // Watched before it is looked at, so that nothing happens in between unseen.
            self.all_watched = self.folders.arm(&self.path);
            let touch = self.told.take();
            let is = stamp(&self.path);
            if let Some(touch) = touch.or((is != last).then_some(Touch::Complete)) {
                settling.note(touch, is, Instant::now());
            }
            last = is;
            if settling.settle(is, Instant::now()) && is.is_some() && is != self.seen {
                self.seen = is;
                changes.send_replace(());
            }
        }
    }
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
        let begun = Instant::now();
        fs::write(&file, "ab").expect("written");
        let mut dropped = 0;
        while tokio::time::timeout(SOON / 10, watch.changed()).await.is_err() {
            dropped += 1;
            assert!(dropped < 2_000, "the change is lost");
        }
        assert!(dropped > 1 && begun.elapsed() >= settling::QUIET, "{dropped}, {:?}", begun.elapsed());
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

    /// Waits for the change that a test has made.
    async fn expect_change(watch: &mut ListWatch, what: &str) {
        let limit = Duration::from_secs(20);
        assert!(tokio::time::timeout(limit, watch.changed()).await.is_ok(), "{what} was not seen");
    }

    async fn expect_none(watch: &mut ListWatch, what: &str) {
        assert!(tokio::time::timeout(SOON * 5, watch.changed()).await.is_err(), "{what} is no change");
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, other) = (folder.path().join("list"), folder.path().join("other"));
        let mut watch = ListWatch::new(&file);
        fs::write(&file, "a").expect("written");
        expect_change(&mut watch, "a new file").await;
        fs::write(&file, "b").expect("written");
        expect_change(&mut watch, "a file written in place").await;
        fs::write(&other, "c").expect("written");
        fs::rename(&other, &file).expect("renamed");
        expect_change(&mut watch, "a file renamed into place").await;
        fs::rename(&file, folder.path().join("list~")).expect("renamed");
        fs::write(&file, "d").expect("written");
        expect_change(&mut watch, "a backup and a new file").await;
        fs::write(&other, "e").expect("written");
        fs::read(&file).expect("read");
        expect_none(&mut watch, "another file, or reading").await;
    }

    #[tokio::test]
    async fn a_file_that_is_still_open_is_left_alone() {
        use std::io::Write as _;

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("list");
        let mut watch = ListWatch::new(&file);
        let mut writer = fs::File::create(&file).expect("made");
        writer.write_all(b"[[token]]\n").expect("written");
        expect_none(&mut watch, "half a file").await;
        writer.write_all(b"name = \"a\"\n").expect("written");
        drop(writer);
        expect_change(&mut watch, "the whole file").await;
    }

    #[tokio::test]
    async fn a_change_behind_links_is_seen() {
        use std::os::unix::fs::symlink;

        // As Kubernetes mounts a ConfigMap: list → ..data/list, ..data → one folder after the other.
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("list"), version).expect("written");
        }
        symlink("one", at("..data")).expect("a link");
        symlink("..data/list", at("list")).expect("a link");
        let mut watch = ListWatch::new(&at("list"));
        fs::write(at("one/list"), "changed").expect("written");
        expect_change(&mut watch, "the file that is linked to").await;
        symlink("two", at("..new")).expect("a link");
        fs::rename(at("..new"), at("..data")).expect("renamed");
        expect_change(&mut watch, "a link on the way").await;
        fs::write(at("two/list"), "changed").expect("written");
        expect_change(&mut watch, "the file that is linked to now").await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_the_file_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("list");
        let mut watch = ListWatch::over(&file, Folders::blind(), Arc::default());
        for text in ["a", "ab"] {
            let begun = Instant::now();
            fs::write(&file, text).expect("written");
            watch.changed().await;
            assert!(begun.elapsed() <= POLL + settling::QUIET * 2, "{:?}", begun.elapsed());
        }
    }
}
