//! What a program is at, as far as that can be seen from outside, and how it is struck there.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use influx_sandbox::Event;
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{ModifyKind, RenameMode},
};
use rustix::process::Signal;

use crate::host::{Daemon, Host, PATIENCE};

/// What a program is at when it is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// The record takes note of what has changed.
    Noted,
    Intent,
    PostSent,
    Minted,
    MintRead,
    Seal,
    Probe,
    Promote,
    Deliver,
    /// The current token is asked for once more.
    Verify,
    DeleteSent,
    Revoked,
    EndRead,
    EndSeal,
    /// The delivered file is taken away.
    Withdraw,
    PatchSent,
    Patched,
    PatchRead,
    GrantsSeal,
}

/// From the wish for a new token to its delivery.
pub(super) const RENEWAL: [Step; 8] = [
    Step::Intent,
    Step::PostSent,
    Step::Minted,
    Step::MintRead,
    Step::Seal,
    Step::Probe,
    Step::Promote,
    Step::Deliver,
];

impl Step {
    /// As the server sees it.
    fn event(self) -> Option<fn(&Event) -> bool> {
        let event: fn(&Event) -> bool = match self {
            Self::PostSent => |event| is_received(event, "POST", "/tokens"),
            Self::Minted => |event| matches!(event, Event::Minted { .. }),
            Self::MintRead => |event| is_answered(event, "POST", "/tokens"),
            Self::Probe | Self::Verify => |event| is_received(event, "POST", "/api/v2/write"),
            Self::DeleteSent => |event| is_received(event, "DELETE", "/tokens/"),
            Self::Revoked => |event| matches!(event, Event::Revoked { .. }),
            Self::EndRead => |event| is_answered(event, "DELETE", "/tokens/"),
            Self::PatchSent => |event| is_received(event, "PATCH", "/tokens/"),
            Self::Patched => |event| matches!(event, Event::Patched { .. }),
            Self::PatchRead => |event| is_answered(event, "PATCH", "/tokens/"),
            Self::Noted
            | Self::Intent
            | Self::Seal
            | Self::Promote
            | Self::Deliver
            | Self::EndSeal
            | Self::Withdraw
            | Self::GrantsSeal => return None,
        };
        Some(event)
    }

    /// Whether a record is sealed in it.
    fn is_a_seal(self) -> bool {
        self.event().is_none() && !matches!(self, Self::Deliver | Self::Withdraw)
    }

    /// So often it comes for each name, at least.
    fn times(self) -> usize {
        if self == Self::Probe { 2 } else { 1 }
    }
}

fn is_received(event: &Event, method: &str, path: &str) -> bool {
    matches!(event, Event::Received { what } if what.starts_with(method) && what.contains(path))
}

fn is_answered(event: &Event, method: &str, path: &str) -> bool {
    matches!(event, Event::Answered { what, .. } if what.starts_with(method) && what.contains(path))
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The dot-file of its next content appears.
    Staged,
    /// That gets its name.
    Placed,
    Removed,
}

/// Looks out for a step.
pub(super) struct Watch {
    moments: Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// For one of `steps`, which a program is about to take for each of these names. At which name is drawn.
    pub(super) fn new(
        host: &Host,
        steps: &[Step],
        step: Step,
        names: &[String],
        random: &mut fastrand::Rng,
    ) -> Self {
        if let Some(event) = step.event() {
            return Self::on_server(host, event, random.usize(..step.times() * names.len()));
        }
        let name = &names[random.usize(..names.len())];
        let written = if random.bool() { Change::Staged } else { Change::Placed };
        match step {
            Step::Deliver => Self::on_file(host, "run/secrets", name, written, 1),
            Step::Withdraw => Self::on_file(host, "run/secrets", name, Change::Removed, 1),
            _ => {
                let sealed = steps.iter().take_while(|before| **before != step);
                let nth = 1 + sealed.filter(|before| before.is_a_seal()).count();
                Self::on_file(host, "store/tokens", &format!("{name}.age"), written, nth)
            }
        }
    }

    /// After so many such events.
    fn on_server(host: &Host, event: fn(&Event) -> bool, skip: usize) -> Self {
        let events = host.sandbox.events();
        let (sender, moments) = mpsc::channel();
        std::thread::spawn(move || {
            if events.iter().filter(event).nth(skip).is_some() {
                let _ended = sender.send(());
            }
        });
        Self { moments, _watcher: None }
    }

    /// The nth time that it happens to the file.
    fn on_file(host: &Host, folder: &str, file: &str, change: Change, nth: usize) -> Self {
        let folder = host.path(folder);
        fs::create_dir_all(&folder).unwrap();
        for made in [&folder, folder.parent().unwrap()] {
            let mode = if folder.ends_with("tokens") { 0o700 } else { 0o755 };
            fs::set_permissions(made, fs::Permissions::from_mode(mode)).unwrap();
        }
        let (file, dotted) = (file.to_owned(), format!(".{file}."));
        let (sender, moments) = mpsc::channel();
        let mut seen = 0;
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let named = |wanted: &dyn Fn(&str) -> bool| {
                event
                    .paths
                    .iter()
                    .any(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
            };
            let is_it = match (change, event.kind) {
                (Change::Staged, EventKind::Create(_)) => named(&|name| name.starts_with(&dotted)),
                (Change::Placed, EventKind::Modify(ModifyKind::Name(RenameMode::To)))
                | (Change::Removed, EventKind::Remove(_)) => named(&|name| name == file),
                _ => false,
            };
            seen += usize::from(is_it);
            if is_it && seen == nth {
                let _ended = sender.send(());
            }
        })
        .unwrap();
        watcher.watch(&folder, RecursiveMode::NonRecursive).unwrap();
        Self { moments, _watcher: Some(watcher) }
    }

    /// Strikes a drawn moment after the step and waits for the end. How that was; `None` where the program had ended by
    /// itself before.
    pub(super) fn strike(
        self,
        program: &mut Daemon,
        signal: Signal,
        random: &mut fastrand::Rng,
    ) -> Option<Option<i32>> {
        let moment = Duration::from_micros(random.u64(..500));
        let begun = Instant::now();
        while self.moments.recv_timeout(Duration::from_millis(5)).is_err() {
            if program.has_ended() {
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "the step is not reached\n{}", program.log());
        }
        std::thread::sleep(moment);
        if program.has_ended() {
            return None;
        }
        program.signal(signal);
        let code = program.wait();
        // It may have been done in the moment before.
        (signal != Signal::KILL || code.is_none()).then_some(code)
    }
}
