//! Secrets as systemd's credentials. Here a process of the test's asks as systemd does: as root, from within a unit's
//! cgroup, under an address that names the unit. `tests/systemd/driver` has the real one.

use std::{
    env, fs,
    io::Read as _,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{UnixDatagram, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use hyper::Method;
use influx_sandbox::Fault;
use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, SocketAddrUnix,
        SocketFlags, SocketType, bind, connect, recvmsg, shutdown, socket_with,
    },
    process::{Signal, geteuid},
};

use crate::{
    host::{Daemon, Host, copy_program, wait_until},
    hostile::without_peer_pidfds,
    peers::missing,
    pickup::holders,
};

const SOCKET: &str = "INFLUX_TOKEND_TEST_SOCKET";
const ADDRESS: &str = "INFLUX_TOKEND_TEST_ADDRESS";
const CGROUPS: &str = "INFLUX_TOKEND_TEST_CGROUPS";
const RESULT: &str = "INFLUX_TOKEND_TEST_RESULT";
const TIMES: &str = "INFLUX_TOKEND_TEST_TIMES";
/// What systemd reads at most.
const MOST_TAKEN: u64 = (1 << 20) + (128 << 10);
/// Nobody's uid.
const STRANGER: u32 = 70_124;

/// A cgroup like that of a unit.
struct Unit {
    name: String,
    cgroups: Vec<PathBuf>,
}

impl Unit {
    /// One that no other test has; nothing, and that is said, where there can be none.
    fn new(kind: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            missing("root, to ask as systemd does");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{kind}-{}-{count}.service", std::process::id());
        let mut unit = Self { name, cgroups: vec![] };
        for hierarchy in hierarchies() {
            let cgroup = hierarchy.join(&unit.name);
            if fs::create_dir(&cgroup).is_ok() {
                unit.cgroups.push(cgroup);
            }
        }
        if unit.cgroups.is_empty() {
            missing("the right to make a cgroup");
            return None;
        }
        Some(unit)
    }

    /// The address from which systemd asks for a credential of the unit's.
    fn address(&self, id: &str) -> String {
        format!("1f2e/unit/{}/{id}", self.name)
    }

    fn cgroups(&self) -> String {
        self.cgroups.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(":")
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for cgroup in &self.cgroups {
            let _stays = fs::remove_dir(cgroup);
        }
    }
}

