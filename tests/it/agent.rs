//! A real Telegraf that writes numbered points, configured by the snippets that are shipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use influx_sandbox::{Recorded, Written};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    host::{Host, PATIENCE, copy_program, wait_until},
    rings::{Owner, open_to_all},
};

/// Every this long a point.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// A Telegraf of its own name, so that several can write at once.
pub(crate) struct Agent {
    name: String,
    child: Child,
    log: PathBuf,
    counter: PathBuf,
    started: Instant,
}

/// What it wrote: the numbers of its points, by the id of the token they came with.
pub(crate) type Points = BTreeMap<String, BTreeSet<u64>>;

impl Agent {
    /// `snippet` is what is in `telegraf.d`; it writes points named `name`.
    pub(crate) fn start(host: &Host, telegraf: &Path, name: &str, snippet: &str) -> Self {
        Self::start_by(host, &mut Command::new(telegraf), name, snippet)
    }

    /// As a user that has its own keyring.
    pub(crate) fn start_as(host: &Host, owner: &Owner, telegraf: &Path, name: &str, snippet: &str) -> Self {
        // It cannot make files in a folder of ours.
        let counter = host.path(&format!("{name}.count"));
        fs::write(&counter, "").unwrap();
        fs::set_permissions(counter, fs::Permissions::from_mode(0o666)).unwrap();
        let mut command = owner.command(&Self::copied(host, telegraf));
        Self::start_by(host, command.current_dir(host.folder.path()), name, snippet)
    }

    /// A copy that every user can run.
    pub(crate) fn copied(host: &Host, telegraf: &Path) -> PathBuf {
        open_to_all(host.folder.path());
        let copy = host.path("telegraf");
        copy_program(telegraf, &copy);
        copy
    }

    /// `command` lacks its configuration.
    pub(crate) fn start_by(host: &Host, command: &mut Command, name: &str, snippet: &str) -> Self {
        let (log, counter) = (host.path(&format!("{name}.log")), host.path(&format!("{name}.count")));
        let script = host.path(&format!("{name}.sh"));
        let count = counter.display();
        let text = format!(
            "#!/bin/sh\nn=$(($(cat {count} 2>/dev/null || echo 0) + 1))\necho $n >{count}\necho \"{name} n=${{n}}i\"\n"
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let agent = format!(
            "[agent]\ninterval = \"200ms\"\nflush_interval = \"200ms\"\nflush_jitter = \"0s\"\nomit_hostname = true\n\
             [[inputs.exec]]\ncommands = [\"{}\"]\ndata_format = \"influx\"\n{snippet}",
            script.display()
        );
        let configuration = host.path(&format!("{name}.conf"));
        fs::write(&configuration, agent).unwrap();
        let output = fs::File::create(&log).unwrap();
        let child = command
            .arg("--config")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, log, counter, started: Instant::now() }
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        wait_until(text, || self.log().contains(text), || self.log());
    }

    pub(crate) fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn points(&self, host: &Host) -> Points {
        let all = host.sandbox.all_written().into_iter().map(|(id, lines)| (id, self.numbers(&lines)));
        all.filter(|(_, numbers)| !numbers.is_empty()).collect()
    }

    fn numbers(&self, lines: &[Written]) -> BTreeSet<u64> {
        let prefix = format!("{} n=", self.name);
        let number = |line: &str| line.strip_prefix(&prefix)?.split_once('i')?.0.parse().ok();
        lines.iter().filter_map(|written| number(&written.line)).collect()
    }

    /// Waits until so many points have come with a token.
    pub(crate) fn wait_for_points(&self, host: &Host, id: &str, count: usize) {
        wait_until(
            &format!("{count} points of {} with {id}", self.name),
            // Of this token alone: in a long run there are many others to look through.
            || self.numbers(&host.sandbox.written(id)).len() >= count,
            || self.log(),
        );
    }

    /// Ends it and checks that every point has arrived that it made, as many as it should have made in its time.
    pub(crate) fn stop_complete(mut self, host: &Host) -> Points {
        let points = self.stop(host);
        let numbers: BTreeSet<u64> = points.values().flatten().copied().collect();
        let last = numbers.last().copied().unwrap_or_default();
        let missing: Vec<u64> = (1..=last).filter(|n| !numbers.contains(n)).collect();
        assert!(
            missing.is_empty(),
            "{}: of {last} points these are missing: {missing:?}\n{}",
            self.name,
            self.log()
        );
        let made: u64 = fs::read_to_string(&self.counter).unwrap().trim().parse().unwrap();
        assert!(made - last <= 1, "{}: {made} points were made, {last} have arrived", self.name);
        points
    }

    /// Takes what is in `telegraf.d` for another.
    pub(crate) fn rewrite(&self, host: &Host, adapt: impl FnOnce(String) -> String) {
        let path = host.path(&format!("{}.conf", self.name));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, adapt(text)).unwrap();
    }

    /// Ends it as systemd does.
    pub(crate) fn stop(&mut self, host: &Host) -> Points {
        let expected = self.age().as_millis() / INTERVAL.as_millis() * 9 / 10;
        kill_process(self.pid(), Signal::TERM).unwrap();
        let status = self.end();
        assert!(status.success(), "{status}\n{}", self.log());
        let made: u128 = fs::read_to_string(&self.counter).unwrap().trim().parse().unwrap();
        assert!(made >= expected, "{}: {made} points, at least {expected} should have been made", self.name);
        self.points(host)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A file of `telegraf/` as a person would adapt it: this host's paths and server, another token, and one of its outputs.
pub(crate) fn snippet(host: &Host, file: &str, output: &str, token: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("telegraf").join(file);
    let text = fs::read_to_string(path).unwrap();
    let wanted = format!("[[outputs.{output}]]");
    let blocks: Vec<String> = text
        .split("\n\n")
        .filter_map(|block| {
            let is_output = |block: &str| block.trim_start_matches("# ").starts_with("[[outputs.");
            match block {
                block if !is_output(block) => Some(block.to_owned()),
                block if block.trim_start_matches("# ").starts_with(&wanted) => {
                    let lines = block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
                    Some(lines.collect::<Vec<_>>().join("\n"))
                }
                _ => None,
            }
        })
        .collect();
    let text = blocks.join("\n\n");
    assert!(text.contains(&wanted), "{file} has no {output}");
    let run = host.path("run");
    text.replace("/run/influx-tokend", run.to_str().unwrap())
        .replace("https://cluster.example.com", &host.sandbox.url())
        .replace("influx:edge_writer", &format!("influx:{token}"))
}

/// A write of points that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The id of the token it came with.
    pub(crate) token: Option<String>,
    pub(crate) body: String,
}

/// Those so far; the daemon's probes are none, they have a comment for a body.
pub(crate) fn refused(host: &Host) -> Vec<Refusal> {
    host.sandbox
        .requests()
        .into_iter()
        .filter(|request| request.path.contains("/write") && !request.body.starts_with('#'))
        // One that is not answered yet is neither.
        .filter_map(|Recorded { status, token, body, .. }| Some(Refusal { status: status?, token, body }))
        .filter(|refusal| refusal.status != 204)
        .collect()
}
