//! Somebody who uses what is delivered, while programs are struck and started again.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use influx_sandbox::Event;

use crate::host::{Host, request};

/// Between two uses of a value: nobody reads all the time.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether the server lets it write, asked in another way than the program asks.
pub(super) fn accepts(address: SocketAddr, secret: &str) -> bool {
    request(address, "POST", "/write?db=telemetry", secret, "m f=1 1") == 204
}

/// Somebody who reads a value on each use, from its file, until it is dropped.
pub(super) struct Consumer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<usize, String>>>,
}

impl Consumer {
    pub(super) fn start(host: &Host, names: Vec<String>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (address, folder) = (host.sandbox.address(), host.path("run/secrets"));
        let (events, told) = (host.sandbox.events(), stop.clone());
        let thread = std::thread::spawn(move || consume(address, &folder, &names, &events, &told));
        Self { stop, thread: Some(thread) }
    }

    fn stop(&mut self) -> Option<Result<usize, String>> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| Err("the consumer has panicked".to_owned());
        self.thread.take().map(|thread| thread.join().unwrap_or_else(panicked))
    }

    pub(super) fn assert_served(mut self, context: &str) {
        let uses = self.stop();
        assert!(matches!(uses, Some(Ok(1..))), "{context}: {uses:?}");
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _uses = self.stop();
    }
}

/// How often a value was used, each of which was accepted: one name after the other, and all of them whenever a token
/// has ended.
fn consume(
    address: SocketAddr,
    folder: &Path,
    names: &[String],
    events: &Receiver<Event>,
    stop: &AtomicBool,
) -> Result<usize, String> {
    let accepted = |name: &String| {
        let read = || fs::read_to_string(folder.join(name)).unwrap_or_default();
        let secret = read();
        if !accepts(address, &secret) && read() == secret {
            return Err(format!("{name}: {secret:?} was delivered and refused"));
        }
        Ok(())
    };
    let (mut uses, mut last) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        match events.recv_timeout(PAUSE) {
            Ok(Event::Revoked { .. }) => names.iter().try_for_each(accepted)?,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if last.elapsed() >= PAUSE {
            accepted(&names[uses % names.len()])?;
            (uses, last) = (uses + 1, Instant::now());
        }
    }
    Ok(uses)
}