/// Where units have their cgroups: the one hierarchy, and systemd's own of old.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let hierarchy = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let is_one = file_system.starts_with("cgroup2 ")
            || (file_system.starts_with("cgroup ") && file_system.contains("name=systemd"));
        (is_one && root == "/").then(|| PathBuf::from(point))
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// What an [`Asking`] does.
#[test]
fn whoever_asks_as_systemd_does() {
    let Some(result) = env::var_os(RESULT) else { return };
    for cgroup in env::var(CGROUPS).unwrap().split(':').filter(|cgroup| !cgroup.is_empty()) {
        fs::write(Path::new(cgroup).join("cgroup.procs"), "0").unwrap();
    }
    let (socket, address) = (env::var(SOCKET).unwrap(), env::var(ADDRESS).unwrap());
    let times: usize = env::var(TIMES).unwrap().parse().unwrap();
    let ask = |n: usize| {
        let address = if n == 0 { address.clone() } else { format!("{n:x}{address}") };
        ask_once(&socket, &address).unwrap_or_else(|error| format!("failed: {error}"))
    };
    let answers: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..times).map(|n| scope.spawn(move || ask(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (result, new) = (PathBuf::from(&result), PathBuf::from(result).with_extension("new"));
    fs::write(&new, answers.join("\n")).unwrap();
    fs::rename(new, result).unwrap();
}

fn ask_once(path: &str, address: &str) -> std::io::Result<String> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if !address.is_empty() {
        bind(&socket, &SocketAddrUnix::new_abstract_name(address.as_bytes())?)?;
    }
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    // As systemd does: it has nothing to say.
    shutdown(&socket, Shutdown::Write)?;
    let mut read = Vec::new();
    UnixStream::from(socket).take(MOST_TAKEN + 1).read_to_end(&mut read)?;
    Ok(match read.len() as u64 {
        length if length > MOST_TAKEN => "refused".to_owned(),
        _ => format!("got {}", String::from_utf8(read).unwrap()),
    })
}

/// systemd, about to start a unit.
struct Asking {
    child: Child,
    result: PathBuf,
}

impl Asking {
    fn start(host: &Host, unit: Option<&Unit>, address: &str) -> Self {
        Self::many(host, unit, address, 1, |_| {})
    }

    fn many(
        host: &Host,
        unit: Option<&Unit>,
        address: &str,
        times: usize,
        as_whom: impl FnOnce(&mut Command),
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let result = host.path(&format!("answers/{count}"));
        fs::create_dir_all(host.path("answers")).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "credentials::whoever_asks_as_systemd_does"])
            .env(SOCKET, host.path("run/credentials.sock"))
            .env(ADDRESS, address)
            .env(CGROUPS, unit.map(Unit::cgroups).unwrap_or_default())
            .env(TIMES, times.to_string())
            .env(RESULT, &result)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        as_whom(&mut command);
        Self { child: command.spawn().unwrap(), result }
    }

    /// What each got.
    fn answers(mut self) -> Vec<String> {
        wait_until("answers", || self.result.exists(), String::new);
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(&self.result).unwrap().lines().map(str::to_owned).collect()
    }

    fn answer(self) -> String {
        self.answers().remove(0)
    }

    fn is_waiting(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn ask(host: &Host, unit: Option<&Unit>, address: &str) -> String {
    Asking::start(host, unit, address).answer()
}

fn token(name: &str, allow: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\nallow = {{ {allow} }}\n")
}

fn for_unit(name: &str, unit: &Unit) -> String {
    token(name, &format!("units = [\"{}\"]", unit.name))
}

fn wait_for(host: &Host, name: &str, daemon: &Daemon) {
    wait_until(name, || host.delivered(name).is_some(), || daemon.log());
}

#[test]
fn the_permitted_unit_is_given_its_secret_and_nobody_else_is() {
    let (Some(reader), Some(other)) = (Unit::new("reader"), Unit::new("other")) else { return };
    the_unit_and_nobody_else(&reader, &other, Host::daemon);
    // And on a kernel before 6.5.
    let log = the_unit_and_nobody_else(&reader, &other, |host| {
        std::thread::scope(|scope| scope.spawn(|| without_peer_pidfds(host)).join().unwrap())
    });
    assert!(log.contains("the kernel is older than 6.5"), "{log}");
}

fn the_unit_and_nobody_else(reader: &Unit, other: &Unit, start: impl Fn(&Host) -> Daemon) -> String {
    let host = Host::new();
    // Root may read everything, and it is root that asks: here that is no reason.
    host.list(
        &(token("t0", "users = [\"0\"], units = [\"reader-*.service\"]") + &token("t1", "users = [\"0\"]")),
    );
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = start(&host);
    wait_for(&host, "t0", &daemon);
    wait_for(&host, "t1", &daemon);
    let socket = fs::metadata(host.path("run/credentials.sock")).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o7777), (0, 0o600));
    let secret = format!("got {}", host.delivered("t0").unwrap());
    for id in ["telegraf.t0", "t0"] {
        assert_eq!(ask(&host, Some(reader), &reader.address(id)), secret, "{id}");
    }
    let refused = |who: Option<&Unit>, address: &str| {
        assert_eq!(ask(&host, who, address), "refused", "{address}");
    };
    refused(Some(reader), &reader.address("telegraf.t1"));
    refused(Some(reader), &reader.address("nope"));
    refused(Some(reader), &reader.address("edge-writer"));
    refused(Some(reader), &other.address("t0"));
    refused(Some(reader), "");
    refused(Some(reader), "t0");
    refused(Some(other), &other.address("t0"));
    refused(Some(other), &reader.address("t0"));
    refused(None, &reader.address("t0"));
    // Another user does not even get there.
    let program = host.path("asks");
    copy_program(env::current_exe().unwrap(), &program);
    fs::create_dir_all(host.path("answers")).unwrap();
    fs::set_permissions(host.path("answers"), fs::Permissions::from_mode(0o777)).unwrap();
    let stranger = Asking::many(&host, None, &reader.address("t0"), 1, |command| {
        let mut own = Command::new(&program);
        own.args(command.get_args()).envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        own.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/").uid(STRANGER).gid(STRANGER);
        *command = own;
    });
    assert_eq!(stranger.answer(), "failed: Permission denied (os error 13)");
    // In the same life of the daemon, still.
    assert_eq!(ask(&host, Some(reader), &reader.address("t0")), secret);
    the_refused_are_told(&host, &daemon, reader, other);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!host.path("run/credentials.sock").exists());
    log
}

