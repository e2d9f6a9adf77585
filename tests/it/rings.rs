//! A user of a test's own: rings are a user's, and whatever runs beside the test has to have others.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use influx_tokend::keys::{self, Described, Key, Kind};
use rustix::{
    io::Errno,
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    host::copy_program,
    peers::missing,
    scripted::{Reader, Scripted},
};

/// What Telegraf looks for.
pub(crate) const RING: &str = "telegraf";
/// Where it is kept what is influx-secrets' own.
pub(crate) const OWN: &str = "influx-secrets:telegraf";
/// All to the one who has made it and to its user, nothing to others.
const PERMISSIONS: u32 = 0x3f3f_0000;

/// A user that nobody else is, with its rings, which end with the test.
pub(crate) struct Owner {
    pub(crate) uid: u32,
}

impl Owner {
    /// `None`, and said, where there can be none.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            missing("the right to be another user");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 64, "more users than a process has numbers for");
        let owner = Self { uid: (1 << 30) | ((std::process::id() & 0x3f_ffff) << 6) | number };
        // Without a session of its own a thread possesses the rings of its user. That is so for what it starts, too.
        match keys::begin_session() {
            Ok(()) => Some(owner),
            Err(Errno::PERM | Errno::NOSYS | Errno::ACCESS) => {
                missing("the right to use the kernel's keys");
                None
            }
            Err(errno) => panic!("{errno}"),
        }
    }

    /// On a thread that is this user's, and possesses nothing, as Telegraf does not.
    pub(crate) fn does<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        let thread = || {
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            what()
        };
        let joined = std::thread::scope(|scope| scope.spawn(thread).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The same, and possesses its rings, as influx-secrets does.
    pub(crate) fn does_as_owner<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        self.does(|| {
            // Where its quota is full it does without.
            let _possessed = keys::link(Key::OF_USER, Key::OF_THREAD);
            what()
        })
    }

    /// This user's command, in a folder that it can enter, beside a program that it can run.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.uid(self.uid).gid(self.uid);
        command
    }

    /// A ring of this name.
    pub(crate) fn ring(&self, name: &str) -> Option<Key> {
        self.does(|| keys::search(Key::OF_USER, Kind::Ring, name).unwrap())
    }

    /// The key that Telegraf finds under a name.
    pub(crate) fn key(&self, name: &str) -> Option<Key> {
        self.key_in(RING, name)
    }

    pub(crate) fn key_in(&self, ring: &str, name: &str) -> Option<Key> {
        let ring = self.ring(ring)?;
        self.does(|| keys::search(ring, Kind::Value, name).unwrap())
    }

    /// The value that Telegraf reads under a name.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let key = self.key(name)?;
        self.does(|| {
            let mut value = vec![0; keys::MAX_VALUE];
            let length = keys::read(key, &mut value).unwrap();
            Some(String::from_utf8(value[..length].to_vec()).unwrap())
        })
    }

    pub(crate) fn describe(&self, key: Key) -> Described {
        self.does(|| keys::describe(key).unwrap())
    }

    /// The names in a ring, sorted.
    pub(crate) fn names_in(&self, ring: &str) -> Vec<String> {
        let Some(ring) = self.ring(ring) else { return vec![] };
        let keys = self.does(|| keys::members(ring).unwrap());
        let mut names: Vec<String> = keys.into_iter().map(|key| self.describe(key).description).collect();
        names.sort();
        names
    }

    /// That Telegraf reads these, and that they and no others are influx-secrets' own.
    pub(crate) fn assert_has(&self, wanted: &[(&str, &str)]) {
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        assert_eq!(self.names_in(RING), names);
        assert_eq!(self.names_in(OWN), names);
        for (name, value) in wanted {
            assert_eq!(self.value(name).as_deref(), Some(*value), "{name}");
            let key = self.key(name).unwrap();
            assert_eq!(self.key_in(OWN, name), Some(key), "{name}");
            let known = self.describe(key);
            assert_eq!((known.uid, known.permissions), (self.uid, PERMISSIONS), "{name}");
        }
        assert_eq!(self.describe(self.ring(RING).unwrap()).permissions, PERMISSIONS);
    }

    /// So many bytes its quota has left.
    pub(crate) fn bytes_left(&self) -> u64 {
        let users = fs::read_to_string("/proc/key-users").unwrap();
        let line =
            users.lines().find(|line| line.trim_start().starts_with(&format!("{}:", self.uid))).unwrap();
        let (used, most) = line.rsplit(' ').next().unwrap().split_once('/').unwrap();
        most.parse::<u64>().unwrap().saturating_sub(used.parse().unwrap())
    }

    /// Puts a key there as `telegraf secrets set` does.
    pub(crate) fn puts(&self, name: &str, value: &str) -> Key {
        let ring = self.ring(RING).unwrap();
        self.does_as_owner(|| {
            let key = keys::add(Kind::Value, name, value.as_bytes(), Key::OF_THREAD).unwrap();
            keys::set_permissions(key, PERMISSIONS).unwrap();
            keys::link(key, ring).unwrap();
            key
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.does_as_owner(|| {
            for name in [RING, OWN] {
                if let Ok(Some(ring)) = keys::search(Key::OF_USER, Kind::Ring, name) {
                    let _gone = keys::unlink(ring, Key::OF_USER);
                }
            }
        });
    }
}

/// `influx-secrets keyring` as such a user, against a server that answers what a test says.
pub(crate) struct Relayed {
    pub(crate) owner: Owner,
    pub(crate) reader: Reader,
}

impl Relayed {
    pub(crate) fn new() -> Option<Self> {
        let (owner, reader) = (Owner::new()?, Reader::new());
        open_to_all(reader.folder.path());
        let program = reader.folder.path().join("influx-secrets");
        copy_program(env!("CARGO_BIN_EXE_influx-secrets"), &program);
        Some(Self { owner, reader })
    }

    pub(crate) fn serve(&self) -> Scripted {
        let server = self.reader.serve();
        fs::set_permissions(self.reader.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        server
    }

    /// `keyring` with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.owner.command(&self.reader.folder.path().join("influx-secrets"));
        command.arg("keyring").args(arguments).arg("--socket").arg(self.reader.socket());
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }
}

/// Whether a user may have as many keys, and as large ones, as the kernel lets it by itself.
pub(crate) fn has_usual_quota() -> bool {
    let is = |name: &str, usual: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/keys/{name}")).unwrap().trim() == usual
    };
    let has = is("maxkeys", "200") && is("maxbytes", "20000");
    if !has {
        missing("the kernel's usual quota of keys");
    }
    has
}

/// Everybody may enter.
pub(crate) fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
