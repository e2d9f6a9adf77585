//! Another machine that works with a copy of this store.

use std::{
    fs,
    process::{Command, Stdio},
};

use hyper::Method;
use influx_sandbox::{Effect, Fault, Token};
use jiff::SignedDuration;

use crate::{
    host::{Daemon, Host, Ran, can_write, ran, wait_until},
    kind::Kind,
    stores::copy_folder,
};

const TOKENS: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n\
                      [[token]]\nname = \"t1\"\nwrite = [\"telemetry\"]\n";

/// The other machine: a store, a list and folders of its own, the same server.
struct Twin<'h>(&'h Host);

impl<'h> Twin<'h> {
    /// With a copy of the store as it is now.
    fn of(host: &'h Host) -> Self {
        copy_folder(&host.path("store"), &host.path("twin/store"));
        fs::create_dir(host.path("twin/run")).unwrap();
        let (here, there) = (host.folder.path().display(), host.path("twin"));
        let list = fs::read_to_string(host.path("tokens.toml")).unwrap();
        let list = ["store", "run", "machine-id"].into_iter().fold(list, |list, name| {
            list.replace(&format!("\"{here}/{name}"), &format!("\"{}/{name}", there.display()))
        });
        host.write("twin/tokens.toml", &list);
        Self(host)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_influx-tokend"));
        command.arg("--config").arg(self.0.path("twin/tokens.toml")).args(arguments).stdin(Stdio::null());
        ran(command.output().unwrap())
    }

    fn delivered(&self, name: &str) -> String {
        fs::read_to_string(self.0.path("twin/run/secrets").join(name)).unwrap()
    }

    /// The token of which it hands out the secret.
    fn token(&self, name: &str) -> Token {
        let secret = self.delivered(name);
        self.0.sandbox.live().into_iter().find(|token| token.secret == secret).expect("it lives")
    }

    /// A new value there: a token of the common instance that the store here never sealed a marker for.
    fn rotate(&self, name: &str) -> Token {
        let before = self.delivered_if_any(name);
        let ran = self.run(&["rotate", name]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_ne!(Some(self.delivered(name)), before);
        self.token(name)
    }

    fn delivered_if_any(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.path("twin/run/secrets").join(name)).ok()
    }
}

fn instance(host: &Host) -> String {
    fs::read_to_string(host.path("store/instance")).unwrap()
}

fn revocations(host: &Host) -> usize {
    host.sandbox.requests().iter().filter(|request| request.method == "DELETE").count()
}

/// More than the ten minutes that an unknown token is looked at before it says anything.
fn wait_long(host: &Host, daemon: Option<&Daemon>) {
    for _ in 0..3 {
        host.shift_clock(SignedDuration::from_mins(11));
        let ran = host.tokend(&["apply"]);
        assert_eq!(ran.code, Some(3), "{ran:?}\n{:?}", daemon.map(Daemon::log));
    }
}

