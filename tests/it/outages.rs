//! A server that is away, wholly or in part, and back: what consumers have meanwhile, what `status` says, and that all is
//! made up for.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use influx_sandbox::{Effect, Expiry, Fault, Options, Token};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::host::{Daemon, Host, can_write, wait_until};

mod data_plane;
mod failing;
mod readers;
mod slow;

const T0: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
const T1: &str = "[[token]]\nname = \"t1\"\nwrite = [\"telemetry\"]\n";

/// How the server's list is asked for.
const LIST: (&str, &str) = ("GET", "/api/v0/tokens");

/// So far a server's clock may be behind without being held to be wrong, almost: set right, what was minted is that much
/// older, for this host too.
const BEHIND: SignedDuration = SignedDuration::from_secs(10 * 60 - 2);

/// A host that runs a daemon which is made to ask its server often.
struct Running {
    host: Host,
    daemon: Daemon,
    asker: Asker,
}

impl Running {
    /// With a value of `t0` delivered.
    fn new(list: &str) -> Self {
        Self::over(Host::new(), list)
    }

    fn over(host: Host, list: &str) -> Self {
        host.write("tokens.toml", &text(&host, list));
        let running = Self::of(host);
        running.wait_for("t0", || running.host.delivered("t0").is_some());
        running
    }

    /// By the list that the host has.
    fn of(host: Host) -> Self {
        Self { daemon: host.daemon(), asker: Asker::new(&host), host }
    }

    /// The same, on a server whose clock is behind.
    fn behind(list: &str) -> Self {
        let host = Host::new();
        host.sandbox.shift_clock(-BEHIND);
        Self::over(host, list)
    }

    fn save(&self, list: &str) {
        self.host.write("tokens.toml", &text(&self.host, list));
    }

    fn wait_for(&self, what: &str, is_so: impl FnMut() -> bool) {
        wait_until(what, is_so, || format!("{}\n{}", self.told(), self.daemon.log()));
    }

