//! The list as it is saved while the daemon runs (rule 17): the last whole one takes effect, soon; any other leaves the
//! one in force, and that is said.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Daemon, Host, copy_program, wait_until};

/// From the last change of a list to the moment when it is in force: a second, and another for machines that are busy.
/// Where the system tells of no changes the file is looked at every two seconds, which is later than this.
const SOON: Duration = Duration::from_secs(2);
/// Two changes less than this apart are one: well below the time for which a list must have been left alone.
const AT_ONCE: Duration = Duration::from_millis(150);

const ACCEPTED: &str = "list accepted";
const REFUSED: &str = "the list is not taken over, the last accepted one stays in force";

/// A daemon with a list, and what it tells systemd.
struct Running {
    host: Host,
    daemon: Daemon,
    told: Arc<Mutex<String>>,
}

impl Running {
    /// With one token, delivered.
    fn new() -> Self {
        let host = Host::new();
        host.write("tokens.toml", &text(&host, &["t0"]));
        Self::over(host)
    }

    fn over(host: Host) -> Self {
        let (command, socket) = host.supervised();
        let told = Arc::new(Mutex::new(String::new()));
        let heard = told.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if let Some(status) = message.lines().find_map(|line| line.strip_prefix("STATUS=")) {
                    status.clone_into(&mut heard.lock().unwrap());
                }
            }
        });
        let running = Self { daemon: Daemon::start(command), host, told };
        running.daemon.wait_for("ready");
        running.wait_for_token("t0");
        running
    }

    fn save(&self, names: &[&str]) {
        self.host.write("tokens.toml", &text(&self.host, names));
    }

    /// Puts a file with this text in the place of the list.
    fn replace(&self, text: &str) {
        self.host.write(".tokens.toml.new", text);
        fs::rename(self.host.path(".tokens.toml.new"), self.host.path("tokens.toml")).unwrap();
    }

    fn count(&self, what: &str) -> usize {
        self.daemon.log().matches(what).count()
    }

    /// Makes the last of some changes and waits until as many lists as this are in force, or refused.
    fn takes_effect(&self, what: &str, times: usize, last_change: impl FnOnce()) {
        let wanted = self.count(what) + times;
        last_change();
        let changed = Instant::now();
        wait_until(what, || self.count(what) >= wanted, || self.daemon.log());
        assert!(changed.elapsed() < SOON, "{what} after {:?}\n{}", changed.elapsed(), self.daemon.log());
    }

    fn accepts(&self, last_change: impl FnOnce()) {
        self.takes_effect(ACCEPTED, 1, last_change);
    }

    fn refuses(&self, last_change: impl FnOnce()) {
        self.takes_effect(REFUSED, 1, last_change);
    }

    fn wait_for_token(&self, name: &str) {
        wait_until(name, || self.host.delivered(name).is_some(), || self.daemon.log());
    }

    /// What `status` has of the list.
    fn fault(&self) -> Option<String> {
        let ran = self.host.tokend(&["status", "--output", "json"]);
        let status: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        status["list"]["fault"].as_str().map(str::to_owned)
    }

    /// That people and systemd are told of a fault, or of none.
    fn assert_told(&self, fault: Option<&str>) {
        const TO_SYSTEMD: &str = "the list has faults, the last accepted one is in force";
        let is_so = |told: Option<String>| match (&told, fault) {
            (Some(told), Some(part)) => told.contains(part),
            (told, part) => told.is_none() && part.is_none(),
        };
        wait_until("`status`", || is_so(self.fault()), || format!("{:?}", self.fault()));
        let told = || self.told.lock().unwrap().clone();
        wait_until("STATUS", || told().contains(TO_SYSTEMD) == fault.is_some(), told);
    }

    /// The names that were ever asked for.
    fn assert_only(self, names: &[&str]) {
        for name in names {
            self.wait_for_token(name);
        }
        assert_eq!(self.host.sandbox.tokens().len(), names.len(), "{}", self.daemon.log());
        let (code, log) = self.daemon.stop();
        assert_eq!(code, Some(0), "{log}");
    }
}