fn separates(by_daemon: bool) {
    let host = Host::on(&Kind::CLUSTERED);
    host.list(TOKENS);
    host.apply();
    let daemon = by_daemon.then(|| host.daemon());
    daemon.iter().for_each(|daemon| daemon.wait_for("ready"));
    assert_eq!(host.tokend(&["apply"]).code, Some(0));
    let twin = Twin::of(&host);
    let before = instance(&host);

    let ran = host.tokend(&["strays", "--separate"]);
    assert_eq!(ran.code, Some(1), "nothing to be separated from: {ran:?}");
    assert!(ran.stderr.contains("this store minted all live tokens of its instance"), "{ran:?}");
    assert!(ran.stderr.contains("hint: "), "{ran:?}");

    // The first token there is made while the daemon here runs: one alone may be a fault of the server's.
    let theirs = twin.rotate("t0");
    wait_long(&host, daemon.as_ref());
    assert_eq!(instance(&host), before, "one marker alone");
    let check = host.tokend(&["check"]);
    let said = format!("{}{}", check.stdout, check.stderr);
    assert!(said.contains(&theirs.id) && said.contains("run `influx-tokend strays --separate`"), "{said}");
    let strays = host.tokend(&["strays"]);
    assert!(strays.code == Some(3) && strays.stdout.contains("strays --separate"), "{strays:?}");
    let both = host.tokend(&["strays", "--separate", "--revoke", &theirs.id]);
    assert_eq!(both.code, Some(2), "{both:?}");

    let old: Vec<Token> = host.sandbox.live();
    let held: Vec<String> = ["t0", "t1"].map(|name| host.delivered(name).unwrap()).to_vec();
    let ran = host.tokend(&["strays", "--separate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("took a new instance, revoked nothing"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("of the other machine: {} (t0 on ", theirs.id)), "{ran:?}");
    assert!(ran.stdout.contains("to be replaced here: t0, t1"), "{ran:?}");
    assert_eq!(ran.stderr.contains("run `influx-tokend apply` to replace"), !by_daemon, "{ran:?}");
    assert_ne!(instance(&host), before);

    if by_daemon {
        let is_replaced = |name: &str, held: &str| host.delivered(name).is_some_and(|now| now != held);
        let all = || ["t0", "t1"].iter().zip(&held).all(|(name, held)| is_replaced(name, held));
        wait_until("other tokens", all, || daemon.as_ref().unwrap().log());
    }
    host.apply();
    host.shift_clock(SignedDuration::from_hours(24));
    assert_eq!(twin.run(&["apply"]).code, Some(0));
    host.apply();
    for (name, held) in ["t0", "t1"].iter().zip(held) {
        let live = host.live(name);
        assert_eq!(live.len(), 1, "one of the new instance: {live:?}");
        let delivered = host.delivered(name).unwrap();
        assert!(
            delivered == live[0].secret && delivered != held && can_write(&host, &delivered, "telemetry")
        );
        assert!(can_write(&host, &twin.delivered(name), "telemetry"), "{name}: the other machine's works");
    }
    assert!(old.iter().all(|token| host.is_live(&token.id)), "the former ones live");
    assert_eq!(revocations(&host), 0);
    assert_eq!(twin.token("t0").id, theirs.id, "it goes on with its own");
    let ran = host.tokend(&["strays", "--separate"]);
    assert_eq!(ran.code, Some(1), "once: {ran:?}");
    if let Some(daemon) = daemon {
        let (code, log) = daemon.stop();
        assert!(code == Some(0) && log.contains("asked to strays --separate"), "{log}");
    }
}

#[test]
fn a_person_separates_a_store_from_its_copy() {
    separates(false);
}

#[test]
fn a_person_separates_a_store_from_its_copy_beside_a_daemon() {
    separates(true);
}

#[test]
fn separation_is_printed_for_programs() {
    let host = Host::new();
    host.list(TOKENS);
    host.apply();
    let theirs = Twin::of(&host).rotate("t1");
    let ran = host.tokend(&["strays", "--separate", "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["unknown"][0]["id"], theirs.id.as_str());
    assert_eq!(told["shared"], serde_json::json!(["t0", "t1"]));
}

/// What was minted and lost here is a stray of this store: it says nothing of another machine.
#[test]
fn a_lost_token_of_this_store_separates_nothing() {
    let host = Host::new();
    host.list(TOKENS);
    host.apply();
    let before = instance(&host);
    host.sandbox.fault(Fault::on(Some(Method::POST), &host.api("/tokens"), Effect::CutAfter).times(1));
    host.tokend(&["rotate", "t0"]);
    assert_eq!(host.live("t0").len(), 2);
    let ran = host.tokend(&["strays", "--separate"]);
    assert!(ran.code == Some(1) && instance(&host) == before, "{ran:?}");
}

/// The copy has the intent of a mint that goes on here: its token is this machine's.
#[test]
fn a_copy_made_during_a_mint_leaves_its_token_alone() {
    let host = Host::new();
    host.write("machine-id", "0123456789abcdef0123456789abcdef\n");
    let machine = format!("[store]\nmachine_id = \"{}\"\n", host.path("machine-id").display());
    host.write("tokens.toml", &host.list_text(&host.sandbox.url(), TOKENS).replace("[store]\n", &machine));
    host.apply();
    let answered_late = Effect::DelayAfter(std::time::Duration::from_millis(700));
    host.sandbox.fault(Fault::on(Some(Method::POST), &host.api("/tokens"), answered_late).times(1));
    let mut rotate =
        host.command(&["rotate", "t0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a creation", || host.live("t0").len() == 2, String::new);
    let twin = Twin::of(&host);
    assert_eq!(rotate.wait().unwrap().code(), Some(0));
    let ours = host.delivered("t0").unwrap();
    host.write("twin/machine-id", "ffffffffffffffffffffffffffffffff\n");
    for _ in 0..3 {
        let ran = twin.run(&["apply"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        host.shift_clock(SignedDuration::from_mins(11));
    }
    assert_ne!(twin.delivered("t0"), ours);
    assert!(can_write(&host, &ours, "telemetry"), "revoked by the copy");
    assert_eq!(revocations(&host), 0);
}
