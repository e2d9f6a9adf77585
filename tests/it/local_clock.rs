//! The clocks of a host, which libfaketime shows its programs in place of this machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use jiff::SignedDuration;

pub(crate) struct LocalClock {
    library: PathBuf,
    /// Read at each look at the clock.
    file: PathBuf,
    ahead: Mutex<SignedDuration>,
    /// Whether that moves by which a program tells how long something has taken, as well.
    takes_time: bool,
}

impl LocalClock {
    /// A wall clock that tells this machine's time so far, if there is a library to tell another. What has passed since
    /// boot its programs see as it is.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        Self::of(folder.join("clock"), false)
    }

    /// Clocks by which time passes for a program that runs.
    pub(crate) fn that_takes_time(folder: &Path) -> Option<Self> {
        Self::of(folder.join("clocks"), true)
    }

    fn of(file: PathBuf, takes_time: bool) -> Option<Self> {
        let clock = Self { library: library()?, file, ahead: Mutex::default(), takes_time };
        clock.shift(SignedDuration::ZERO);
        Some(clock)
    }

    /// Moves it, for programs that run as well.
    pub(crate) fn shift(&self, by: SignedDuration) {
        let mut ahead = self.ahead.lock().unwrap();
        *ahead += by;
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{:+.3}\n", ahead.as_secs_f64())).unwrap();
        // Nobody reads half of it.
        fs::rename(&new, &self.file).unwrap();
    }

    pub(crate) fn shown_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            // It goes before the file.
            .env_remove("FAKETIME");
        if self.takes_time {
            command.env_remove("FAKETIME_DONT_FAKE_MONOTONIC");
        } else {
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
    }
}

/// A program that was killed leaves what the library shares among a program and its children.
impl Drop for LocalClock {
    fn drop(&mut self) {
        for file in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let of = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|start| name.strip_prefix(start));
            if of.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another test may have been faster.
                let _gone = fs::remove_file(file.path());
            }
        }
    }
}

/// Where packages of distributions put it, its variant for programs with threads.
pub(crate) fn library() -> Option<PathBuf> {
    let by_architecture = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = by_architecture.chain(["/usr/lib", "/usr/lib64"].map(PathBuf::from));
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
}
