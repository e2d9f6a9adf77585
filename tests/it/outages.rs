//! A server that is away, wholly or in part, and back: what consumers have meanwhile, what `status` says, and that all is
//! made up for.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use influx_sandbox::{Effect, Fault, Token};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    gateway::Gateway,
    host::{Daemon, Host, can_write, wait_until},
};

const T0: &str = "[[token]]\nname = \"t0\"\nwrite = [\"telemetry\"]\n";
const T1: &str = "[[token]]\nname = \"t1\"\nwrite = [\"telemetry\"]\n";

/// How the server's list is asked for.
const LIST: (&str, &str) = ("GET", "/api/v0/tokens");

/// So far a server's clock may be behind without being held to be wrong, almost: set right, what was minted is that much
/// older, for this host too.
const BEHIND: SignedDuration = SignedDuration::from_secs(10 * 60 - 2);

/// A host that runs a daemon which asks its server often.
struct Running {
    host: Host,
    daemon: Daemon,
}

impl Running {
    /// With a value of `t0` delivered.
    fn new(list: &str) -> Self {
        Self::over(Host::new(), list)
    }

    fn over(host: Host, list: &str) -> Self {
        host.write("tokens.toml", &text(&host, list));
        let running = Self { daemon: host.daemon(), host };
        running.wait_for("t0", || running.host.delivered("t0").is_some());
        running
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

/// A list that has its server asked five times a second, and probes given up for now after another.
fn text(host: &Host, rest: &str) -> String {
    let text = host.list_text(&host.sandbox.url(), rest).replace("\"20ms\"", "\"20ms\", deadline = \"1s\"");
    format!("reconcile = \"200ms\"\n{text}")
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
    running.wait_for("its time", || running.waits("t0").starts_with("a new value, due since "));
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
    let mut running = Running::new(&lives("5s"));
    running.host.sandbox.stop();
    // It may have been replaced already, where all else takes long.
    let (before, old) = (running.token("t0")["generation"].as_u64(), running.host.delivered("t0").unwrap());
    running.assert_away("list tokens: cannot connect: Connection refused");
    running.wait_for("its end", || running.token("t0")["state"] == "expired");
    assert!(running.host.live("t0").is_empty());
    assert!(running.waits("t0").starts_with("a new value, due since "), "{}", running.told());
    assert!(running.told().contains("\n  hint: check host and port in `url`"), "{}", running.told());
    running.assert_delivered("t0", &old);
    // Nobody else has a better one to give.
    fs::remove_file(running.host.path("run/secrets/t0")).unwrap();
    running.save(&lives("1h"));
    running.wait_for("the same", || running.host.delivered("t0").is_some());
    running.assert_delivered("t0", &old);

    // Old enough to be judged by a list, which shows it as expired.
    running.host.sandbox.shift_clock(BEHIND);
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
    running.daemon.wait_for("former token has ended");
    running.assert_at_rest();
    assert_eq!((running.waits("t0"), &running.token("t0")["generation"]), (String::new(), &2.into()));
    host.assert_settled("t0");
    running.stop();
}

const MINT_FAILED: &str = "the last mint failed (500: on demand), the next is tried at ";

fn creates_fail(host: &Host) {
    host.sandbox.fault(Fault::status(Method::POST, "/api/v0/tokens", 500));
}

#[test]
fn creates_that_fail_hold_up_nothing_else() {
    let running = Running::new(&format!("overlap = \"0s\"\noverlap_cap = \"1h\"\n{T0}{T1}"));
    let host = &running.host;
    running.wait_for("t1", || host.delivered("t1").is_some());
    let (kept, former) = (only(host.live("t0")), only(host.live("t1")));
    assert_eq!(host.tokend(&["rotate", "t1"]).code, Some(0));
    let grown = only(others(host, "t1", &former));
    creates_fail(host);
    // An overlap that ends, grants that are not what they were, and a first token.
    let more = T1.replace("[\"telemetry\"]", "[\"a\", \"telemetry\"]");
    let new = T0.replace("t0", "new");
    running.save(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}{more}{new}"));
    running.wait_for("the end of the overlap", || !is_live(host, &former));
    running.wait_for("other grants", || can_write(host, &grown.secret, "a"));
    running.wait_for(MINT_FAILED, || running.waits("new").starts_with(MINT_FAILED));
    assert_eq!(running.token("new")["state"], "missing");
    // What a person asks for fails as well, and leaves the current one.
    let ran = host.tokend(&["rotate", "t0"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("token t0: has no new value yet"), "{ran:?}");
    running.wait_for(MINT_FAILED, || running.waits("t0").starts_with(MINT_FAILED));
    assert_eq!(running.token("t0")["state"], "ready");
    running.assert_delivered("t0", &kept.secret);
    let told = running.told();
    let hint = "\n  hint for new, t0: once that is mended, `influx-tokend rotate` tries at once\n";
    assert!(told.contains(MINT_FAILED) && told.contains(hint), "{told}");

    host.sandbox.clear_faults();
    let ran = host.tokend(&["rotate", "new", "t0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    running.wait_for("one of each", || host.sandbox.live().len() == 3);
    running.assert_at_rest();
    for name in ["t0", "t1", "new"] {
        host.assert_settled(name);
        assert_eq!(running.waits(name), "");
    }
    running.stop();
}

/// Whoever looks meanwhile. One that has not been tried yet does not wait.
#[test]
fn a_create_that_failed_waits_for_the_moment_that_is_told_each_name_for_its_own() {
    let running = Running::new(T0);
    let host = &running.host;
    creates_fail(host);
    running.save(&format!("{T0}{T1}"));
    running.wait_for(MINT_FAILED, || running.waits("t1").starts_with(MINT_FAILED));
    let told = running.waits("t1");
    let until: Timestamp = told.strip_prefix(MINT_FAILED).unwrap().parse().unwrap();
    assert!(until > Timestamp::now(), "{until}");
    let asked = host.secrets_by_socket(&["get", "t1"]);
    assert!(asked.code == Some(1) && asked.stderr.contains(&told), "{asked:?}");
    running.save(&format!("{T0}{T1}{}", T0.replace("t0", "later")));
    running.wait_for("another name", || running.waits("later").starts_with(MINT_FAILED));
    let seen = lists(host);
    running.wait_for("more lists", || lists(host) >= seen + 2);
    assert_eq!((posts(host, "/t1/"), posts(host, "/later/"), running.waits("t1")), (1, 1, told.clone()));
    assert_eq!(running.daemon.log().matches(&format!("token t1: {told}")).count(), 1, "told once");
    running.stop();
}

#[test]
fn revokes_that_fail_hold_up_no_rotation_and_are_made_up_for() {
    let running = Running::new(&format!("overlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}"));
    let host = &running.host;
    let first = only(host.live("t0"));
    host.sandbox.fault(Fault::status(Method::DELETE, "/api/v0/tokens/", 500));
    host.tokend(&["rotate", "t0"]);
    let second = host.delivered("t0").unwrap();
    assert_ne!(second, first.secret);
    let failed = format!("{} was to be ended, which failed (500: on demand), it is tried again", first.id);
    running.wait_for(&failed, || running.waits("t0") == failed);
    let during = running.token("t0");
    assert_eq!((&during["state"], during["retiring"].as_array().unwrap().len()), (&"ready".into(), 1));
    assert_eq!(during["retiring"][0]["id"], first.id);
    assert!(
        running
            .told()
            .contains("\n  hint for t0: once that is mended, `influx-tokend apply` tries at once\n")
    );
    assert!(is_live(host, &first));

    host.tokend(&["rotate", "t0"]);
    let third = host.delivered("t0").unwrap();
    assert_ne!(third, second);
    running.assert_delivered("t0", &third);
    running.wait_for("both", || running.waits("t0").matches("which failed (500: on demand)").count() == 2);
    let during = running.token("t0");
    assert_eq!((&during["generation"], during["retiring"].as_array().unwrap().len()), (&3.into(), 2));
    assert_eq!(host.live("t0").len(), 3);

    host.sandbox.clear_faults();
    running.wait_for("their end", || host.live("t0").len() == 1);
    running.assert_at_rest();
    host.assert_settled("t0");
    running.assert_delivered("t0", &third);
    let after = running.token("t0");
    assert_eq!((&after["waits"], &after["retiring"]), (&Value::Null, &Value::Array(vec![])));
    running.stop();
}

/// Somebody asks for a new value, which may take a while.
fn ask_for_another(host: &Host) -> Child {
    host.command(&["rotate", "t0"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The list of a host whose daemon reaches the data plane through a gateway, while others have a way of their own.
fn through(gateway: &Gateway, host: &Host, rest: &str) {
    let data_url = format!("[server]\ndata_url = \"{}\"\n", gateway.url());
    host.write("tokens.toml", &text(host, rest).replace("[server]\n", &data_url));
}

#[test]
fn a_data_plane_that_only_the_daemon_cannot_reach_delays_a_first_value_and_holds_back_a_second() {
    const REFUSED: &str = "cannot connect: Connection refused (os error 111) (write on \"telemetry\")";
    let (host, mut gateway) = (Host::new(), Gateway::closed());
    through(&gateway, &host, T0);
    let running = Running { daemon: host.daemon(), host };
    let host = &running.host;
    running.daemon.wait_for("ready");
    // While there is nothing that works it is waited for until the deadline.
    running.wait_for(REFUSED, || running.token("t0")["probes"][0]["last"] == REFUSED);
    let first = only(host.live("t0"));
    running.wait_for("a first value", || host.delivered("t0").is_some());
    let early = first.created_at.saturating_add(SignedDuration::from_secs(1)).unwrap();
    assert!(Timestamp::now() > early, "before the deadline");
    running.daemon.wait_for(&format!("{} is promoted although no probe could reach the server", first.id));
    running.assert_delivered("t0", &first.secret);
    assert!(can_write(host, &first.secret, "telemetry"), "others reach it");
    let unprobed = format!("t0: {} could not be probed (since ", first.id);
    let told = running.told();
    assert!(told.contains(&unprobed) && told.contains(&format!("last answer: {REFUSED})")), "{told}");
    assert_eq!((&running.token("t0")["state"], &running.server()["error"]), (&"ready".into(), &Value::Null));

    // A second one waits for as long as the first one works.
    let mut asked = ask_for_another(host);
    let late = format!(", not accepted everywhere yet, past the deadline (last answer: {REFUSED})");
    running.wait_for(&late, || running.waits("t0").contains(&late));
    running.assert_delivered("t0", &first.secret);
    gateway.open(host.sandbox.address());
    running.wait_for("a second value", || host.delivered("t0").is_some_and(|value| value != first.secret));
    asked.wait().unwrap();
    running.assert_delivered("t0", &only(others(host, "t0", &first)).secret);
    assert!(!running.told().contains("could not be probed"), "{}", running.told());
    assert_eq!(running.daemon.log().matches("no probe could reach the server").count(), 1);
    running.stop();
}

#[test]
fn with_less_than_an_hour_left_a_value_that_cannot_be_probed_is_delivered_and_the_old_one_kept() {
    let (host, mut gateway) = (Host::new(), Gateway::closed());
    gateway.open(host.sandbox.address());
    through(&gateway, &host, &format!("lifetime = \"40m\"\noverlap = \"0s\"\noverlap_cap = \"1ms\"\n{T0}"));
    let running = Running { daemon: host.daemon(), host };
    let host = &running.host;
    running.wait_for("a first value", || host.delivered("t0").is_some());
    let first = only(host.live("t0"));
    gateway.fall_silent();
    let mut asked = ask_for_another(host);
    running.wait_for("a second value", || host.delivered("t0").is_some_and(|value| value != first.secret));
    asked.wait().unwrap();
    let second = only(others(host, "t0", &first));
    running.assert_delivered("t0", &second.secret);
    running.daemon.wait_for(&format!("{} is promoted although no probe could reach the server", second.id));
    // Whether anybody can work with the new one nobody knows: nothing is ended.
    let kept = format!("{} was to be ended, that waits until its successor is accepted again", first.id);
    running.wait_for(&kept, || running.waits("t0").contains(&kept));
    let told = running.told();
    let why = format!("t0: {} could not be probed (since ", second.id);
    assert!(told.contains(&why) && told.contains("last answer: no answer within 1 s (write on "), "{told}");
    for token in [&first, &second] {
        assert!(can_write(host, &token.secret, "telemetry"));
    }
    gateway.open(host.sandbox.address());
    running.wait_for("the end of the old one", || !is_live(host, &first));
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
        "\n  hint: the management token is unknown there, expired or revoked: make one with `influxctl";
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
    running
        .wait_for("nothing", || running.told().contains("gives no secret: expected visible ASCII (since "));
    assert!(running.told().contains("\n  hint: see that it is not empty"), "{}", running.told());
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

/// A list whose server may take this long to answer.
fn patient(host: &Host, timeout: &str, rest: &str) {
    let timeout = format!("timeout = \"{timeout}\"");
    host.write("tokens.toml", &text(host, rest).replace("timeout = \"1s\"", &timeout));
}

#[test]
fn a_list_that_takes_half_a_minute_holds_up_nobody_and_misleads_nobody() {
    const HALF_A_MINUTE: Duration = Duration::from_secs(30);
    let host = Host::new();
    host.sandbox.shift_clock(-BEHIND);
    patient(&host, "1m", &format!("{T0}{T1}"));
    host.apply();
    // Old enough to be judged by it.
    host.sandbox.shift_clock(BEHIND);
    let before = host.sandbox.tokens();
    patient(&host, "1m", &format!("{T0}{T1}{}", T0.replace("t0", "t2")));
    // It shows how things were when it was asked for.
    for effect in [Effect::Delay(HALF_A_MINUTE), Effect::Lag(HALF_A_MINUTE)] {
        host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", effect).times(1));
    }
    host.sandbox.clear_requests();
    let running = Running { daemon: host.daemon(), host };
    let host = &running.host;
    running.daemon.wait_for("ready");
    running.wait_for("the question", || host.list_is_open());
    let asked = Instant::now();
    running.wait_for("no answer", || running.told().contains("server default: was asked at "));
    let server = running.server();
    assert!(server["asked_since"].is_string() && server["error"] == Value::Null, "{server}");
    assert_eq!((running.waits("t0"), running.waits("t2")), (String::new(), "not minted yet".to_owned()));
    for token in &before {
        let name = if token.description.contains("/t0/") { "t0" } else { "t1" };
        running.assert_delivered(name, &token.secret);
    }
    let ran = host.secrets_by_socket(&["get", "t2"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("is not ready"), "{ran:?}");
    patient(host, "1m", &format!("{T0}{T1}{}{}", T0.replace("t0", "t2"), T0.replace("t0", "t3")));
    running.daemon.wait_for("list accepted");
    assert!(host.list_is_open() && lists(host) == 1, "all of that before it was answered");

    running.wait_for("the answer", || !host.list_is_open());
    assert!(asked.elapsed() > HALF_A_MINUTE - Duration::from_secs(5), "{:?}", asked.elapsed());
    running.wait_for("what waited", || host.delivered("t2").is_some() && host.delivered("t3").is_some());
    for name in ["t0", "t1", "t2", "t3"] {
        host.assert_settled(name);
        assert_eq!(running.waits(name), "");
    }
    assert!(before.iter().all(|token| is_live(host, token)));
    assert_eq!(host.sandbox.tokens().len(), 4, "each was minted once");
    let changes = |method: &str| matches!(method, "PATCH" | "DELETE");
    assert!(!host.sandbox.requests().iter().any(|request| changes(&request.method)));
    running.stop();
}

#[test]
fn a_list_that_takes_longer_than_it_may_is_told_and_changes_nothing() {
    let running = Running::new(T0);
    let host = &running.host;
    let slow = Effect::Delay(Duration::from_millis(1500));
    host.sandbox.fault(Fault::on(Some(Method::GET), "/api/v0/tokens", slow));
    running.assert_away("list tokens: no answer within 1 s");
    let told = running.told();
    assert!(told.contains("a long list say, needs another `timeout`"), "{told}");
    running.assert_delivered("t0", &only(host.live("t0")).secret);
    // As the hint says.
    patient(host, "10s", T0);
    running.wait_for("an answer", || running.server()["error"] == Value::Null);
    running.daemon.wait_for("answers again, after ");
    host.assert_settled("t0");
    assert_eq!(host.sandbox.tokens().len(), 1);
    running.stop();
}

/// A token that users 1234 and 1235 may read, or one of them, or neither.
fn read_by(name: &str, users: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nwrite = [\"telemetry\"]\nallow = {{ users = [{users}] }}\n")
}

/// Who may read is as the last list says that had the name, although no pass has got anywhere since.
#[test]
fn a_reader_dropped_in_an_outage_is_not_let_in_again_when_the_name_leaves_the_list() {
    let names = |by: [&str; 3]| -> String {
        ["t0", "t1", "t2"].iter().zip(by).map(|(name, users)| read_by(name, users)).collect()
    };
    let running = Running::new(&names(["\"1234\"", "\"1234\"", "\"1234\""]));
    let host = &running.host;
    let has = |name: &str, uid: u32| host.has_reader(name, uid);
    running.wait_for("t2", || has("t2", 1234));
    host.assert_settled("t2");
    host.sandbox.set_management_token("another");
    running.assert_away("list tokens: 401: unauthorized");

    running.save(&names(["\"1235\"", "\"1234\"", "\"1234\""]));
    running.wait_for("another reader", || has("t0", 1235) && !has("t0", 1234));
    // The names are gone through in their order: what is seen of the last tells of all.
    running.save(&[read_by("t1", "\"1234\""), read_by("t2", "\"1235\"")].concat());
    running.wait_for("the next list", || has("t2", 1235));
    assert!(has("t0", 1235) && !has("t0", 1234), "{}", running.daemon.log());

    // Where the daemon has not been running, too.
    let Running { host, daemon } = running;
    assert_eq!(daemon.stop().0, Some(0));
    host.write("tokens.toml", &text(&host, &[read_by("t1", "\"1235\""), read_by("t2", "\"1235\"")].concat()));
    let running = Running { daemon: host.daemon(), host };
    let has = |name: &str, uid: u32| running.host.has_reader(name, uid);
    running.wait_for("another reader", || has("t1", 1235));
    running.save(&read_by("t2", "\"1234\""));
    running.wait_for("the next list", || has("t2", 1234));
    for name in ["t0", "t1"] {
        assert!(has(name, 1235) && !has(name, 1234), "{name}: {}", running.daemon.log());
    }
    running.stop();
}
