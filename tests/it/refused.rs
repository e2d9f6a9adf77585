//! A management token that is refused for good: where only a restart reads a fresh one, the daemon ends to be restarted.

use std::fs;

use jiff::SignedDuration;

use crate::{
    host::{Daemon, Host, wait_until},
    local_clock::LocalClock,
    peers::missing,
};

const CREDENTIAL: &str = "{ credential = \"management-token\" }";
/// More passes than it takes for a refusal to count as lasting.
const PASSES: usize = 4;

/// A daemon as systemd starts it, whose management token is refused.
struct Refused {
    daemon: Daemon,
    clock: LocalClock,
    host: Host,
}

impl Refused {
    /// With the management token from the file or, where this is said, the credential. `None`: time cannot be moved here.
    fn start(source: Option<&str>) -> Option<Self> {
        let host = Host::new();
        let Some(clock) = LocalClock::that_takes_time(host.folder.path()) else {
            missing("libfaketime");
            return None;
        };
        host.list_of(1);
        let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
        let file = format!("{{ file = {:?} }}", host.path("management-token"));
        assert!(list.contains(&file), "{list}");
        host.write("tokens.toml", &list.replace(&file, source.unwrap_or(&file)));
        host.write("management-token", "of-another-server");
        let mut command = host.command(&["run"]);
        // Its credentials are in a folder of their own; a file of this name is beside the list.
        command.env("CREDENTIALS_DIRECTORY", host.folder.path()).env("INVOCATION_ID", "0");
        clock.shown_to(&mut command);
        let daemon = Daemon::start(command);
        daemon.wait_for("ready");
        Some(Self { daemon, clock, host })
    }

    /// Passes that a person asks for, each of which the daemon answers.
    fn ask(&self) {
        for _ in 0..PASSES {
            let ran = self.host.tokend(&["apply"]);
            assert_eq!(ran.code, Some(1), "{ran:?}\n{}", self.daemon.log());
            assert!(ran.stderr.contains("list tokens: 401"), "{ran:?}\n{}", self.daemon.log());
        }
    }
}

#[test]
fn after_an_hour_the_daemon_ends_to_be_started_with_a_fresh_credential() {
    let Some(mut refused) = Refused::start(Some(CREDENTIAL)) else { return };
    refused.ask();
    assert!(!refused.daemon.has_ended(), "it may be back soon");
    refused.clock.shift(SignedDuration::from_hours(1));
    refused.host.tokend(&["apply"]);
    // What systemd starts again with `Restart=on-failure` as well.
    assert_eq!(refused.daemon.wait(), Some(1));
    let log = refused.daemon.log();
    assert!(log.contains("the management token is refused: ending, to be started with a fresh one"), "{log}");
    assert!(log.contains(" stopping\n"), "{log}");

    refused.host.write("management-token", &refused.host.sandbox.management_token());
    let mut command = refused.host.command(&["run"]);
    command.env("CREDENTIALS_DIRECTORY", refused.host.folder.path());
    let daemon = Daemon::start(command);
    wait_until("a token", || refused.host.delivered("t0").is_some(), || daemon.log());
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn what_is_read_in_each_pass_takes_no_restart() {
    let Some(mut refused) = Refused::start(None) else { return };
    refused.clock.shift(SignedDuration::from_hours(1));
    refused.ask();
    assert!(!refused.daemon.has_ended());
    refused.host.write("management-token", &refused.host.sandbox.management_token());
    assert_eq!(refused.host.tokend(&["apply"]).code, Some(0), "{}", refused.daemon.log());
    assert_eq!(refused.daemon.stop().0, Some(0));
}
