//! A host to try things on: a folder, a list, a sandbox, and the two programs.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use influx_sandbox::{Options, Sandbox, Token};
use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{kind::Kind, local_clock::LocalClock};

/// A test that waits longer than this for something has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Host {
    pub(crate) folder: TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) kind: &'static Kind,
    /// Where this host's clock is judged by, and can be moved.
    clock: Option<LocalClock>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// One with a server of the kind that most tests are about.
    pub(crate) fn new() -> Self {
        Self::on(&Kind::CLUSTERED)
    }

    pub(crate) fn on(kind: &'static Kind) -> Self {
        Self::on_with(kind, |_| {})
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::on_with(&Kind::CLUSTERED, |own| *own = options)
    }

    /// On a server of this kind with these options of its sandbox.
    pub(crate) fn on_with(kind: &'static Kind, set: impl FnOnce(&mut Options)) -> Self {
        let databases = ["a", "b", "c", "telemetry"].map(str::to_owned).to_vec();
        let mut options = Options { databases, ..Options::default() };
        (kind.play)(&mut options);
        set(&mut options);
        let (folder, sandbox) = (TempDir::new().unwrap(), Sandbox::start(options).unwrap());
        let clock = if kind.has_date { None } else { LocalClock::new(folder.path()) };
        let host = Self { folder, sandbox, kind, clock };
        host.write("management-token", &host.sandbox.management_token());
        fs::set_permissions(host.path("management-token"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(host.path("run")).unwrap();
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Time passes, for all that judge by it: on the server, and on this host where the server tells no date. What has
    /// passed since boot stays.
    pub(crate) fn shift_clock(&self, by: SignedDuration) {
        self.sandbox.shift_clock(by);
        if !self.kind.has_date {
            self.clock.as_ref().expect("on_each_in_time has seen that it can be moved").shift(by);
        }
    }

    /// Whether [`Self::shift_clock`] can be done on this machine.
    pub(crate) fn can_shift_clock(&self) -> bool {
        self.kind.has_date || self.clock.is_some()
    }

    /// A list with this server and store, quick probes, and these tables after.
    pub(crate) fn list(&self, rest: &str) {
        self.write("tokens.toml", &self.list_text(&self.sandbox.url(), rest));
    }

    pub(crate) fn list_text(&self, url: &str, rest: &str) -> String {
        let folder = self.folder.path().display();
        let lines = (self.kind.server)(self);
        let data = match self.sandbox.data_address() == self.sandbox.address() {
            true => String::new(),
            false => format!("data_url = \"{}\"\n", self.sandbox.data_url()),
        };
        let clock = if self.kind.has_date { "" } else { "local_clock = \"trusted\"\n" };
        format!(
            "[server]\n{lines}url = \"{url}\"\n{data}timeout = \"1s\"\n\
             management_token = {{ file = \"{folder}/management-token\" }}\n\
             [store]\npath = \"{folder}/store\"\n\
             [deliver.socket]\npath = \"{folder}/run/secrets.sock\"\n\
             [deliver.files]\npath = \"{folder}/run/secrets\"\n\
             [lifecycle]\n{clock}probe = {{ interval = \"20ms\" }}\n{rest}"
        )
    }

    /// The path of something that is managed, as `/tokens`.
    pub(crate) fn api(&self, rest: &str) -> String {
        (self.kind.base)() + rest
    }

    /// How often a token was asked for.
    pub(crate) fn mints(&self) -> usize {
        let tokens = self.api("/tokens");
        let is_mint = |method: &str, path: &str| method == "POST" && path == tokens;
        self.sandbox.requests().iter().filter(|request| is_mint(&request.method, &request.path)).count()
    }

    /// So many tokens, each to write to `telemetry`.
    pub(crate) fn list_of(&self, count: usize) {
        let tokens: String =
            (0..count).map(|n| format!("[[token]]\nname = \"t{n}\"\nwrite = [\"telemetry\"]\n")).collect();
        self.list(&tokens);
    }

    /// A daemon to be started, and where it tells systemd how it is.
    pub(crate) fn supervised(&self) -> (Command, UnixDatagram) {
        let path = self.path("notify.sock");
        // Of a daemon before.
        let _stale = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = self.command(&["run"]);
        command.env("NOTIFY_SOCKET", path);
        (command, socket)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_influx-tokend"), arguments)
    }

    /// The same of a copy of the program.
    pub(crate) fn command_of(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--config").arg(self.path("tokens.toml")).args(arguments).stdin(Stdio::null());
        command
            .env_remove("INFLUX_TOKEND_LOG")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("CREDENTIALS_DIRECTORY");
        self.on_clock(command)
    }

    fn on_clock(&self, mut command: Command) -> Command {
        self.clock.iter().for_each(|clock| clock.shown_to(&mut command));
        command
    }

    pub(crate) fn tokend(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// `apply` that must do all there is to do.
    pub(crate) fn apply(&self) -> Ran {
        let ran = self.tokend(&["apply"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    }

    pub(crate) fn secrets(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
        command.arg("--store").arg(self.path("store")).args(arguments).stdin(Stdio::null());
        ran(self.on_clock(command).output().unwrap())
    }

    /// The same, asking a running daemon.
    pub(crate) fn secrets_by_socket(&self, arguments: &[&str]) -> Ran {
        ran(self.secrets_by_socket_command(arguments).output().unwrap())
    }

    pub(crate) fn secrets_by_socket_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_influx-secrets"));
        command.arg("--socket").arg(self.path("run/secrets.sock")).args(arguments).stdin(Stdio::null());
        self.on_clock(command)
    }

    /// What `status` tells programs.
    pub(crate) fn status(&self) -> Value {
        let ran = self.tokend(&["status", "--output", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// What it tells of a token.
    pub(crate) fn status_of(&self, name: &str) -> Value {
        let all = self.status();
        let found = all["tokens"].as_array().unwrap().iter().find(|status| status["name"] == name);
        found.unwrap_or_else(|| panic!("nothing of {name}: {all}")).clone()
    }

    /// Whether the server lets a token live.
    pub(crate) fn is_live(&self, id: &str) -> bool {
        self.sandbox.live().iter().any(|token| token.id == id)
    }

    /// What a consumer reads.
    pub(crate) fn delivered(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("run/secrets").join(name)).ok()
    }

    /// Whether a user is named in what is delivered of it as one who may read it.
    pub(crate) fn has_reader(&self, name: &str, uid: u32) -> bool {
        let mut list = vec![0; 256];
        let file = self.path("run/secrets").join(name);
        let length = rustix::fs::getxattr(&file, "system.posix_acl_access", &mut list[..]).unwrap_or(0);
        list[..length].windows(4).any(|bytes| bytes == uid.to_le_bytes())
    }

    /// Live tokens on the server that this store minted for a name.
    pub(crate) fn live(&self, name: &str) -> Vec<Token> {
        let instance = fs::read_to_string(self.path("store/instance")).unwrap_or_default();
        let instance: serde_json::Value = serde_json::from_str(&instance).unwrap_or_default();
        let instance = instance["current"].as_str().unwrap_or("no instance").to_owned();
        self.live_with(&format!("[influx-tokend {instance}/{name}/"))
    }

    /// Live tokens on the server that any store minted for a name.
    pub(crate) fn live_of_any(&self, name: &str) -> Vec<Token> {
        self.live_with(&format!("/{name}/"))
    }

    fn live_with(&self, label: &str) -> Vec<Token> {
        self.sandbox.live().into_iter().filter(|token| token.description.contains(label)).collect()
    }

    /// Whether a list was asked for and is not answered yet.
    pub(crate) fn list_is_open(&self) -> bool {
        let requests = self.sandbox.requests();
        let last =
            requests.iter().rfind(|request| request.method == "GET" && request.path == "/api/v0/tokens");
        last.is_some_and(|list| list.status.is_none())
    }

    /// That exactly one token of this name lives, and that it is the one that is sealed and delivered.
    pub(crate) fn assert_settled(&self, name: &str) {
        let live = self.live(name);
        assert_eq!(live.len(), 1, "live tokens of {name}: {live:?}");
        assert_eq!(self.delivered(name).as_deref(), Some(live[0].secret.as_str()), "delivered for {name}");
        let sealed = self.secrets(&["get", name]);
        assert_eq!(sealed.stdout, live[0].secret, "sealed for {name}: {sealed:?}");
    }

    /// That nothing half-written is left where files are kept and delivered. The instance of a store that has no
    /// identity yet is whole: the next run goes on from it.
    pub(crate) fn assert_no_leftovers(&self, context: &str) {
        let is_left = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('.') && name != ".instance.first"
        };
        for folder in ["store", "run"] {
            let left: Vec<_> =
                files_below(&self.path(folder)).into_iter().filter(|path| is_left(path)).collect();
            assert!(left.is_empty(), "{context}: {left:?}");
        }
    }

    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::start(self.command(&["run"]))
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A daemon that is ended with the test.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(text, || self.log().contains(text), || self.log());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().map(JoinHandle::join);
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the daemon does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and the end that follows.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let code = self.wait();
        (code, self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Reads again after EINTR: a read with a time limit fails with it where the process is stopped and continued (signal(7)),
/// as when its machine is frozen for a moment, although nothing has happened to the connection.
pub(crate) fn uninterrupted<T>(mut read: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A command that begins with every signal as it is by default. Whoever runs the tests may ignore some (`nohup`, `&` in a
/// script): what is started here could then neither trap them nor be ended by them.
pub(crate) fn undisturbed(program: &str) -> Command {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    // Rust ignores SIGPIPE, and does not in what it starts; those from 32 on are the C library's.
    let ignored =
        u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff & !(1 << (Signal::PIPE.as_raw() - 1));
    if ignored == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("env");
    command.args(["--default-signal", program]);
    command
}

/// A copy that every user can run, and may reach where its own path leads through folders that only we may enter. Made by
/// another program: what we have open for writing a child of another test's may have, too, and then nobody can run it.
pub(crate) fn copy_program(from: impl AsRef<OsStr>, to: &Path) {
    if !to.exists() {
        let status = Command::new("install").args(["-m", "0755"]).arg(from).arg(to).status().unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Waits for another process to get somewhere.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool, why_not: impl Fn() -> String) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what:?}\n{}", why_not());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One plain request with a token, as a simple client makes it; the status.
pub(crate) fn request(address: SocketAddr, method: &str, target: &str, token: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Token {token}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn can_write(host: &Host, token: &str, database: &str) -> bool {
    let target = format!("/api/v2/write?org=x&bucket={database}&precision=ns");
    request(host.sandbox.data_address(), "POST", &target, token, "m f=1 1") == 204
}

pub(crate) fn can_read(host: &Host, token: &str, database: &str) -> bool {
    let target = format!("/query?db={database}&q=SELECT%20*%20FROM%20m");
    request(host.sandbox.data_address(), "GET", &target, token, "") == 200
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
