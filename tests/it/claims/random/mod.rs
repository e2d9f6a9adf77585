//! A server that draws its answers, each from all that servers were seen to do, against the whole program: with a daemon that
//! is killed now and then, a list that is edited, a clock that goes on and a person who asks for things.
//!
//! `INFLUX_TOKEND_RANDOM=600` goes on for so many seconds; `INFLUX_TOKEND_SEED=n` draws the same again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use fastrand::Rng;
use rustix::process::Signal;

use super::*;
use crate::{
    foreign::Foreign,
    host::{PATIENCE, can_write},
};
use draw::Chance;

mod draw;

/// So many names there are in the end.
const COUNT: usize = 10;

/// So many tokens are somebody else's.
const FOREIGN: usize = 40;

/// What is said of times in the list: an hour passes in some steps.
const LIFECYCLE: &str = "lifetime = \"2h\"\noverlap = \"0s\"\noverlap_cap = \"30m\"\ngrace = \"30m\"\n";

#[test]
fn a_server_that_draws_its_answers_costs_no_token_and_leaves_none() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("INFLUX_TOKEND_RANDOM").unwrap_or(20);
    let seed = number("INFLUX_TOKEND_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{seconds} seconds, INFLUX_TOKEND_SEED={seed}");
    let mut history = History::begin(seed);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        history.step();
    }
    history.be_well();
    history.assert_converged();
    history.assert_frugal();
    history.foreign.assert_untouched(&history.setting.host, &history.context);
    history.assert_silent();
    println!("{}", history.table());
}

struct History {
    setting: Setting,
    foreign: Foreign,
    random: Rng,
    alters_descriptions: Arc<AtomicBool>,
    context: String,
    /// What daemons have said that were killed.
    logs: String,
    steps: BTreeMap<&'static str, usize>,
    /// How often a person asked for a new value.
    asked: BTreeMap<String, usize>,
    hours: i64,
}

impl History {
    fn begin(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let kind: &'static Kind = if random.bool() { &Kind::CLUSTERED } else { &Kind::DEDICATED };
        let host = Host::on(kind);
        let foreign = Foreign::new(&host, FOREIGN);
        let alters_descriptions = Arc::<AtomicBool>::default();
        let mut chance = Chance::new(Rng::with_seed(seed.wrapping_add(1)), alters_descriptions.clone());
        host.sandbox.draw_oddities(move |method, path| chance.draw(method, path));
        host.list(&text(&names(COUNT).collect::<Vec<_>>(), false));
        let setting = Setting::with_daemon(host);
        Self {
            setting,
            foreign,
            random,
            alters_descriptions,
            context: format!("INFLUX_TOKEND_SEED={seed} on {}", kind.name),
            logs: String::new(),
            steps: BTreeMap::new(),
            asked: BTreeMap::new(),
            hours: 0,
        }
    }

    fn name(&mut self) -> String {
        format!("t{}", self.random.usize(..COUNT))
    }

    fn step(&mut self) {
        let what = match self.random.u32(..20) {
            0..7 => self.let_time_pass(),
            7..10 => self.rotate(),
            10 => self.revoke(),
            11..14 => self.edit(),
            14 | 15 => self.restart(Signal::KILL),
            16 => self.restart(Signal::TERM),
            17 => self.alter_descriptions(),
            _ => self.look(),
        };
        *self.steps.entry(what).or_default() += 1;
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.setting.run_within(Duration::from_secs(3), arguments)
    }

    fn shift(&mut self, minutes: i64) {
        self.hours += 1;
        self.setting.host.shift_clock(SignedDuration::from_mins(minutes));
    }

