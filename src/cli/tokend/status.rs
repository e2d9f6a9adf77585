//! `influx-tokend status`: what list and store tell of each name.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Format, Outcome,
    context::{Context, Failure},
};
use crate::{
    cli::ui,
    config::Config,
    daemon::hooks,
    deliver::Refused,
    lifecycle::{Clocks, State, Status, statuses},
    model::{Time, since},
    operate::{
        command::Command,
        status::{HookStatus, HostStatus, ListStatus, ServerStatus, TokenStatus, Verdict},
    },
};

/// So many names are told with a hint.
const MOST_NAMES: usize = 10;
/// So many holders of former values are named for each token.
const MOST_HOLDERS: usize = 10;

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let status = match context.ask(&Command::Status)? {
        Some(status) => status,
        None => here(context)?,
    };
    match format {
        Format::Json => ui::print_json(&status)?,
        Format::Text => ui::print(&text(&status))?,
    }
    let waits = status.tokens.iter().any(|token| token.status.state == State::Unreadable);
    Ok(if waits { Outcome::Waits } else { Outcome::Done })
}

/// Without a daemon: what list and store tell.
fn here(context: &Context) -> Result<HostStatus, Failure> {
    let config = context.load()?;
    let records = context.read_records(&config)?;
    for fault in &records.faults {
        ui::warning(context.program(), fault);
    }
    let tokens = statuses(&config.specs, &records.known, &config.lifecycle, &Clocks::local(Time::now()));
    Ok(HostStatus {
        list: ListStatus { path: context.list.clone(), fault: None },
        servers: vec![],
        tokens: tokens.into_iter().map(TokenStatus::sealed).collect(),
        hooks: hooks_here(&config),
        refused_credentials: vec![],
    })
}

fn hooks_here(config: &Config) -> Vec<HookStatus> {
    let hooks = hooks(config);
    let (behind, faults) = hooks.behind(&hooks.delivered().unwrap_or_default());
    let behind = behind.into_iter().map(|behind| HookStatus::behind(behind, None));
    behind.chain(faults.iter().map(HookStatus::faulty)).collect()
}

/// Seconds that clocks may be apart without being told of.
const NOTABLE_SKEW: u64 = 10;
/// A server that takes longer to answer is told of.
const PROMPT: Duration = Duration::from_secs(2);

fn text(status: &HostStatus) -> String {
    let now = Time::now();
    let tokens: Vec<Status> = status.tokens.iter().map(|token| token.status.clone()).collect();
    let mut text = table(&tokens);
    text += &hints(&status.tokens);
    text.extend(status.tokens.iter().flat_map(probes));
    text.extend(status.tokens.iter().flat_map(holders));
    for token in &status.tokens {
        if let Some(read) = &token.last_read {
            let ago = age(since(read.at, now).as_secs());
            text += &format!(
                "{}: generation {} last read {ago} ago by {}\n",
                token.status.name, read.generation, read.by
            );
        }
    }
    status.servers.iter().for_each(|server| text += &server_text(server, now));
    status.hooks.iter().for_each(|hook| text += &hook_text(hook));
    status.refused_credentials.iter().for_each(|refused| text += &refused_text(refused, now));
    if let Some(fault) = &status.list.fault {
        text += &format!("the last accepted list is in force, the one in the file has faults:\n{fault}\n");
    }
    text
}

