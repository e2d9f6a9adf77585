//! One history: a host that has settled, an operation that is struck, and what must hold from then on.

use std::{io::Write as _, os::unix::net::UnixStream, process::Stdio, time::Duration};

use hyper::Method;
use influx_sandbox::{Activation, Effect, Fault, Options, Token};
use jiff::SignedDuration;
use rustix::process::Signal;
use serde_json::Value;

use super::{
    consumer::{Consumer, accepts},
    operation::{Operation, Scenario, TOKENS, Wanted, names},
    strike::{Step, Watch},
};
use crate::{
    foreign::Foreign,
    host::{Daemon, Host, can_read, can_write, wait_until},
};

/// So many tokens belong to others.
const FOREIGN: usize = 24;

/// Which program is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Program {
    /// One that does what is due and ends.
    Command,
    Daemon,
}

/// What is struck, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) operation: Operation,
    /// Counted from one.
    pub(super) stage: usize,
    pub(super) step: Step,
    pub(super) program: Program,
    pub(super) signal: Signal,
}

struct History {
    host: Host,
    foreign: Foreign,
    scenario: Scenario,
    strike: Strike,
    context: String,
}

/// How many tokens were minted and lost, and had to be ended; `None` where the program had ended before it was struck.
pub(super) fn run(strike: Strike, random: &mut fastrand::Rng, context: &str) -> Option<usize> {
    let mut history = History::settle(strike, random, context);
    let consumer = Consumer::start(&history.host, history.scenario.steady());
    for stage in 1..strike.stage {
        history.carry_out(stage);
    }
    history.begin_and_strike(random)?;
    let reached = history.recover(random);
    for stage in reached + 1..=strike.operation.stages().len() {
        history.carry_out(stage);
    }
    consumer.assert_served(&history.context);
    Some(history.strays())
}

impl History {
    fn settle(strike: Strike, random: &mut fastrand::Rng, context: &str) -> Self {
        let host = Host::with(Options {
            databases: ["a", "b", "c", "telemetry"].map(str::to_owned).to_vec(),
            // What is delivered unprobed is refused.
            activation: Activation::all(Duration::from_millis(60)),
            ..Options::default()
        });
        let foreign = Foreign::new(&host, FOREIGN);
        let scenario = Scenario::settle(&host, strike.operation, strike.step, random);
        slow_down(&host, strike.step == Step::PostSent && random.bool());
        let how = if scenario.asked { "asked for" } else { "not asked for" };
        let context = format!("{context}: {strike:?}, {how}, of {:?}", scenario.concerned);
        Self { host, foreign, scenario, strike, context }
    }

    /// What does a stage, without a daemon.
    fn arguments(&self, stage: usize) -> Vec<&str> {
        if (self.strike.operation, self.scenario.asked, stage) == (Operation::Rotate, true, 1) {
            let names = self.scenario.concerned.iter().map(String::as_str);
            return std::iter::once("rotate").chain(names).collect();
        }
        vec!["apply"]
    }

    /// A stage in which nothing is struck.
    fn carry_out(&self, stage: usize) {
        self.scenario.begin(&self.host, stage);
        self.must(&self.arguments(stage));
        self.assert_done(stage);
    }

    /// Runs a command that must do all there is to do.
    fn must(&self, arguments: &[&str]) {
        let ran = self.host.tokend(arguments);
        assert_eq!(ran.code, Some(0), "{}: {arguments:?}: {ran:?}", self.context);
    }

    /// Sets the stage off and strikes. From then on the context has what the program said.
    fn begin_and_strike(&mut self, random: &mut fastrand::Rng) -> Option<()> {
        let Strike { operation, stage, step, program, signal } = self.strike;
        let steps = &operation.stages()[stage - 1];
        let look = |random: &mut fastrand::Rng| {
            Watch::new(&self.host, steps, step, &self.scenario.concerned, random)
        };
        let (ended, log) = match program {
            Program::Command => {
                self.scenario.begin(&self.host, stage);
                let watch = look(random);
                let arguments = [&["--log", "info"], &self.arguments(stage)[..]].concat();
                let mut command = self.host.command(&arguments);
                command.stdout(Stdio::null());
                let mut command = Daemon::start(command);
                (watch.strike(&mut command, signal, random), command.log())
            }
            Program::Daemon => {
                let mut daemon = self.daemon_at_rest();
                let is_listed = self.scenario.begin(&self.host, stage);
                let watch = look(random);
                let _asked = self.set_off(&daemon, is_listed);
                (watch.strike(&mut daemon, signal, random), daemon.log())
            }
        };
        let code = ended?;
        self.context += &format!("\n{log}");
        self.assert_served();
        if signal == Signal::TERM {
            self.assert_stopped(code);
        }
        Some(())
    }