    fn let_time_pass(&mut self) -> &'static str {
        let minutes = self.random.i64(1..60);
        self.shift(minutes);
        self.run(&["apply"]);
        "time passes"
    }

    fn ask_for(&mut self, name: &str, arguments: &[&str]) -> Ran {
        *self.asked.entry(name.to_owned()).or_default() += 1;
        self.run(arguments)
    }

    fn rotate(&mut self) -> &'static str {
        let name = self.name();
        self.ask_for(&name, &["rotate", &name]);
        "rotate"
    }

    fn revoke(&mut self) -> &'static str {
        let name = self.name();
        self.ask_for(&name, &["revoke", &name, "--now"]);
        "revoke"
    }

    /// One name leaves the list or comes back, or may do something else.
    fn edit(&mut self) -> &'static str {
        let mut names: Vec<String> = names(COUNT).collect();
        if self.random.bool() {
            names.remove(self.random.usize(..COUNT));
        }
        self.setting.host.list(&text(&names, self.random.bool()));
        // An edit is a change of what a name asks for, too.
        for name in names {
            *self.asked.entry(name).or_default() += 1;
        }
        "edit"
    }

    fn restart(&mut self, signal: Signal) -> &'static str {
        if let Some(mut daemon) = self.setting.daemon.take() {
            daemon.signal(signal);
            daemon.wait();
            self.logs += &daemon.log();
        }
        self.setting.daemon = Some(self.setting.host.daemon());
        if signal == Signal::KILL { "SIGKILL" } else { "SIGTERM" }
    }

    /// What is found again by nobody is revoked at once.
    fn alter_descriptions(&mut self) -> &'static str {
        self.alters_descriptions.store(true, Ordering::Relaxed);
        let name = self.name();
        self.ask_for(&name, &["rotate", &name]);
        let host = &self.setting.host;
        let has_label = |text: &str| text.contains("[influx-tokend ") && text.ends_with(']');
        let is_lost = |token: &Token| !self.foreign.has(&token.id) && !has_label(&token.description);
        let is_left = || host.sandbox.live().iter().any(is_lost);
        wait_until(
            "a token without label is revoked",
            || !is_left(),
            || format!("{}\n{}", self.context, self.setting.log()),
        );
        self.alters_descriptions.store(false, Ordering::Relaxed);
        "other descriptions"
    }

    fn look(&mut self) -> &'static str {
        let commands: [&[&str]; 5] =
            [&["status"], &["check"], &["plan"], &["strays"], &["status", "--output", "json"]];
        let command = commands[self.random.usize(..commands.len())];
        self.run(command);
        "look"
    }

    /// The server answers as it should, from now on; and the list asks for all names.
    fn be_well(&mut self) {
        self.setting.host.sandbox.set_oddities(Oddities::default());
        self.setting.host.list(&text(&names(COUNT).collect::<Vec<_>>(), false));
        self.restart(Signal::TERM);
        self.shift(11);
    }

    /// That all is as it must be after a while, in which a person asks for what is missing.
    fn assert_converged(&mut self) {
        let begun = Instant::now();
        while let Err(fault) = self.fault() {
            let context = &self.context;
            assert!(begun.elapsed() < 2 * PATIENCE, "{context}: {fault}\n{}", self.setting.log());
            self.shift(31);
            self.setting.apply();
            // By what the pass before has learnt.
            self.setting.apply();
            for name in names(COUNT).filter(|name| !self.works(name)).collect::<Vec<_>>() {
                self.ask_for(&name, &["rotate", &name]);
            }
        }
    }

    fn works(&self, name: &str) -> bool {
        let host = &self.setting.host;
        host.delivered(name).is_some_and(|secret| can_write(host, &secret, "telemetry"))
    }

    /// What is not as it must be.
    fn fault(&self) -> Result<(), String> {
        if let Some(name) = names(COUNT).find(|name| !self.works(name)) {
            return Err(format!("{name} has no token that works"));
        }
        let host = &self.setting.host;
        let ran = self.setting.run(&["status", "--output", "json"]);
        // A daemon that has just begun holds the store and does not answer yet.
        let status: serde_json::Value =
            serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {ran:?}"))?;
        let mut held = BTreeSet::new();
        for token in status["tokens"].as_array().into_iter().flatten() {
            let former = token["retiring"].as_array().into_iter().flatten();
            let ids = former.chain([token]).filter_map(|held| held["id"].as_str());
            held.extend(ids.map(str::to_owned));
        }
        let live = host.sandbox.live();
        let ours = live.iter().filter(|token| !self.foreign.has(&token.id));
        match ours.clone().find(|token| !held.contains(&token.id)) {
            Some(left) => Err(format!("in no record: {} {:?}", left.id, left.description)),
            None => Ok(()),
        }
    }

    /// That there were no more tokens than time, a person, a kill and the day's few explain.
    fn assert_frugal(&self) {
        let times = |what: &str| self.steps.get(what).copied().unwrap_or_default();
        let hours = usize::try_from(self.hours).unwrap();
        let others = hours + times("SIGKILL") + times("SIGTERM") + 1 + 3 * (hours / 24 + 1);
        for name in names(COUNT) {
            let asked = self.asked.get(&name).copied().unwrap_or_default();
            let created = self.setting.created(&name);
            assert!(created <= asked + others, "{}: {created} tokens of {name}", self.context);
        }
    }

    /// That no sixteen bytes of a secret were said.
    fn assert_silent(&self) {
        let said = format!("{}{}", self.logs, self.setting.said());
        let piece = piece_of(&said, &secrets_of(&self.setting.host));
        assert!(piece.is_none(), "{}: {piece:?}", self.context);
    }

    fn table(&self) -> String {
        let sandbox = &self.setting.host.sandbox;
        let row = |(what, times): (&&'static str, &usize)| format!("  {times:>6}  {what}\n");
        format!(
            "{}: {} requests, {} tokens\n{}{}",
            self.context,
            sandbox.requests().len(),
            sandbox.tokens().len() - self.foreign.len(),
            self.steps.iter().map(row).collect::<String>(),
            sandbox.struck().iter().map(row).collect::<String>()
        )
    }
}

/// A list with these names. The wider one lets them write elsewhere too.
fn text(names: &[String], is_wide: bool) -> String {
    let databases = if is_wide { "\"a\", \"telemetry\"" } else { "\"telemetry\"" };
    let probe = "probe = { interval = \"20ms\", deadline = \"1s\" }";
    let token = |name: &String| format!("[[token]]\nname = \"{name}\"\nwrite = [{databases}]\n{probe}\n");
    format!("{LIFECYCLE}{}", names.iter().map(token).collect::<String>())
}
