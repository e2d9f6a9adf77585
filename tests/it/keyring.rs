//! A real gnome-keyring as the store, on a bus of its own: found, locked, killed, frozen, emptied, and asking somebody who
//! never answers.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::RecvTimeoutError,
};

use dbus::{
    Path as DbusPath,
    arg::{RefArg, Variant},
    blocking::Connection,
    channel::Channel,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    foreign::Foreign,
    host::{Daemon, Host, PATIENCE, Ran, ran, wait_until},
    peers::find,
};

const LOGIN: &str = "/org/freedesktop/secrets/collection/login";
const PASSWORD: &str = "password of the keyring";

/// A bus and a keyring, both of this test alone.
struct Session {
    folder: PathBuf,
    bus: Child,
    keyring: Option<Child>,
}

impl Session {
    /// `None` where a program for it is missing.
    fn start(host: &Host) -> Option<Self> {
        for program in ["gnome-keyring-daemon", "dbus-daemon", "dbus-send"] {
            find(program, "")?;
        }
        let folder = host.path("session");
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        fs::write(folder.join("bus.conf"), bus_config(&folder)).unwrap();
        let bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", folder.join("bus.conf").display()))
            .args(["--nofork", "--nopidfile"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut session = Self { folder, bus, keyring: None };
        wait_until("the bus", || session.folder.join("bus").exists(), String::new);
        session.start_keyring();
        Some(session)
    }

    fn start_keyring(&mut self) {
        let mut command = self.on_it("gnome-keyring-daemon");
        command.args(["--foreground", "--unlock", "--components=secrets"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The password is read to the end.
        child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        self.keyring = Some(child);
        wait_until("an unlocked keyring", || self.has_default() && !self.is_locked(), String::new);
    }

    /// A program that finds this bus, and no display.
    fn on_it(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.find_it(&mut command);
        command
    }

    fn find_it(&self, command: &mut Command) {
        let bus = format!("unix:path={}", self.folder.join("bus").display());
        command.env("DBUS_SESSION_BUS_ADDRESS", bus).env("HOME", &self.folder).env_remove("DISPLAY");
        command.env("XDG_RUNTIME_DIR", &self.folder).env_remove("WAYLAND_DISPLAY");
    }

    fn send(&self, destination: &str, object: &str, arguments: &[&str]) -> String {
        let mut command = self.on_it("dbus-send");
        command
            .args(["--session", "--print-reply", &format!("--dest={destination}"), object])
            .args(arguments);
        let ran = ran(command.output().unwrap());
        ran.stdout + &ran.stderr
    }

    fn ask(&self, object: &str, arguments: &[&str]) -> String {
        self.send("org.freedesktop.secrets", object, arguments)
    }

    fn has_default(&self) -> bool {
        let alias = ["org.freedesktop.Secret.Service.ReadAlias", "string:default"];
        self.ask("/org/freedesktop/secrets", &alias).contains("/collection/")
    }

    fn is_locked(&self) -> bool {
        let property = [
            "org.freedesktop.DBus.Properties.Get",
            "string:org.freedesktop.Secret.Collection",
            "string:Locked",
        ];
        !self.ask(LOGIN, &property).contains("boolean false")
    }

    fn lock(&self) {
        let paths = format!("array:objpath:{LOGIN}");
        self.ask("/org/freedesktop/secrets", &["org.freedesktop.Secret.Service.Lock", &paths]);
        assert!(self.is_locked());
    }

    fn connect(&self) -> Connection {
        let address = format!("unix:path={}", self.folder.join("bus").display());
        let mut channel = Channel::open_private(&address).unwrap();
        channel.register().unwrap();
        channel.into()
    }

    /// As logging in does: by gnome-keyring's own interface, for the standard one asks a person.
    fn unlock(&self) {
        let connection = self.connect();
        let service = connection.with_proxy("org.freedesktop.secrets", "/org/freedesktop/secrets", PATIENCE);
        let plain = ("plain", Variant(String::new()));
        let opened: (Variant<Box<dyn RefArg>>, DbusPath<'static>) =
            service.method_call("org.freedesktop.Secret.Service", "OpenSession", plain).unwrap();
        let secret = (opened.1, Vec::<u8>::new(), PASSWORD.as_bytes().to_vec(), "text/plain");
        let interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
        let login = DbusPath::new(LOGIN).unwrap();
        let () = service.method_call(interface, "UnlockWithMasterPassword", (login, secret)).unwrap();
        assert!(!self.is_locked());
    }

    /// Somebody who is asked for the password, and never answers.
    fn ask_in_vain(&self) -> Connection {
        let connection = self.connect();
        connection.request_name("org.gnome.keyring.SystemPrompter", false, true, true).unwrap();
        connection
    }

    fn signal(&self, signal: Signal) {
        let pid = self.keyring.as_ref().unwrap().id();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    fn kill(&mut self) {
        let mut keyring = self.keyring.take().unwrap();
        keyring.kill().unwrap();
        keyring.wait().unwrap();
        wait_until("its end", || !self.has_default(), String::new);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in self.keyring.iter_mut().chain([&mut self.bus]) {
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}

/// One that starts no service by itself: a keyring that was killed stays away.
fn bus_config(folder: &Path) -> String {
    let listen = format!("unix:path={}", folder.join("bus").display());
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>session</type><listen>{listen}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>"
    )
}

/// A host that keeps its tokens in a keyring.
struct Kept {
    host: Host,
    session: Session,
}

impl Kept {
    /// With so many tokens in its list; `None` where a program for it is missing.
    fn new(tokens: usize) -> Option<Self> {
        let host = Host::new();
        let session = Session::start(&host)?;
        let kept = Self { host, session };
        kept.list_of(tokens);
        Some(kept)
    }

    fn list_of(&self, tokens: usize) {
        self.host.list_of(tokens);
        let list = fs::read_to_string(self.host.path("tokens.toml")).unwrap();
        self.host.write("tokens.toml", &list.replace("[store]\n", "[store]\nkind = \"secret-service\"\n"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(arguments);
        self.session.find_it(&mut command);
        command
    }

    fn tokend(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    fn apply(&self) {
        let ran = self.tokend(&["apply"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(self.command(&["run"]))
    }

    /// That one token of each name lives, and is delivered.
    fn assert_settled(&self, tokens: usize, context: &str) {
        for n in 0..tokens {
            let name = format!("t{n}");
            let live = self.host.live(&name);
            assert_eq!(live.len(), 1, "{context}: live tokens of {name}: {live:?}");
            assert_eq!(
                self.host.delivered(&name).as_deref(),
                Some(live[0].secret.as_str()),
                "{context}: {name}"
            );
        }
    }

    /// That the store is told to be unavailable in these words, and nothing is minted.
    fn assert_unavailable(&self, told: &str, hint: &str) {
        let mints = self.host.mints();
        let ran = self.tokend(&["apply"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("store ") && ran.stderr.contains(told), "{ran:?}");
        assert!(ran.stderr.contains("hint: ") && ran.stderr.contains(hint), "{ran:?}");
        assert_eq!(self.host.mints(), mints, "an unavailable store is not an empty one");
    }
}

#[test]
fn what_is_sealed_is_found_again_by_another_process() {
    let Some(kept) = Kept::new(3) else { return };
    kept.apply();
    kept.assert_settled(3, "first");
    let secret = kept.host.live("t0")[0].secret.clone();
    // Not on the disk in clear, wherever the keyring and the store keep things.
    for file in crate::host::files_below(kept.host.folder.path()) {
        let is_delivered = file.starts_with(kept.host.path("run"));
        let has_it = fs::read(&file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&secret));
        assert!(is_delivered || !has_it, "{file:?}");
    }
    kept.apply();
    for command in ["plan", "status", "check"] {
        let ran = kept.tokend(&[command]);
        assert_eq!(ran.code, Some(0), "{command}: {ran:?}");
        assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "{ran:?}");
    }
    assert_eq!(kept.host.mints(), 3);
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    fs::remove_dir_all(kept.host.path("run/secrets")).unwrap();
    let daemon = kept.daemon();
    wait_until("the new value", || kept.host.delivered("t0").is_some(), || daemon.log());
    assert_ne!(kept.host.delivered("t0").unwrap(), secret);
    assert_eq!(kept.host.mints(), 4);
}

#[test]
fn no_kill_of_a_first_run_loses_or_leaks_a_token() {
    const TOKENS: usize = 4;
    let mut random = fastrand::Rng::with_seed(8);
    let mut struck = 0;
    for history in 0..24 {
        let Some(kept) = Kept::new(TOKENS) else { return };
        let foreign = Foreign::new(&kept.host, 20);
        let events = kept.host.sandbox.events();
        let (after, late) = (random.usize(1..60), random.u64(0..4000));
        let mut program =
            kept.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The keyring is written to between what the server sees.
        for _ in 0..after {
            match events.recv_timeout(PATIENCE.min(std::time::Duration::from_millis(500))) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(late));
        struck += usize::from(program.try_wait().unwrap().is_none());
        let _ended = program.kill();
        program.wait().unwrap();
        let context = format!("history {history}, {after} events, {late} us");
        let ran = kept.tokend(&["apply"]);
        assert_eq!(ran.code, Some(0), "{context}: {ran:?}");
        kept.assert_settled(TOKENS, &context);
        foreign.assert_untouched(&kept.host, &context);
        kept.host.assert_no_leftovers(&context);
    }
    println!("{struck} kills struck");
    assert!(struck >= 12, "{struck} kills struck only");
}

#[test]
fn a_locked_keyring_is_not_available_until_it_is_unlocked() {
    let Some(kept) = Kept::new(1) else { return };
    kept.apply();
    kept.session.lock();
    kept.assert_unavailable("the keyring is locked", "unlock it");
    // A daemon waits for it.
    let daemon = kept.daemon();
    daemon.wait_for("the keyring is locked");
    kept.session.unlock();
    wait_until("status", || kept.tokend(&["status"]).code == Some(0), || daemon.log());
    kept.apply();
    assert_eq!(kept.host.mints(), 1);
}

#[test]
fn a_prompt_that_is_never_answered_holds_up_nothing_but_the_store() {
    let Some(kept) = Kept::new(1) else { return };
    kept.apply();
    let before = kept.host.delivered("t0").unwrap();
    let daemon = kept.daemon();
    daemon.wait_for("ready list=");
    let asked = kept.session.ask_in_vain();
    kept.session.lock();
    // It is asked for on the daemon's behalf: whoever wants the value waits for nothing.
    let mut rotation = kept.command(&["rotate", "t0"]).stderr(Stdio::piped()).spawn().unwrap();
    let got = kept.host.secrets_by_socket(&["get", "t0"]);
    assert_eq!(got.stdout, before, "{got:?}");
    let ended = rotation.wait().unwrap();
    assert!(!ended.success());
    assert_eq!(kept.host.mints(), 1);
    drop(asked);
    kept.session.unlock();
    let settles = || kept.tokend(&["rotate", "t0"]).code == Some(0);
    wait_until("a rotation", settles, || daemon.log());
    assert_ne!(kept.host.delivered("t0").unwrap(), before);
}

#[test]
fn a_keyring_that_is_killed_holds_up_what_needs_it_and_takes_nothing_away() {
    let Some(mut kept) = Kept::new(1) else { return };
    kept.session.kill();
    kept.assert_unavailable("the keyring cannot be used", "see that a Secret Service runs for this user");
    kept.session.start_keyring();
    let daemon = kept.daemon();
    wait_until("t0", || kept.host.delivered("t0").is_some(), || daemon.log());
    let before = kept.host.delivered("t0").unwrap();
    kept.session.kill();
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert_eq!(kept.host.mints(), 1, "an intent that is not sealed is not minted for");
    assert_eq!(kept.host.delivered("t0").unwrap(), before);
    let asked = kept.host.secrets_by_socket(&["get", "t0"]);
    assert_eq!(asked.stdout, before, "{asked:?}");
    kept.session.start_keyring();
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    assert_ne!(kept.host.delivered("t0").unwrap(), before);
}

#[test]
fn a_frozen_keyring_is_not_available_and_answers_again() {
    let Some(kept) = Kept::new(1) else { return };
    kept.apply();
    let before = kept.host.delivered("t0").unwrap();
    let daemon = kept.daemon();
    daemon.wait_for("ready list=");
    kept.session.signal(Signal::STOP);
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert_eq!(kept.host.mints(), 1);
    let asked = kept.host.secrets_by_socket(&["get", "t0"]);
    assert_eq!(asked.stdout, before, "{asked:?}");
    kept.session.signal(Signal::CONT);
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    assert_ne!(kept.host.delivered("t0").unwrap(), before);
}

#[test]
fn a_keyring_without_its_collection_is_not_taken_for_an_empty_store() {
    let Some(kept) = Kept::new(2) else { return };
    kept.apply();
    kept.session.ask(LOGIN, &["org.freedesktop.Secret.Collection.Delete"]);
    wait_until("no collection", || !kept.session.has_default(), String::new);
    kept.assert_unavailable("the keyring has none of this store's 2 items", "put the keyring back");
    let ran = kept.tokend(&["check"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("none of this store's 2 items"), "{ran:?}");
    let status = kept.tokend(&["status"]);
    assert!(!status.stdout.contains("missing"), "{status:?}");
}

#[test]
fn a_store_moves_from_files_to_the_keyring_and_back() {
    let Some(kept) = Kept::new(2) else { return };
    let host = &kept.host;
    let keyring = fs::read_to_string(host.path("tokens.toml")).unwrap();
    let files = keyring.replace("kind = \"secret-service\"\n", "");
    let files =
        files.replace(&host.path("store").display().to_string(), &host.path("files").display().to_string());
    host.write("files.toml", &files);
    host.write("tokens.toml", &files);
    kept.apply();
    let before = host.sandbox.live();
    for (list, new) in [(&keyring, "to the keyring"), (&files, "back")] {
        let folder = if *list == files { "files" } else { "store" };
        // A store that was moved is another one from then on.
        let _was_moved = fs::remove_file(host.path(folder).join("moved"));
        host.write("new.toml", list);
        let ran = kept.tokend(&["store", "migrate", "--to", &host.path("new.toml").display().to_string()]);
        assert_eq!(ran.code, Some(0), "{new}: {ran:?}");
        host.write("tokens.toml", list);
        kept.apply();
        assert_eq!((host.mints(), host.sandbox.live()), (2, before.clone()), "{new}");
        let delivered = host.delivered("t1").unwrap();
        assert!(before.iter().any(|token| token.secret == delivered), "{new}");
    }
    let ran = kept.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn retired_nothing_is_left_in_the_keyring() {
    let Some(kept) = Kept::new(2) else { return };
    kept.apply();
    let shown = kept.tokend(&["retire"]);
    let digest = shown.stdout.trim().rsplit(' ').next().unwrap().to_owned();
    let ran = kept.tokend(&["retire", &digest]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(kept.host.sandbox.live().len(), 0);
    let found = kept.session.ask(
        LOGIN,
        &[
            "org.freedesktop.Secret.Collection.SearchItems",
            &format!("dict:string:string:service,influx-tokend {}", kept.host.path("store").display()),
        ],
    );
    assert!(!found.contains("/login/"), "{found}");
    kept.assert_unavailable("was retired", "remove ");
}
