//! kill -9 at drawn moments of a first run: afterwards every name has exactly one token, and nothing else was touched.

use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    sync::mpsc,
    time::{Duration, Instant},
};

use influx_sandbox::Event;
use notify::{EventKind, RecursiveMode, Watcher as _, event::ModifyKind};

use crate::{
    foreign::Foreign,
    host::{Host, PATIENCE},
};

/// So many tokens are minted in each history.
const TOKENS: usize = 20;
/// So many tokens belong to others.
const FOREIGN: usize = 500;

/// What the program is at when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Intent,
    PostSent,
    Minted,
    AnswerRead,
    Seal,
    Probe,
    Promote,
    Deliver,
}

const STEPS: [Step; 8] = [
    Step::Intent,
    Step::PostSent,
    Step::Minted,
    Step::AnswerRead,
    Step::Seal,
    Step::Probe,
    Step::Promote,
    Step::Deliver,
];

#[test]
fn no_kill_loses_or_leaks_a_token() {
    let histories: usize = std::env::var("INFLUX_TOKEND_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5 * STEPS.len());
    let seed = std::env::var("INFLUX_TOKEND_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut struck: BTreeMap<Step, usize> = BTreeMap::new();
    let mut strays = 0;
    for history in 0..histories {
        // In turn, so that each is struck as often as any other.
        let step = STEPS[history % STEPS.len()];
        let (hit, left) = one_history(step, &mut random, seed, history);
        *struck.entry(step).or_default() += usize::from(hit);
        strays += left;
    }
    println!(
        "{histories} kills (seed {seed}): {struck:?}; {strays} tokens were minted and lost, and ended again"
    );
    for step in STEPS {
        let times = struck.get(&step).copied().unwrap_or_default();
        assert!(
            times >= 5.min(histories / STEPS.len()),
            "{step:?} was struck {times} times only: {struck:?}"
        );
    }
}

/// Whether the kill struck, and how many strays had to be ended.
fn one_history(step: Step, random: &mut fastrand::Rng, seed: u64, history: usize) -> (bool, usize) {
    let host = Host::new();
    let foreign = Foreign::new(&host, FOREIGN);
    host.list_of(TOKENS);
    // Probes take a moment, so that there is something to strike.
    let text = fs::read_to_string(host.path("tokens.toml")).unwrap().replace("\"20ms\"", "\"5ms\"");
    host.write("tokens.toml", &text);
    let hit = run_and_kill(&host, step, random);
    let context = format!("seed {seed}, history {history}, killed at {step:?}");
    let ran = host.tokend(&["apply"]);
    assert_eq!(ran.code, Some(0), "{context}: {ran:?}");
    for n in 0..TOKENS {
        let name = format!("t{n}");
        let live = host.live(&name);
        assert_eq!(live.len(), 1, "{context}: live tokens of {name}: {live:#?}\n{ran:?}");
        assert_eq!(host.delivered(&name).as_deref(), Some(live[0].secret.as_str()), "{context}: {name}");
    }
    let name = format!("t{}", random.usize(..TOKENS));
    host.assert_settled(&name);
    foreign.assert_untouched(&host, &context);
    let live = host.sandbox.live();
    assert_eq!(live.len(), TOKENS + FOREIGN, "{context}");
    let ended = host.sandbox.tokens().len() - live.len();
    let touched: Vec<String> = host
        .sandbox
        .requests()
        .into_iter()
        .filter(|request| matches!(request.method.as_str(), "PATCH" | "DELETE"))
        .map(|request| request.path)
        .collect();
    assert_eq!(touched.len(), ended, "{context}: {touched:?}");
    (hit, ended)
}

/// Runs `apply` and kills it at the drawn step, a drawn moment later.
fn run_and_kill(host: &Host, step: Step, random: &mut fastrand::Rng) -> bool {
    let (sender, moments) = mpsc::channel();
    let _watcher = watch(host, step, random, &sender);
    let mut child = host.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let hit = loop {
        if moments.recv_timeout(Duration::from_millis(5)).is_ok() {
            std::thread::sleep(Duration::from_micros(random.u64(..500)));
            child.kill().unwrap();
            break true;
        }
        if child.try_wait().unwrap().is_some() {
            break false;
        }
        assert!(begun.elapsed() < PATIENCE, "apply does not end");
    };
    let status = child.wait().unwrap();
    // It may have been done in the moment before.
    hit && status.code().is_none()
}

/// Tells when the step is reached: by what the server sees, or by what happens in the folders.
fn watch(
    host: &Host,
    step: Step,
    random: &mut fastrand::Rng,
    moments: &mpsc::Sender<()>,
) -> Option<notify::RecommendedWatcher> {
    let on_server = |event: fn(&Event) -> bool, nth: usize| {
        let events = host.sandbox.events();
        let moments = moments.clone();
        std::thread::spawn(move || {
            if events.iter().filter(event).nth(nth).is_some() {
                let _ended = moments.send(());
            }
        });
        None
    };
    let name = format!("t{}", random.usize(..TOKENS));
    match step {
        Step::PostSent => on_server(
            |event| matches!(event, Event::Received { what } if what == "POST /api/v0/tokens"),
            random.usize(..TOKENS),
        ),
        Step::Minted => on_server(|event| matches!(event, Event::Minted { .. }), random.usize(..TOKENS)),
        Step::AnswerRead => on_server(
            |event| matches!(event, Event::Answered { what, .. } if what == "POST /api/v0/tokens"),
            random.usize(..TOKENS),
        ),
        Step::Probe => on_server(
            |event| matches!(event, Event::Received { what } if what.contains("/write")),
            random.usize(..2 * TOKENS),
        ),
        Step::Intent => {
            Some(on_file(host, "store/tokens", &format!("{name}.age"), 1, random.bool(), moments))
        }
        Step::Seal => Some(on_file(host, "store/tokens", &format!("{name}.age"), 2, random.bool(), moments)),
        Step::Promote => {
            Some(on_file(host, "store/tokens", &format!("{name}.age"), 3, random.bool(), moments))
        }
        Step::Deliver => Some(on_file(host, "run/secrets", &name, 1, random.bool(), moments)),
    }
}

/// The nth time that a file is written: when its dot-file appears, or when it has its name.
fn on_file(
    host: &Host,
    folder: &str,
    file: &str,
    nth: usize,
    early: bool,
    moments: &mpsc::Sender<()>,
) -> notify::RecommendedWatcher {
    let folder = host.path(folder);
    fs::create_dir_all(&folder).unwrap();
    for made in [&folder, folder.parent().unwrap()] {
        let mode = if folder.ends_with("tokens") { 0o700 } else { 0o755 };
        fs::set_permissions(made, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let (file, dotted) = (file.to_owned(), format!(".{file}."));
    let moments = moments.clone();
    let mut seen = 0;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let named = |wanted: &dyn Fn(&str) -> bool| {
            event.paths.iter().any(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
        };
        let is_it = match event.kind {
            EventKind::Create(_) => early && named(&|name| name.starts_with(&dotted)),
            EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::To)) => {
                !early && named(&|name| name == file)
            }
            _ => false,
        };
        seen += usize::from(is_it);
        if is_it && seen == nth {
            let _ended = moments.send(());
        }
    })
    .unwrap();
    watcher.watch(&folder, RecursiveMode::NonRecursive).unwrap();
    watcher
}