    /// A daemon that has looked at everything and found nothing to do.
    fn daemon_at_rest(&self) -> Daemon {
        let daemon = self.host.daemon();
        daemon.wait_for("ready");
        self.must(&["apply"]);
        daemon
    }

    /// Tells a daemon that there is something to do: in the list, or else over its admin socket, which is closed when
    /// what is returned is dropped.
    fn set_off(&self, daemon: &Daemon, is_listed: bool) -> Option<UnixStream> {
        if is_listed {
            daemon.signal(Signal::HUP);
            return None;
        }
        let command = match self.arguments(self.strike.stage).split_first() {
            Some((&"rotate", names)) => serde_json::json!({ "rotate": { "names": names } }),
            _ => serde_json::json!("apply"),
        };
        let command = command.to_string();
        let mut stream = UnixStream::connect(self.host.path("run/admin.sock")).unwrap();
        let head = format!("host: localhost\r\ncontent-length: {}", command.len());
        write!(stream, "POST /v1/command HTTP/1.1\r\n{head}\r\n\r\n{command}").unwrap();
        Some(stream)
    }

    /// What consumers find while nothing runs: a value that works, or what somebody else left them with, and never half
    /// of one.
    fn assert_served(&self) {
        let steady = self.scenario.steady();
        for name in names() {
            let delivered = self.host.delivered(&name);
            let secret = delivered.as_deref().unwrap_or_default();
            let is_former = secret == self.scenario.former(&name).secret;
            let is_right = accepts(self.host.sandbox.address(), secret)
                || !steady.contains(&name) && (delivered.is_none() || is_former || secret == "altered");
            assert!(is_right, "{}: {name}: {delivered:?} is delivered and refused", self.context);
        }
    }

    /// What was under way at a SIGTERM is sealed.
    fn assert_stopped(&self, code: Option<i32>) {
        match self.strike.program {
            Program::Daemon => assert_eq!(code, Some(0), "{}", self.context),
            // Files are put back before it listens for signals.
            Program::Command => {
                assert!(code.is_some() || self.strike.operation == Operation::PutBack, "{}", self.context);
            }
        }
        let ran = self.host.tokend(&["strays"]);
        assert_eq!(ran.code, Some(0), "{}: {ran:?}", self.context);
    }

    /// Another run brings about what is wished for, at once or later. Which stage is over then: the next one may have been
    /// set off before it was started again.
    fn recover(&mut self, random: &mut fastrand::Rng) -> usize {
        // Lists do not judge tokens younger than ten minutes.
        let later = if random.bool() { SignedDuration::from_secs(2) } else { SignedDuration::from_mins(11) };
        self.host.sandbox.shift_clock(later);
        let struck = self.strike.stage;
        let stage = self.strike.operation.stages().len().min(struck + random.usize(..2));
        if stage > struck {
            self.scenario.begin(&self.host, stage);
        }
        self.context += &format!("and started again {later:#} later for stage {stage}");
        let daemon = (self.strike.program == Program::Daemon).then(|| self.host.daemon());
        if let Some(daemon) = &daemon {
            daemon.wait_for("ready");
        }
        self.must(&["apply"]);
        self.ask_again();
        if stage > struck {
            // What was noted only now is due then.
            self.host.sandbox.shift_clock(SignedDuration::from_secs(2));
            self.must(&["apply"]);
        }
        if let Some(daemon) = daemon {
            let faults = || self.scenario.faults(&self.host, stage);
            let told = || format!("{}: {:#?}\n{}", self.context, faults(), daemon.log());
            wait_until("what is wished for", || faults().is_empty(), told);
            let (code, log) = daemon.stop();
            assert_eq!(code, Some(0), "{}: {log}", self.context);
        }
        self.assert_done(stage);
        stage
    }

    /// What a person had asked for and was not begun is forgotten.
    fn ask_again(&self) {
        let arguments = self.arguments(self.strike.stage);
        let Some((&"rotate", names)) = arguments.split_first() else { return };
        let has_former = |name: &&&str| {
            let name = (**name).to_owned();
            self.host.delivered(&name).as_ref() == Some(&self.scenario.former(&name).secret)
        };
        let behind: Vec<&str> = names.iter().filter(has_former).copied().collect();
        if !behind.is_empty() {
            self.must(&[&["rotate"], &behind[..]].concat());
        }
    }