fn text(host: &Host, names: &[&str]) -> String {
    let token = |name: &&str| format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\n");
    host.list_text(&host.sandbox.url(), &names.iter().map(token).collect::<String>())
}

/// A list that was cut where what is there is a list as well, with the names that it asks for.
fn halves(host: &Host, names: &[&str]) -> (String, String) {
    let whole = text(host, names);
    let at = whole.rfind("[[token]]").unwrap();
    (whole[..at].to_owned(), whole[at..].to_owned())
}

#[test]
fn every_way_to_save_a_list_takes_effect_soon() {
    let running = Running::new();
    let host = &running.host;
    running.accepts(|| running.save(&["t0", "in_place"]));
    running.accepts(|| running.replace(&text(host, &["t0", "in_place", "renamed"])));
    // As configuration management and Kubernetes do: the list is a link to a link to a version.
    fs::create_dir(host.path("one")).unwrap();
    fs::create_dir(host.path("two")).unwrap();
    host.write("one/tokens.toml", &text(host, &["t0", "in_place", "renamed", "linked"]));
    host.write("two/tokens.toml", &text(host, &["t0", "in_place", "renamed", "linked", "swapped"]));
    symlink("one", host.path("current")).unwrap();
    symlink("current/tokens.toml", host.path("link")).unwrap();
    running.accepts(|| fs::rename(host.path("link"), host.path("tokens.toml")).unwrap());
    symlink("two", host.path("next")).unwrap();
    running.accepts(|| fs::rename(host.path("next"), host.path("current")).unwrap());
    running.assert_only(&["t0", "in_place", "renamed", "linked", "swapped"]);
}

/// A file that is being written is left alone, however long that takes. That the half is a list that would be taken, and
/// that enough time has passed for it, is shown by another daemon, where it is all there is.
#[test]
fn half_a_list_never_takes_effect() {
    let (running, other) = (Running::new(), Running::new());
    let (half, rest) = halves(&running.host, &["t0", "t1", "t2"]);
    let (other_half, _) = halves(&other.host, &["t0", "t1", "t2"]);
    let mut file = File::create(running.host.path("tokens.toml")).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    file.sync_all().unwrap();
    other.accepts(|| other.host.write("tokens.toml", &other_half));
    other.wait_for_token("t1");
    assert_eq!((running.count(ACCEPTED), running.count(REFUSED)), (0, 0), "{}", running.daemon.log());
    running.accepts(|| {
        file.write_all(rest.as_bytes()).unwrap();
        drop(file);
    });
    assert_eq!((running.count(ACCEPTED), running.count(REFUSED)), (1, 0), "{}", running.daemon.log());
    running.assert_only(&["t0", "t1", "t2"]);
}

/// Two changes at once have the effect of the second alone, on however slow a machine: where they were not made at once,
/// they are made again, to another daemon.
fn of_two_at_once_only_the_last(first: impl Fn(&Running), second: impl Fn(&Running)) {
    for _ in 0..10 {
        let running = Running::new();
        let mut apart = Duration::MAX;
        running.accepts(|| {
            let begun = Instant::now();
            first(&running);
            second(&running);
            apart = begun.elapsed();
        });
        if apart <= AT_ONCE {
            running.wait_for_token("last");
            assert_eq!((running.count(ACCEPTED), running.count(REFUSED)), (1, 0), "{}", running.daemon.log());
            running.assert_told(None);
            return running.assert_only(&["t0", "last"]);
        }
    }
    panic!("no two changes were made within {AT_ONCE:?}");
}

