//! The whole list, top down.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use super::{
    Config, ConfigError, Context, Influxctl,
    bounds::{self, count, duration},
    fault::{Faults, Shown, is_like_a_token},
    path::path,
    server::{self, servers},
    store::store,
    token::{Defaults as TokenDefaults, tokens},
    tree::{At, Section},
};
use crate::model::{Database, Lifecycle, Probe};

/// How often servers are asked, where the list does not say.
const RECONCILE: Duration = Duration::from_secs(15 * 60);

pub(super) fn parse(text: &str, file: &Path, context: &Context) -> Result<Config, ConfigError> {
    let mut faults = Faults::new(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        not_toml(span, error.message(), text, &mut faults);
    }
    refuse_tokens(tree.get_ref(), &mut faults);
    let mut root = Section::new(tree.get_ref(), "", 0..0);
    let config = config(&mut root, context, &mut faults);
    root.finish(&mut faults);
    faults.into_result(file, config)
}

/// See [`Config::salvage`].
pub(super) fn salvage(text: &str, context: &Context) -> Config {
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut root = Section::new(tree.get_ref(), "", 0..0);
    let mut unheard = Faults::new(text);
    let store = store(&mut root, context, &mut unheard);
    let (socket, files) = deliver(&mut root, context, &mut unheard);
    Config {
        reconcile: RECONCILE,
        servers: BTreeMap::new(),
        store,
        files,
        socket,
        hooks: context.defaults.hooks.clone(),
        lifecycle: Lifecycle::default(),
        specs: Arc::default(),
    }
}

/// Of the first server of Cloud Dedicated whose ids are not all there: how a person's influxctl is run for it.
pub(super) fn unidentified(text: &str) -> Option<Influxctl> {
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut root = Section::new(tree.get_ref(), "", 0..0);
    let mut unheard = Faults::new(text);
    let several = root.section("servers", &mut unheard).map(|several| several.named(&mut unheard));
    let servers = root.section("server", &mut unheard).into_iter();
    let mut servers = servers.chain(several.into_iter().flatten().map(|(_, section)| section));
    servers.find_map(|section| server::unidentified(section, &mut unheard))
}