/// What to do about what tokens wait for: each once, with the first few names.
fn hints(tokens: &[TokenStatus]) -> String {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for token in tokens {
        for hint in &token.hints {
            names.entry(hint).or_default().push(token.status.name.as_str());
        }
    }
    let line = |(hint, names): (&str, Vec<&str>)| {
        let more = names.len().saturating_sub(MOST_NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("  hint for {}{more}: {hint}\n", names[..names.len().min(MOST_NAMES)].join(", "))
    };
    names.into_iter().map(line).collect()
}

/// A line for each token that the data plane has not accepted when it was last asked.
fn probes(token: &TokenStatus) -> Vec<String> {
    let line = |verdict: &Verdict| {
        let (what, since) = match (verdict.refused_since, verdict.unreachable_since) {
            (Some(since), _) => ("is refused", since),
            (None, Some(since)) => ("could not be probed", since),
            (None, None) => return None,
        };
        let last = verdict.last.as_ref().map(|last| format!(", last answer: {last}")).unwrap_or_default();
        Some(format!("{}: {} {what} (since {since:.0}{last})\n", token.status.name, verdict.id))
    };
    token.probes.iter().filter_map(line).collect()
}

/// A line each, the first few.
fn holders(token: &TokenStatus) -> Vec<String> {
    let (name, known) = (&token.status.name, token.holders.iter().flat_map(|holders| &holders.known));
    let more = known.clone().count().saturating_sub(MOST_HOLDERS);
    let some = known.take(MOST_HOLDERS).map(|holder| format!("{name}: {holder}\n"));
    some.chain((more > 0).then(|| format!("{name}: and {more} more\n"))).collect()
}

fn server_text(server: &ServerStatus, now: Time) -> String {
    let ServerStatus { name, error, since, hint, asked_since, asked_again, skew } = server;
    let mut text = String::new();
    if let Some(skew) = skew.filter(|skew| skew.unsigned_abs() >= NOTABLE_SKEW) {
        let way = if skew > 0 { "ahead of" } else { "behind" };
        let skew = age(skew.unsigned_abs());
        text += &format!("server {name}: its clock is {skew} {way} this host's\n");
    }
    let slow = asked_since.filter(|asked| crate::model::since(*asked, now) >= PROMPT);
    if let (Some(error), Some(since)) = (error, since) {
        // It names the server as well.
        let error = error.strip_prefix(&format!("server {name:?}: ")).unwrap_or(error);
        let again = match (slow, asked_again) {
            (Some(asked), _) => format!(", asked again at {asked:.0}, no answer yet"),
            (None, Some(at)) => format!(", is asked again at {at:.0}"),
            (None, None) => String::new(),
        };
        text += &format!("server {name}: {error} (since {since:.0}{again})\n");
        text += &hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    } else if let Some(asked) = slow {
        text += &format!("server {name}: was asked at {asked:.0}, has not answered yet\n");
    }
    text
}

fn hook_text(hook: &HookStatus) -> String {
    let HookStatus { unit, not_acknowledged, since, error, hint } = hook;
    let mut text = match error {
        Some(error) => format!("hook: {error}\n"),
        None => {
            let since = since.map(|since| format!(" (since {since:.0})")).unwrap_or_default();
            format!("hook {unit}: has not acknowledged {}{since}\n", HookStatus::in_words(not_acknowledged))
        }
    };
    text += &hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    text
}

fn refused_text(refused: &Refused, now: Time) -> String {
    let Refused { by, credential, at, why, hint } = refused;
    let ago = age(since(*at, now).as_secs());
    let mut text = format!("credential {credential:?}: refused to {by} {ago} ago: {why}\n");
    text += &hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    text
}

pub(super) fn table(statuses: &[Status]) -> String {
    if statuses.is_empty() {
        return "the list asks for no token, and the store has none\n".to_owned();
    }
    let mut table =
        ui::table(&["NAME", "STATE", "SERVER", "GRANTS", "GEN", "AGE", "EXPIRES", "ID", "WAITS FOR"]);
    for status in statuses {
        table.add_row(vec![
            status.name.to_string(),
            status.state.word().to_owned(),
            status.server.clone().unwrap_or_default(),
            status.grants.clone(),
            status.generation.to_string(),
            status.age.map(age).unwrap_or_default(),
            status.expires_at.map(|at| format!("{at:.0}")).unwrap_or_else(|| "-".to_owned()),
            status.id.clone().unwrap_or_default(),
            status.waits.clone().unwrap_or_default(),
        ]);
    }
    format!("{table}\n")
}

/// The largest unit alone: an age is read at a glance.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
