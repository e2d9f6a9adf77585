//! The main job on the sandbox, step by step: a list, a daemon, sealed and delivered tokens, and points written with
//! one of them. Builds the programs it starts, needs nothing installed, and leaves nothing behind.
//!
//! `cargo run --example quickstart`

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::{
    env,
    error::Error,
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use influx_sandbox::{Activation, Options, Sandbox, Token};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Longer than this nothing here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Done {
    let programs = build()?;
    let folder = tempfile::Builder::new().prefix("influx-tokend-quickstart").tempdir_in(memory())?;
    let sandbox = Sandbox::start(Options {
        databases: vec!["telemetry".into(), "alerts".into()],
        activation: Activation::all(Duration::from_secs(2)),
        ..Options::default()
    })?;
    step("a simulated InfluxDB Clustered, whose tokens work two seconds after they were made");
    println!("    {}", sandbox.url());

    let telegraf = Telegraf::find();
    let list = write_list(folder.path(), &sandbox, telegraf.as_ref())?;
    step("the list of the tokens this host must have (tokens.toml)");
    print_indented(&fs::read_to_string(&list)?);

    let daemon = Daemon::start(&programs, &list)?;
    step("the daemon: influx-tokend run; and influx-secrets wait, until both tokens can be used");
    let socket = folder.path().join("run/secrets.sock");
    wait_for("the socket", || socket.exists())?;
    let secrets = || {
        let mut command = Command::new(programs.join("influx-secrets"));
        command.arg("--socket").arg(&socket);
        command
    };
    run(secrets().args(["wait", "--timeout", "30s", "edge_writer", "grafana_reader"]))?;

    step("what it minted");
    for token in sandbox.tokens() {
        println!("    {} {:?}", token.id, token.description);
    }
    step("what it knows: influx-tokend status");
    print_indented(&run(Command::new(programs.join("influx-tokend"))
        .arg("--config")
        .arg(&list)
        .arg("status"))?);

    show_store(folder.path())?;
    let secret = show_reference(secrets())?;
    write_points(folder.path(), &sandbox, &secret, telegraf.as_ref())?;

    step("the end: SIGTERM");
    daemon.stop()?;
    println!("    the daemon has ended; {} is removed", folder.path().display());
    Ok(())
}

fn step(text: &str) {
    println!("\n==> {text}");
}

fn print_indented(text: &str) {
    text.lines().for_each(|line| println!("    {line}"));
}

/// The two programs, in the same profile as this one.
fn build() -> Done<PathBuf> {
    let folder = env::current_exe()?.ancestors().nth(2).ok_or("no folder")?.to_owned();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--bins", "--package", "influx-tokend"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    if !cargo.status()?.success() {
        return Err("the programs cannot be built".into());
    }
    Ok(folder)
}

/// Delivered secrets belong into memory, where there is such a folder.
fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if fs::metadata(shm).is_ok_and(|metadata| metadata.is_dir() && !metadata.permissions().readonly()) {
        shm.to_owned()
    } else {
        env::temp_dir()
    }
}

fn write_list(folder: &Path, sandbox: &Sandbox, telegraf: Option<&Telegraf>) -> Done<PathBuf> {
    let token = folder.join("management-token");
    create_private(&token, sandbox.management_token().as_bytes())?;
    fs::create_dir(folder.join("run"))?;
    let list = folder.join("tokens.toml");
    let (at, url) = (folder.display(), sandbox.url());
    let files = if telegraf.is_some_and(|telegraf| telegraf.snippet == "docker.conf") {
        format!("[deliver.files]\npath = \"{at}/run/secrets\"\n")
    } else {
        String::new()
    };
    fs::write(
        &list,
        format!(
            r#"[server]
product = "clustered"
url = "{url}"
management_token = {{ file = "{at}/management-token" }}

[store]
path = "{at}/store"

[deliver.socket]
path = "{at}/run/secrets.sock"
{files}
[lifecycle]
lifetime = "90d"
probe = {{ interval = "500ms" }}

[[token]]
name = "edge_writer"
write = ["telemetry"]
description = "edge writer of {{host}}"

[[token]]
name = "grafana_reader"
read = ["telemetry", "alerts"]
"#
        ),
    )?;
    Ok(list)
}

fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

struct Daemon(Child);