/// Each once in the log, however often it asks within a minute, and the last of each in `status`.
fn the_refused_are_told(host: &Host, daemon: &Daemon, reader: &Unit, other: &Unit) {
    let (log, status, text) = (daemon.log(), host.status(), host.tokend(&["status"]).stdout);
    let (reader, other) = (&reader.name, &other.name);
    let hint = format!("allow = {{ users = [\"0\"], units = [\"reader-*.service\", \"{other}\"] }}");
    for (by, credential, why) in [
        (reader.clone(), "telegraf.t1", "it may not read token t1".to_owned()),
        (reader.clone(), "nope", "there is no token nope".to_owned()),
        (other.clone(), "t0", "it may not read token t0".to_owned()),
        (format!("{other} (uid 0)"), "t0", format!("it asks in the name of {reader}, and runs in {other}")),
        (
            "uid 0".to_owned(),
            "t0",
            format!("it asks in the name of {reader}, and in which unit it runs is not known"),
        ),
    ] {
        let line = format!("{by} is refused credential {credential:?}: {why}\n");
        assert_eq!(log.matches(&line).count(), 1, "{line:?}: {log}");
        assert!(text.contains(&format!("credential {credential:?}: refused to {by} ")), "{text}");
        let all = status["refused_credentials"].as_array().unwrap();
        let told = |refused: &&serde_json::Value| {
            refused["by"] == by.as_str()
                && refused["credential"] == credential
                && refused["why"] == why.as_str()
        };
        assert_eq!(all.iter().filter(told).count(), 1, "{by} {credential}: {all:?}");
    }
    assert!(log.contains(&hint) && text.contains(&hint), "{hint}: {text}");
    assert_eq!(status["tokens"][0]["last_read"]["by"], format!("{reader} (credential)"));
    let secret = host.delivered("t0").unwrap();
    assert!(!log.contains(&secret) && !text.contains(&secret) && !status.to_string().contains(&secret));
    for _ in 0..3 {
        assert_eq!(ask(host, None, &format!("1/unit/{reader}/t0")), "refused");
    }
    let again = daemon.log();
    assert_eq!(again.matches("is refused credential").count(), log.matches("is refused credential").count());
}

/// A host whose first token waits for its server.
fn not_ready(unit: &Unit) -> Host {
    let host = Host::new();
    host.list(&for_unit("t0", unit));
    host.sandbox.fault(Fault::status(Method::POST, &host.api("/tokens"), 503));
    host
}