#[test]
fn of_two_lists_at_once_the_last_takes_effect() {
    let last = |running: &Running| running.save(&["t0", "last"]);
    of_two_at_once_only_the_last(|running| running.save(&["t0", "first"]), last);
    of_two_at_once_only_the_last(|running| running.replace(&text(&running.host, &["t0", "first"])), last);
    let nonsense = |running: &Running| running.host.write("tokens.toml", "[[token]]\nname = \"last");
    of_two_at_once_only_the_last(nonsense, last);
    let away = |running: &Running| fs::remove_file(running.host.path("tokens.toml")).unwrap();
    of_two_at_once_only_the_last(away, last);
    // An editor that makes the file empty, closes it, and then writes.
    of_two_at_once_only_the_last(|running| running.host.write("tokens.toml", ""), last);
}

#[test]
fn a_list_with_faults_is_told_until_it_has_none_after_a_restart_too() {
    let running = Running::new();
    running.assert_told(None);
    let fault = text(&running.host, &["t-1"]);
    running.refuses(|| running.replace(&fault));
    running.assert_told(Some("call it \"t_1\""));
    // Cut short, and emptied: each is told in its turn.
    let cut = &text(&running.host, &["t0"])[..40];
    running.refuses(|| running.host.write("tokens.toml", cut));
    running.refuses(|| running.host.write("tokens.toml", &fault));
    assert_eq!(running.count(ACCEPTED), 0, "{}", running.daemon.log());
    let Running { host, daemon, .. } = running;
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(host.path("run/secrets/t0")).unwrap();

    let running = Running::over(host);
    running.daemon.wait_for("the last accepted list is in force");
    running.assert_told(Some("call it \"t_1\""));
    running.host.assert_settled("t0");
    running.accepts(|| running.save(&["t0", "t1"]));
    running.assert_told(None);
    running.assert_only(&["t0", "t1"]);
}

#[test]
fn the_list_in_force_put_back_ends_the_complaint() {
    let running = Running::new();
    running.refuses(|| running.replace(&(text(&running.host, &["t0"]) + "nonsense")));
    running.assert_told(Some("tokens.toml"));
    running.save(&["t0"]);
    running.assert_told(None);
    assert_eq!(running.count(ACCEPTED), 0, "it never was another: {}", running.daemon.log());
    running.assert_only(&["t0"]);
}

#[test]
fn a_list_that_is_gone_says_nothing_until_it_is_back() {
    let running = Running::new();
    fs::remove_file(running.host.path("tokens.toml")).unwrap();
    // Somebody asks for it to be read: there is nothing to read.
    running.refuses(|| running.daemon.signal(Signal::HUP));
    running.host.assert_settled("t0");
    running.accepts(|| running.save(&["t0", "back"]));
    running.assert_told(None);
    running.assert_only(&["t0", "back"]);
}

#[test]
fn a_folder_that_is_replaced_brings_its_list() {
    let host = Host::new();
    fs::create_dir(host.path("etc")).unwrap();
    host.write("etc/tokens.toml", &text(&host, &["t0"]));
    symlink("etc/tokens.toml", host.path("tokens.toml")).unwrap();
    let running = Running::over(host);
    let host = &running.host;
    for names in [&["t0", "second"][..], &["t0", "second", "third"]] {
        fs::create_dir(host.path("etc.new")).unwrap();
        host.write("etc.new/tokens.toml", &text(host, names));
        running.accepts(|| {
            fs::rename(host.path("etc"), host.path("etc.old")).unwrap();
            fs::rename(host.path("etc.new"), host.path("etc")).unwrap();
        });
        fs::remove_dir_all(host.path("etc.old")).unwrap();
    }
    // In the folder that is there now.
    running.accepts(|| host.write("etc/tokens.toml", &text(host, &["t0", "second", "third", "fourth"])));
    running.assert_only(&["t0", "second", "third", "fourth"]);
}

