//! A server on a socket that answers what a test says, and shows what it was asked.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use tempfile::TempDir;

use crate::host::{PATIENCE, Ran, ran, undisturbed, uninterrupted};

/// One question: the request as it came, and a way to answer.
pub(crate) struct Asked {
    pub(crate) request: String,
    stream: UnixStream,
}

impl Asked {
    pub(crate) fn target(&self) -> &str {
        self.request.split(' ').nth(1).unwrap()
    }

    /// These bytes, and the end of the connection.
    pub(crate) fn raw(mut self, bytes: &[u8]) {
        // Whoever asked may have had enough.
        let _gone = self.stream.write_all(bytes);
    }

    pub(crate) fn answer(self, status: u16, body: &str) {
        self.raw(answer(status, body).as_bytes());
    }

    pub(crate) fn changes(self, cursor: &str, changed: &[(&str, u64)]) {
        let changed: serde_json::Map<_, _> =
            changed.iter().map(|(name, generation)| ((*name).to_owned(), (*generation).into())).collect();
        self.answer(200, &serde_json::json!({ "cursor": cursor, "changed": changed }).to_string());
    }

    /// Kills the one who asked while it waits for the answer, and looks at what it has said.
    pub(crate) fn until_killed(self, running: Running, look: impl FnOnce(Ran)) {
        look(running.kill());
    }

    /// Until the one who asked has gone.
    pub(crate) fn until_gone(mut self) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let read = uninterrupted(|| self.stream.read(&mut [0]));
        assert!(matches!(read, Ok(0) | Err(_)), "asks twice over one connection");
    }
}

pub(crate) fn answer(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn errors(sentence: &str) -> String {
    serde_json::json!({ "errors": [sentence] }).to_string()
}

/// The server. Ends with the test.
pub(crate) struct Scripted {
    socket: PathBuf,
    asked: Receiver<Asked>,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (sender, asked) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let accepting = Some(std::thread::spawn(move || accept(&listener, &stop, &sender)));
        Self { socket: socket.to_owned(), asked, stopping, accepting }
    }

    /// The next question; none in time is a failure.
    pub(crate) fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// The next question, which must be this one.
    pub(crate) fn asks(&self, target: &str) -> Asked {
        let asked = self.next();
        assert_eq!(asked.target(), target, "{}", asked.request);
        asked
    }

    /// A question, if there is one.
    pub(crate) fn try_next(&self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }

    /// That nobody has asked anything that was not taken by [`Self::next`].
    pub(crate) fn assert_idle(&self) {
        if let Some(asked) = self.try_next() {
            panic!("asked {}", asked.request)
        }
    }

    /// Stops; the socket is left behind, as by a daemon that was killed.
    pub(crate) fn kill(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            self.stopping.store(true, Ordering::SeqCst);
            drop(UnixStream::connect(&self.socket).unwrap());
            accepting.join().unwrap();
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

fn accept(listener: &UnixListener, stop: &AtomicBool, sender: &Sender<Asked>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match uninterrupted(|| stream.read(&mut byte)) {
                Ok(1) => request.push(byte[0]),
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // Whoever was killed between connecting and asking has asked nothing.
        if request.is_empty() {
            continue;
        }
        let request = String::from_utf8(request).unwrap();
        if sender.send(Asked { request, stream }).is_err() {
            return;
        }
    }
}

/// A folder with a socket to be, and `influx-secrets` that asks there.
pub(crate) struct Reader {
    pub(crate) folder: TempDir,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("secrets.sock")
    }

    pub(crate) fn serve(&self) -> Scripted {
        let _left_behind = fs::remove_file(self.socket());
        Scripted::start(&self.socket())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = undisturbed(env!("CARGO_BIN_EXE_influx-secrets"));
        command.args(arguments).env("INFLUX_SECRETS_SOCKET", self.socket());
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::spawn(&mut self.command(arguments))
    }

    /// Runs it with nobody there to answer.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end()
    }

    /// Runs it against one answer to one question.
    pub(crate) fn run_with(&self, arguments: &[&str], answer: &[u8]) -> Ran {
        let server = self.serve();
        let running = self.start(arguments);
        server.next().raw(answer);
        let ran = running.end();
        server.assert_idle();
        ran
    }
}

/// A program that runs; killed with the test.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    /// Its exit code, if it has ended.
    pub(crate) fn try_end(&mut self) -> Option<i32> {
        self.0.as_mut().unwrap().try_wait().unwrap().and_then(|status| status.code())
    }

    pub(crate) fn end(mut self) -> Ran {
        ran(self.0.take().unwrap().wait_with_output().unwrap())
    }

    /// Kills it, and shows what it has said.
    pub(crate) fn kill(mut self) -> Ran {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        ran(child.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}