fn becomes_ready(host: &Host) {
    host.sandbox.clear_faults();
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_token_that_is_being_minted_is_waited_for_by_all_who_want_it() {
    let Some(unit) = Unit::new("reader") else { return };
    // More than are answered at once.
    const MANY: usize = 300;
    let host = not_ready(&unit);
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let mut asking = Asking::many(&host, Some(&unit), &unit.address("telegraf.t0"), MANY, |_| {});
    daemon.wait_for(&format!("{} waits for it as a credential: ", unit.name));
    assert!(asking.is_waiting());
    becomes_ready(&host);
    let secret = format!("got {}", host.delivered("t0").unwrap());
    let answers = asking.answers();
    assert_eq!(answers.len(), MANY);
    assert!(answers.iter().all(|answer| *answer == secret), "{answers:?}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn who_waits_when_the_daemon_stops_is_refused() {
    let Some(unit) = Unit::new("reader") else { return };
    let host = not_ready(&unit);
    let daemon = host.daemon();
    daemon.wait_for("ready");
    let asking = Asking::start(&host, Some(&unit), &unit.address("t0"));
    daemon.wait_for("waits for it as a credential");
    let (code, log) = daemon.stop();
    assert_eq!((code, asking.answer().as_str()), (Some(0), "refused"), "{log}");
    assert!(log.contains("the daemon stops before token t0 is ready"), "{log}");
    // Nobody is there.
    let answer = ask(&host, Some(&unit), &unit.address("t0"));
    assert_eq!(answer, "failed: No such file or directory (os error 2)");
}

#[test]
fn before_the_store_opens_who_asks_waits() {
    let Some(unit) = Unit::new("reader") else { return };
    let host = Host::new();
    host.list(&for_unit("t0", &unit));
    host.apply();
    fs::rename(host.path("store/identity.txt"), host.path("identity.txt")).unwrap();
    let daemon = host.daemon();
    wait_until("the socket", || host.path("run/credentials.sock").exists(), || daemon.log());
    let mut asking = Asking::start(&host, Some(&unit), &unit.address("t0"));
    daemon.wait_for("waits for it as a credential");
    assert!(asking.is_waiting());
    fs::rename(host.path("identity.txt"), host.path("store/identity.txt")).unwrap();
    assert_eq!(asking.answer(), format!("got {}", host.delivered("t0").unwrap()));
    assert_eq!(daemon.stop().0, Some(0));
}

/// What systemd is handed to keep: its name, and the connection.
fn kept(notify: &UnixDatagram) -> Option<(String, OwnedFd)> {
    let (mut buffer, mut space) =
        ([0; 4096], [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [std::io::IoSliceMut::new(&mut buffer)];
    let length = recvmsg(notify, &mut into, &mut control, RecvFlags::DONTWAIT).ok()?.bytes;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let fd = fds.last();
    let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
    let name = text.strip_prefix("FDSTORE=1\nFDNAME=").map(|name| name.trim_end().to_owned());
    Some((name.unwrap_or_default(), fd?))
}

/// With the real systemd in `tests/systemd/driver`.
#[test]
fn who_waits_when_the_daemon_is_killed_is_answered_by_the_next() {
    let Some(unit) = Unit::new("reader") else { return };
    let host = not_ready(&unit);
    let (command, notify) = host.supervised();
    notify.set_nonblocking(true).unwrap();
    let mut daemon = Daemon::start(command);
    daemon.wait_for("ready");
    let mut asking = Asking::start(&host, Some(&unit), &unit.address("t0"));
    let mut connection = None;
    wait_until(
        "something to keep",
        || {
            connection = connection.take().or_else(|| kept(&notify).filter(|(name, _)| !name.is_empty()));
            connection.is_some()
        },
        || daemon.log(),
    );
    let (name, connection) = connection.unwrap();
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait(), None);
    assert!(asking.is_waiting());

    // As systemd starts the next one.
    let mut command = Command::new("sh");
    let program = host.command(&["run"]);
    command
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", &name)
        .env_remove("NOTIFY_SOCKET")
        .stdin(connection);
    let daemon = Daemon::start(command);
    daemon.wait_for("waits for it as a credential");
    daemon.wait_for("ready list=");
    assert!(asking.is_waiting());
    becomes_ready(&host);
    assert_eq!(asking.answer(), format!("got {}", host.delivered("t0").unwrap()));
    assert_eq!(daemon.stop().0, Some(0));
}

/// Between its being accepted and its being answered a kill would end it, too.
#[test]
fn who_need_not_wait_is_kept_until_answered() {
    let Some(unit) = Unit::new("reader") else { return };
    let host = Host::new();
    host.list(&for_unit("t0", &unit));
    let (command, notify) = host.supervised();
    notify.set_nonblocking(true).unwrap();
    let daemon = Daemon::start(command);
    wait_for(&host, "t0", &daemon);
    let secret = host.delivered("t0").unwrap();
    assert_eq!(ask(&host, Some(&unit), &unit.address("t0")), format!("got {secret}"));
    assert_eq!(daemon.stop().0, Some(0));
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = notify.recv(&mut buffer) {
        told.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    let kept = told.iter().find_map(|told| told.strip_prefix("FDSTORE=1\nFDNAME=")).unwrap();
    assert!(told.contains(&format!("FDSTOREREMOVE=1\nFDNAME={kept}")), "{told:?}");
}

#[test]
fn what_a_unit_was_given_it_may_still_have() {
    let Some(unit) = Unit::new("reader") else { return };
    let host = Host::new();
    let pickup = "pickup = \"proven\"\n";
    host.list(&format!("overlap = \"0s\"\nlifetime = \"9d\"\n{}{pickup}", for_unit("t0", &unit)));
    let daemon = host.daemon();
    wait_for(&host, "t0", &daemon);
    let old = format!("got {}", host.delivered("t0").unwrap());
    let given = || ask(&host, Some(&unit), &unit.address("telegraf.t0"));
    assert_eq!(given(), old);
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    let held = format!("{} (credential) was given generation 1, which it keeps while it runs", unit.name);
    assert_eq!(holders(&host), (vec![held.clone()], Some(1)));
    // Whoever has asked is gone, and asks again when the unit is started anew: that tells nothing of what became of the
    // old secret in between.
    assert_ne!(given(), old);
    assert_eq!(holders(&host).0, [held]);
    host.apply();
    assert_eq!(host.live("t0").len(), 2, "the old token lives");
    let text = host.tokend(&["status"]).stdout;
    assert!(text.contains("was given generation 1"), "{text}");
    // A value that nobody was given ends as always.
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    let held: Vec<String> =
        holders(&host).0.into_iter().filter(|holder| holder.contains("generation 2")).collect();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn without_a_place_for_the_socket_everything_else_goes_on() {
    let host = Host::new();
    host.list_of(1);
    // Something that is no socket.
    fs::write(host.path("run/credentials.sock"), "").unwrap();
    let daemon = host.daemon();
    wait_for(&host, "t0", &daemon);
    assert_eq!(host.secrets_by_socket(&["get", "t0"]).stdout, host.delivered("t0").unwrap());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("no credentials are given: socket "), "{log}");
    assert!(log.contains("hint: move away what stands there"), "{log}");
    assert!(host.path("run/credentials.sock").is_file());
}