    /// That all names are as they must be after a stage, and nothing else is.
    fn assert_done(&self, stage: usize) {
        let Self { host, scenario, context, .. } = self;
        let faults = scenario.faults(host, stage);
        assert!(faults.is_empty(), "{context}: {faults:#?}");
        let per_name = |name: String| match scenario.wanted(&name, stage) {
            Wanted::Nothing => 0,
            Wanted::TheSame | Wanted::Another => 1,
            Wanted::AnotherBeside => 2,
        };
        let expected = names().map(per_name).sum::<usize>() + self.foreign.len();
        assert_eq!(host.sandbox.live().len(), expected, "{context}");
        self.foreign.assert_untouched(host, context);
        self.assert_recorded(stage);
        self.assert_at_rest();
        host.assert_no_leftovers(context);
    }

    /// That the store knows each token for what it is.
    fn assert_recorded(&self, stage: usize) {
        let ran = self.host.tokend(&["status", "--output", "json"]);
        let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let statuses = status["tokens"].as_array().cloned().unwrap_or_default();
        assert_eq!(statuses.len(), TOKENS, "{}: {ran:?}", self.context);
        for status in statuses {
            let name = status["name"].as_str().unwrap_or_default().to_owned();
            let wanted = self.scenario.wanted(&name, stage);
            let live = self.host.live(&name);
            match self.scenario.current(&name, wanted, &live) {
                Some(current) => self.assert_known(&status, wanted, &current, &live),
                None => assert_eq!(status["state"], "removed", "{}: {status}", self.context),
            }
        }
        let name = &self.scenario.concerned[0];
        let wanted = self.scenario.wanted(name, stage);
        let current = self.scenario.current(name, wanted, &self.host.live(name));
        let sealed = self.host.secrets(&["get", name]);
        let secret = current.map(|token| token.secret).unwrap_or_default();
        assert_eq!(sealed.stdout, secret, "{}: {sealed:?}", self.context);
    }

    /// That this one is known as the current token and works, and those beside it as former ones.
    fn assert_known(&self, status: &Value, wanted: Wanted, current: &Token, live: &[Token]) {
        let Self { host, context, .. } = self;
        let generation = if wanted == Wanted::TheSame { 1 } else { 2 };
        let known = (&status["id"], &status["generation"]);
        assert_eq!(known, (&current.id.clone().into(), &generation.into()), "{context}: {status}");
        let retiring = status["retiring"].as_array().cloned().unwrap_or_default();
        let is_former = |token: &Token| retiring.iter().any(|former| former["id"] == *token.id);
        let mut beside = live.iter().filter(|token| token.id != current.id);
        assert!(beside.all(is_former), "{context}: {status}");
        let may_read = current.permissions.iter().any(|(action, _)| action == "read");
        let works =
            can_write(host, &current.secret, "telemetry") && may_read == can_read(host, &current.secret, "b");
        assert!(works, "{context}: {current:?}");
    }

    /// That there is nothing to do but to take note of what has become of a mint: the pass after the one that ended its
    /// token does.
    fn assert_at_rest(&self) {
        let ran = self.host.tokend(&["plan", "--output", "json"]);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let is_note = |step: &Value| step.as_str().is_some_and(|step| step.starts_with("note for "));
        let is_at_rest = plan[0]["steps"].as_array().is_some_and(|steps| steps.iter().all(is_note));
        assert!(is_at_rest, "{}: {ran:?}", self.context);
    }

    /// How many tokens there were beyond those that were wished for.
    fn strays(&self) -> usize {
        let renewed = |name: &String| {
            let stage = self.strike.operation.stages().len();
            usize::from(self.scenario.wanted(name, stage) == Wanted::Another)
        };
        let wished_for = TOKENS + names().map(|name| renewed(&name)).sum::<usize>();
        self.host.sandbox.tokens().len() - self.foreign.len() - wished_for
    }
}

/// Between a request and what it does, and between that and its answer, there is time to be struck in. Mints that are
/// `late` come when whoever wanted them has long been started again.
fn slow_down(host: &Host, late: bool) {
    let moment = Duration::from_millis(2);
    for method in [Method::POST, Method::PATCH, Method::DELETE] {
        let before = match method {
            Method::POST if late => Effect::Late(Duration::from_millis(300)),
            _ => Effect::Delay(moment),
        };
        for effect in [before, Effect::DelayAfter(moment)] {
            host.sandbox.fault(Fault::on(Some(method.clone()), "/api/v0/tokens", effect));
        }
    }
}