/// Saved as something else than text, or cut within a letter.
#[test]
fn a_list_that_is_no_text_leaves_the_accepted_one_in_force_at_a_start() {
    let running = Running::new();
    let saved = text(&running.host, &["t0", "t1"]).into_bytes();
    let no_text = [&saved[..], b"[[token]]\nname = \"t2\"\ndescription = \"Z\xc3"].concat();
    running.refuses(|| fs::write(running.host.path("tokens.toml"), &no_text).unwrap());
    let Running { host, daemon, .. } = running;
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    let running = Running::over(host);
    running.assert_told(Some("is not UTF-8"));
    running.assert_only(&["t0"]);
}

/// Nobody has to save a list again because the store could not have it.
#[test]
fn a_list_that_cannot_be_sealed_is_taken_over_once_it_can() {
    let running = Running::new();
    let host = &running.host;
    let sealed = host.path("store/list");
    fs::rename(&sealed, host.path("kept")).unwrap();
    fs::create_dir_all(sealed.join("in the way")).unwrap();
    running.refuses(|| running.save(&["t0", "t1"]));
    running.assert_told(Some("cannot seal the list"));
    let again = running.daemon.log().len();
    fs::remove_dir_all(&sealed).unwrap();
    wait_until("the list", || running.count(ACCEPTED) == 1, || running.daemon.log());
    assert!(!running.daemon.log()[again..].contains(REFUSED), "told once: {}", running.daemon.log());
    running.assert_told(None);
    running.assert_only(&["t0", "t1"]);
}

/// What is delivered, and where, is not to be taken from a list that ends before it says so.
#[test]
fn a_list_that_was_cut_short_is_delivered_as_accepted_at_a_start() {
    let Running { host, daemon, .. } = Running::new();
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    let whole = text(&host, &["t0"]);
    host.write("tokens.toml", &whole[..whole.find("[deliver.files]").unwrap()]);
    let running = Running::over(host);
    running.assert_told(Some("refused as a probable mistake"));
    running.assert_only(&["t0"]);
}

/// Where the store is, only a list says: without one it is where it usually is, which for an ordinary user is at home.
#[test]
fn a_list_that_is_gone_leaves_the_accepted_one_in_force_at_a_start() {
    use std::os::unix::{fs::PermissionsExt as _, fs::chown, process::CommandExt as _};
    const USER: u32 = 12_346;
    if !rustix::process::geteuid().is_root() {
        return crate::peers::missing("the right to be another user");
    }
    let host = Host::new();
    let home = host.path("home");
    fs::create_dir_all(home.join("run")).unwrap();
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let program = home.join("influx-tokend");
    copy_program(env!("CARGO_BIN_EXE_influx-tokend"), &program);
    fs::write(home.join("token"), host.sandbox.management_token()).unwrap();
    let list = home.join("tokens.toml");
    let text = format!(
        "[server]\nproduct = \"clustered\"\nurl = \"{}\"\nmanagement_token = {{ file = \"{}\" }}\n[deliver.files]\n\
         [lifecycle]\nprobe = false\n[[token]]\nname = \"t\"\nwrite = [\"a\"]\nallow = {{}}\n",
        host.sandbox.url(),
        home.join("token").display()
    );
    fs::write(&list, text).unwrap();
    for path in [&home, &home.join("run"), &home.join("token"), &list] {
        chown(path, Some(USER), None).unwrap();
    }
    let start = || {
        let mut command = std::process::Command::new(&program);
        command.arg("--config").arg(&list).arg("run").uid(USER);
        command.env_clear().env("HOME", &home).env("XDG_RUNTIME_DIR", home.join("run"));
        Daemon::start(command)
    };
    let delivered = home.join("run/influx-tokend/secrets/t");
    let daemon = start();
    wait_until("t", || delivered.exists(), || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
    fs::remove_file(&delivered).unwrap();
    fs::remove_file(&list).unwrap();
    let daemon = start();
    daemon.wait_for("the last accepted list is in force");
    wait_until("t", || delivered.exists(), || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
}