    /// What `status` says to people.
    fn told(&self) -> String {
        let ran = self.host.tokend(&["status"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    }

    /// What it says to programs.
    fn status(&self) -> Value {
        self.host.status()
    }

    fn server(&self) -> Value {
        self.status()["servers"][0].clone()
    }

    fn token(&self, name: &str) -> Value {
        let status = self.status();
        let mut tokens = status["tokens"].as_array().unwrap().iter();
        tokens.find(|token| token["name"] == name).cloned().unwrap_or_default()
    }

    fn waits(&self, name: &str) -> String {
        self.token(name)["waits"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until it has been tried once more to ask the server, in vain, and that since when this is so has stayed.
    fn assert_away(&self, error: &str) {
        let is_away = |server: &Value| server["error"].as_str().is_some_and(|told| told.contains(error));
        self.wait_for(error, || is_away(&self.server()) && self.server()["asked_again"].is_string());
        let first = self.server();
        let since: Timestamp = first["since"].as_str().unwrap().parse().unwrap();
        assert!(since <= Timestamp::now());
        self.wait_for("another try", || {
            let again = &self.server()["asked_again"];
            again.is_string() && *again != first["asked_again"]
        });
        assert_eq!((&self.server()["since"], is_away(&self.server())), (&first["since"], true));
        let told = format!("(since {since:.0}, ");
        self.wait_for(&told, || {
            self.told().lines().any(|line| {
                line.starts_with("server default: ")
                    && line.contains(error)
                    && line.contains(&told)
                    && line.contains("asked again at ")
            })
        });
        assert!(!self.told().contains("server default: server"), "{}", self.told());
    }

    /// That files and socket give this value.
    fn assert_delivered(&self, name: &str, secret: &str) {
        assert_eq!(self.host.delivered(name).as_deref(), Some(secret), "{name}: {}", self.daemon.log());
        let read = self.host.secrets_by_socket(&["get", name]);
        assert_eq!((read.code, read.stdout.as_str()), (Some(0), secret), "{name}: {}", read.stderr);
    }

    /// Waits until the server has been asked so often that whatever a pass leads to would have come of it.
    fn assert_at_rest(&self) {
        self.host.sandbox.clear_requests();
        self.wait_for("more lists", || lists(&self.host) >= 3);
        let requests = self.host.sandbox.requests();
        let other = requests.iter().find(|request| (&*request.method, &*request.path) != LIST);
        assert!(other.is_none(), "{other:?}");
        assert_eq!(self.server()["error"], Value::Null);
    }

    fn stop(self) {
        let (code, log) = self.daemon.stop();
        assert_eq!(code, Some(0), "{log}");
    }
}

/// Has a daemon asked to `apply` again and again: by itself it asks each server every ten seconds at most.
struct Asker(Arc<AtomicBool>);

impl Asker {
    /// Longer than the daemon lets what comes in quick succession gather.
    const EVERY: Duration = Duration::from_millis(1300);

    fn new(host: &Host) -> Self {
        let (socket, goes_on) = (host.path("run/admin.sock"), Arc::new(AtomicBool::new(true)));
        let asked = goes_on.clone();
        std::thread::spawn(move || {
            while asked.load(Ordering::SeqCst) {
                // What becomes of it is seen on the server.
                let _not_there = Self::ask(&socket);
                std::thread::sleep(Self::EVERY);
            }
        });
        Self(goes_on)
    }

    fn ask(socket: &Path) -> io::Result<()> {
        let request = "POST /v1/command HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n\"apply\"";
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(request.as_bytes())?;
        stream.read_exact(&mut [0]).map(drop)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A list that has probes given up for now after a second.
fn text(host: &Host, rest: &str) -> String {
    host.list_text(&host.sandbox.url(), rest).replace("\"20ms\"", "\"20ms\", deadline = \"1s\"")
}

/// How often the server's list was asked for.
fn lists(host: &Host) -> usize {
    let requests = host.sandbox.requests();
    requests.iter().filter(|request| (&*request.method, &*request.path) == LIST).count()
}

/// How often tokens were to be minted whose label has this in it.
fn posts(host: &Host, label: &str) -> usize {
    let requests = host.sandbox.requests();
    let mints =
        requests.iter().filter(|request| request.method == "POST" && request.path == "/api/v0/tokens");
    mints.filter(|request| request.body.contains(label)).count()
}

fn time(told: &Value) -> Timestamp {
    told.as_str().unwrap().parse().unwrap()
}

fn is_live(host: &Host, token: &Token) -> bool {
    host.is_live(&token.id)
}

/// Those of this name but one.
fn others(host: &Host, name: &str, than: &Token) -> Vec<Token> {
    host.live(name).into_iter().filter(|token| token.id != than.id).collect()
}

fn only(mut tokens: Vec<Token>) -> Token {
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    tokens.remove(0)
}

#[test]
fn what_falls_due_while_the_management_is_away_is_made_up_for_and_cuts_nobody_off() {
    let running = Running::behind(&format!("lifetime = \"16m\"\noverlap = \"0s\"\n{T0}"));
    let host = &running.host;
    let old = only(host.live("t0"));
    let before = running.token("t0");
    assert_eq!((&before["waits"], &running.server()["error"]), (&Value::Null, &Value::Null));
    // A moment before it is due by the server's clock, as a list tells.
    let until_due = time(&before["rotates_at"]).duration_since(old.created_at);
    host.sandbox.shift_clock(until_due - SignedDuration::from_secs(4));
    host.sandbox.clear_requests();
    running.wait_for("a list", || lists(host) >= 2);
    let away = Effect::Status { status: 503, headers: vec![], body: "{\"message\":\"away\"}".to_owned() };
    host.sandbox.fault(Fault::on(None, "/api/v0/", away));
    running.assert_away("list tokens: 503: away");
    running.wait_for("its time", || running.waits("t0").starts_with("a new value, "));
    let during = running.token("t0");
    assert_eq!((&during["state"], &during["generation"]), (&"ready".into(), &1.into()));
    assert_eq!(Some(time(&during["expires_at"])), old.expires_at);
    running.assert_delivered("t0", &old.secret);
    assert!(can_write(host, &old.secret, "telemetry"), "the data plane is there");

    host.sandbox.clear_faults();
    running.wait_for("a new value", || host.delivered("t0").is_some_and(|value| value != old.secret));
    running.daemon.wait_for("answers again, after ");
    running.assert_at_rest();
    let new = only(others(host, "t0", &old));
    running.assert_delivered("t0", &new.secret);
    assert!(can_write(host, &old.secret, "telemetry"), "who has not picked up the new one goes on");
    let after = running.token("t0");
    assert_eq!((&after["generation"], &after["id"]), (&2.into(), &new.id.clone().into()));
    let former = &after["retiring"][0];
    assert_eq!((&former["id"], Some(time(&former["until"]))), (&old.id.clone().into(), old.expires_at));
    assert_eq!(host.sandbox.tokens().len(), 2, "each was minted once");
    running.stop();
}

/// Of one that is replaced, and of the one in its place.
fn lives(lifetime: &str) -> String {
    format!("overlap = \"0s\"\n{T0}lifetime = \"{lifetime}\"\n")
}

#[test]
fn a_token_that_expires_in_an_outage_stays_delivered_and_is_replaced_after_it() {
    let brief = Options { expiry: Expiry::After(Duration::from_secs(5)), ..Options::default() };
    let mut running = Running::over(Host::with(brief), &lives("1h"));
    running.host.sandbox.set_expiry(Expiry::Kept);
    running.host.sandbox.stop();
    // It may have been replaced already, where all else takes long.
    let (before, old) = (running.token("t0")["generation"].as_u64(), running.host.delivered("t0").unwrap());
    running.assert_away("list tokens: cannot connect: Connection refused");
    running.wait_for("its end", || running.token("t0")["state"] == "expired");
    assert!(running.host.live("t0").is_empty());
    assert!(running.waits("t0").starts_with("a new value, "), "{}", running.told());
    assert!(running.told().contains("\n  hint: check host and port in `url`"), "{}", running.told());
    running.assert_delivered("t0", &old);
    // Nobody else has a better one to give.
    fs::remove_file(running.host.path("run/secrets/t0")).unwrap();
    running.save(&lives("2h"));
    running.wait_for("the same", || running.host.delivered("t0").is_some());
    running.assert_delivered("t0", &old);

    // Old enough to be judged by a list, which shows it as expired.
    running.host.sandbox.shift_clock(BEHIND);
    running.host.sandbox.set_expiry(Expiry::Kept);
    running.host.sandbox.start_again().unwrap();
    let host = &running.host;
    running.wait_for("a new value", || host.delivered("t0").is_some_and(|value| value != old));
    running.wait_for("the old one's end", || running.token("t0")["retiring"] == Value::Array(vec![]));
    running.assert_at_rest();
    let after = running.token("t0");
    assert_eq!((&after["state"], &after["waits"]), (&"ready".into(), &Value::Null), "{after}");
    assert_eq!(after["generation"].as_u64(), before.map(|values| values + 1), "{after}");
    host.assert_settled("t0");
    running.assert_delivered("t0", &only(host.live("t0")).secret);
    assert_eq!(Some(host.sandbox.tokens().len() as u64), after["generation"].as_u64(), "none is a stray");
    running.stop();
}

/// To the end that it was minted with, and no longer.
#[test]
fn a_former_token_that_has_expired_is_let_go() {
    let running = Running::behind(&lives("9m"));
    let host = &running.host;
    let old = only(host.live("t0"));
    running.save(&lives("90d"));
    running.daemon.wait_for("list accepted");
    assert_eq!(host.tokend(&["rotate", "t0"]).code, Some(0));
    assert_eq!(running.token("t0")["retiring"][0]["id"], old.id);
    assert!(can_write(host, &old.secret, "telemetry"));
    host.sandbox.shift_clock(SignedDuration::from_mins(11));
    running.wait_for("its end", || running.token("t0")["retiring"] == Value::Array(vec![]));
    running.daemon.wait_for("former token is gone");
    running.assert_at_rest();
    assert_eq!((running.waits("t0"), &running.token("t0")["generation"]), (String::new(), &2.into()));
    host.assert_settled("t0");
    running.stop();
}

#[test]
fn a_management_token_that_is_refused_is_told_and_another_one_taken_without_a_restart() {
    const REFUSED: &str = "list tokens: 401: unauthorized";
    let running = Running::new(T0);
    let host = &running.host;
    let token = only(host.live("t0"));
    host.sandbox.set_management_token("canary-57e1");
    running.assert_away(REFUSED);
    let since = running.server()["since"].clone();
    let hint =
        "\n  hint: the management token is unknown there, expired or revoked: create one with `influxctl";
    assert!(running.told().contains(hint), "{}", running.told());
    assert_eq!((&running.token("t0")["state"], running.waits("t0")), (&"ready".into(), String::new()));
    // What is sealed is delivered all the same, again and again; what is not has to wait, and that is said.
    running.assert_delivered("t0", &token.secret);
    fs::remove_file(host.path("run/secrets/t0")).unwrap();
    running.wait_for("t0", || host.delivered("t0").is_some());
    running.assert_delivered("t0", &token.secret);
    running.save(&format!("{T0}{T1}"));
    running.daemon.wait_for("list accepted");
    let asked = host.secrets_by_socket(&["get", "t1"]);
    assert!(asked.code == Some(1) && asked.stderr.contains(REFUSED), "{asked:?}");

    // While it is being replaced it may be anything.
    host.write("management-token", "");
    running.wait_for("nothing", || running.told().contains("is empty: expected a secret (since "));
    assert!(running.told().contains("\n  hint: write the secret there"), "{}", running.told());
    assert_eq!(running.server()["since"], since, "it has been away all the time");
    host.write("management-token", "canary-57e1\n");
    running.wait_for("t1", || host.delivered("t1").is_some());
    running.daemon.wait_for("answers again, after ");
    running.assert_at_rest();
    host.assert_settled("t0");
    host.assert_settled("t1");
    assert_eq!(host.sandbox.tokens().len(), 2);
    assert!(!running.daemon.log().contains("canary"), "no secret in the log");
    running.stop();
}