impl Daemon {
    fn start(programs: &Path, list: &Path) -> Done<Self> {
        let mut command = Command::new(programs.join("influx-tokend"));
        command.arg("--config").arg(list).args(["--log", "error", "run"]);
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    fn stop(mut self) -> Done {
        let pid = rustix::process::Pid::from_raw(self.0.id().cast_signed()).ok_or("no process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        if self.0.wait()?.success() { Ok(()) } else { Err("the daemon ended badly".into()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn show_store(folder: &Path) -> Done {
    step("what lies on disk: one age file per token (store/tokens/edge_writer.age)");
    let sealed = fs::read(folder.join("store/tokens/edge_writer.age"))?;
    let text: String = String::from_utf8_lossy(&sealed[..160])
        .chars()
        .filter(|c| *c == '\n' || c.is_ascii_graphic() || *c == ' ')
        .collect();
    print_indented(&text);
    println!("    … {} bytes in all", sealed.len());
    Ok(())
}

fn show_reference(mut secrets: Command) -> Done<String> {
    step("what a reference resolves to: influx-secrets resolve '@{influx:edge_writer}'");
    let secret = run(secrets.args(["resolve", "@{influx:edge_writer}"]))?;
    println!("    {}… ({} characters)", &secret[..14.min(secret.len())], secret.len());
    Ok(secret)
}

/// A Telegraf, and the snippet that fits it.
struct Telegraf {
    program: PathBuf,
    version: String,
    snippet: &'static str,
    is_live: bool,
}

impl Telegraf {
    /// The one on PATH, if its version can be told.
    fn find() -> Option<Self> {
        let path = env::var_os("PATH")?;
        let program =
            env::split_paths(&path).map(|folder| folder.join("telegraf")).find(|file| file.is_file())?;
        let output = Command::new(&program).arg("--version").output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        let version = said.split_whitespace().nth(1)?.to_owned();
        let mut parts = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let number = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        let snippet = if number >= (1, 39, 0) { "vault.conf" } else { "docker.conf" };
        Some(Self { program, version, snippet, is_live: number >= (1, 34, 1) })
    }

    /// The shipped snippet, with this example's paths and server in place of a host's.
    fn snippet(&self, folder: &Path, sandbox: &Sandbox) -> io::Result<String> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("telegraf").join(self.snippet);
        let text = fs::read_to_string(shipped)?
            .replace("/run/influx-tokend", &folder.join("run").to_string_lossy())
            .replace("https://cluster.example.com", &sandbox.url());
        Ok(if self.is_live { text } else { text.replace("dynamic = true", "dynamic = false") })
    }
}

/// With a real Telegraf where one is found, otherwise with plain requests.
fn write_points(folder: &Path, sandbox: &Sandbox, secret: &str, telegraf: Option<&Telegraf>) -> Done {
    let tokens = sandbox.live();
    let token: &Token =
        tokens.iter().find(|token| token.secret == secret).ok_or("the reference is of no live token")?;
    match telegraf {
        Some(telegraf) => {
            let Telegraf { version, snippet, .. } = telegraf;
            step(&format!(
                "points written by the Telegraf {version} on PATH, configured by telegraf/{snippet}"
            ));
            with_telegraf(telegraf, folder, sandbox, &token.id)?;
        }
        None => {
            step("points written by plain HTTP requests (there is no telegraf on PATH)");
            for n in 1..=5 {
                let status = post(sandbox.address(), secret, &format!("quickstart point={n}i"))?;
                if status != 204 {
                    return Err(format!("the write was answered with {status}").into());
                }
            }
        }
    }
    for written in sandbox.written(&token.id).iter().take(5) {
        println!("    {}: {}", written.database, written.line);
    }
    Ok(())
}

fn with_telegraf(telegraf: &Telegraf, folder: &Path, sandbox: &Sandbox, id: &str) -> Done {
    let config = folder.join("telegraf.conf");
    let agent = r#"[agent]
interval = "200ms"
flush_interval = "200ms"
flush_jitter = "0s"
omit_hostname = true
[[inputs.mock]]
metric_name = "quickstart"
[[inputs.mock.constant]]
name = "point"
value = 1
"#;
    fs::write(&config, agent.to_owned() + &telegraf.snippet(folder, sandbox)?)?;
    print_indented("token = \"@{influx:edge_writer}\"");
    let log = fs::File::create(folder.join("telegraf.log"))?;
    let mut child = Command::new(&telegraf.program)
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    let written = wait_for("its points", || sandbox.written(id).len() >= 5);
    let _ended = child.kill();
    child.wait()?;
    written.map_err(|error| {
        format!("{error}\n{}", fs::read_to_string(folder.join("telegraf.log")).unwrap_or_default()).into()
    })
}

fn post(address: SocketAddr, token: &str, body: &str) -> Done<u16> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /api/v2/write?org=any&bucket=telemetry HTTP/1.1\r\nhost: {address}\r\nauthorization: Token {token}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).ok_or("no status")?.parse()?)
}

fn run(command: &mut Command) -> Done<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Done {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