fn config(root: &mut Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> Option<Config> {
    let reconcile = duration(root, &bounds::RECONCILE, faults).map_or(RECONCILE, |at| at.value);
    let servers = servers(root, context, faults);
    let store = store(root, context, faults);
    let (socket, files) = deliver(root, context, faults);
    let (lifecycle, defaults) = lifecycle(root, faults);
    let specs = tokens(root, context, &servers, &lifecycle, &defaults, faults);
    // A server that is not whole has been said; what is left is not used.
    let servers = servers.into_iter().map(|(name, server)| Some((name, server?))).collect::<Option<_>>()?;
    let hooks = context.defaults.hooks.clone();
    Some(Config { reconcile, servers, store, files, socket, hooks, lifecycle, specs: specs.into() })
}

fn deliver(
    root: &mut Section<'_, '_>,
    context: &Context,
    faults: &mut Faults<'_>,
) -> (PathBuf, Option<PathBuf>) {
    let mut socket = context.defaults.socket.clone();
    let mut files = None;
    let Some(mut section) = root.section("deliver", faults) else { return (socket, files) };
    if let Some(mut table) = section.section("socket", faults) {
        socket = path(&mut table, "path", context, faults).unwrap_or(socket);
        table.finish(faults);
    }
    if let Some(mut table) = section.section("files", faults) {
        files =
            Some(path(&mut table, "path", context, faults).unwrap_or_else(|| context.defaults.files.clone()));
        table.finish(faults);
    }
    section.finish(faults);
    (socket, files)
}

fn lifecycle(root: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> (Lifecycle, TokenDefaults) {
    let mut lifecycle = Lifecycle::default();
    let mut defaults = TokenDefaults { lifetime: None, probe: Some(Arc::default()) };
    let Some(mut section) = root.section("lifecycle", faults) else { return (lifecycle, defaults) };
    defaults.lifetime = duration(&mut section, &bounds::LIFETIME, faults);
    if let Some(At { value, .. }) = duration(&mut section, &bounds::OVERLAP, faults) {
        lifecycle.overlap = value;
    }
    if let Some(At { value, span }) = duration(&mut section, &bounds::OVERLAP_CAP, faults) {
        if value < lifecycle.overlap {
            faults.add(span, "[lifecycle] overlap_cap", "is shorter than overlap");
        }
        lifecycle.overlap_cap = Some(value);
    }
    if let Some(At { value, .. }) = duration(&mut section, &bounds::GRACE, faults) {
        lifecycle.grace = value;
    }
    if let Some(At { value, span }) = section.string("local_clock", faults) {
        lifecycle.trust_local_clock = value == "trusted";
        if value != "trusted" {
            faults.add(
                span,
                "[lifecycle] local_clock",
                format!("expected \"trusted\", found {}", Shown(value)),
            );
        }
    }
    if let Some(probe) = probe(&mut section, defaults.probe.as_deref(), faults) {
        defaults.probe = probe.map(Arc::new);
    }
    section.finish(faults);
    (lifecycle, defaults)
}

/// `probe = false`, or a table over what holds otherwise.
#[expect(clippy::option_option, reason = "not said, turned off, or how")]
pub(super) fn probe(
    section: &mut Section<'_, '_>,
    otherwise: Option<&Probe>,
    faults: &mut Faults<'_>,
) -> Option<Option<Probe>> {
    let value = section.get("probe")?;
    match value.get_ref() {
        DeValue::Boolean(false) => return Some(None),
        DeValue::Table(_) => {}
        _ => {
            faults.add(
                value.span(),
                &section.key("probe"),
                "expected false, or a table such as { successes = 3 }",
            );
            return None;
        }
    }
    let mut probe = otherwise.cloned().unwrap_or_default();
    let mut table = section.section("probe", faults)?;
    if let Some(value) = count(&mut table, &bounds::SUCCESSES, faults) {
        probe.successes = value;
    }
    if let Some(At { value, .. }) = duration(&mut table, &bounds::INTERVAL, faults) {
        probe.interval = value;
    }
    if let Some(At { value, .. }) = duration(&mut table, &bounds::DEADLINE, faults) {
        probe.deadline = value;
    }
    if let Some(At { value, span }) = table.string("database", faults) {
        match value.parse() {
            Ok(Database::All) => faults.add(span, &table.key("database"), "expected one database, not \"*\""),
            Ok(database) => probe.database = Some(database),
            Err(error) => faults.add(span, &table.key("database"), error.to_string()),
        }
    }
    table.finish(faults);
    Some(Some(probe))
}

/// A token anywhere in a list is a secret in the wrong place.
fn refuse_tokens(table: &DeTable<'_>, faults: &mut Faults<'_>) {
    fn walk(value: &toml::Spanned<DeValue<'_>>, faults: &mut Faults<'_>) {
        match value.get_ref() {
            DeValue::String(text) if is_like_a_token(text) => faults.add_with_hint(
                value.span(),
                "",
                "a token stands here: whoever may read the list, and each copy of it, has it",
                "revoke that token, and put its successor where `management_token` can name it",
            ),
            DeValue::Array(array) => array.iter().for_each(|value| walk(value, faults)),
            DeValue::Table(table) => table.iter().for_each(|(_, value)| walk(value, faults)),
            _ => {}
        }
    }
    table.iter().for_each(|(_, value)| walk(value, faults));
}

/// What the parser says, in one line.
pub(super) fn not_toml(span: Range<usize>, message: &str, text: &str, faults: &mut Faults<'_>) {
    let what = message.lines().next().unwrap_or_default();
    match text.get(span.clone()).filter(|_| what == "duplicate key") {
        Some(key) => {
            let what = format!("not TOML: key {} given twice in its table", Shown(key));
            faults.add_with_hint(span, "", what, "keep one of the two");
        }
        None => faults.add(span, "", format!("not TOML: {what}")),
    }
}
