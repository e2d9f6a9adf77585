//! `[[token]]`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use super::{
    Context, ServerConfig,
    bounds::{self, duration},
    fault::{Faults, Shown},
    list::probe,
    tree::{At, Section, guess},
};
use crate::{
    hint::Hint as _,
    model::{
        Allow, Database, Grants, Lifecycle, Name, Pickup, Probe, ServerName, Spec, due_age, room, share,
    },
};

/// More tokens than this are a slip.
const MAX_TOKENS: usize = 20_000;
/// The longest description, in characters, before the label.
const MAX_DESCRIPTION: usize = 256;
/// The most names in one `allow`: each is looked up when the token is delivered.
const MAX_ALLOW: usize = 64;

/// What holds for tokens that do not say otherwise.
pub(super) struct Defaults {
    pub(super) lifetime: Option<At<Duration>>,
    pub(super) probe: Option<Arc<Probe>>,
}

type Servers = BTreeMap<ServerName, Option<ServerConfig>>;

pub(super) fn tokens(
    root: &mut Section<'_, '_>,
    context: &Context,
    servers: &Servers,
    lifecycle: &Lifecycle,
    defaults: &Defaults,
    faults: &mut Faults<'_>,
) -> BTreeMap<Name, Spec> {
    let mut specs = BTreeMap::new();
    let sections = root.sections("token", faults);
    if sections.len() > MAX_TOKENS {
        let count = sections.len();
        faults.add(
            sections[MAX_TOKENS].span.clone(),
            "[[token]]",
            format!("{count} tokens, at most {MAX_TOKENS} are kept"),
        );
        return specs;
    }
    if let Some(section) = sections.first()
        && servers.is_empty()
    {
        let what = "the list names no server to mint it on";
        faults.add_with_hint(section.span.clone(), "[[token]]", what, "add a [server] table");
    }
    let one = One { context, servers, lifecycle, defaults };
    let (mut places, mut lines, mut allows) = (faults.places(), BTreeMap::new(), BTreeSet::new());
    for section in sections {
        let span = section.span.clone();
        let (line, _) = places.at(span.start);
        for mut spec in one.token(section, faults) {
            share(&mut allows, &mut spec.allow);
            let first = *lines.entry(spec.name.clone()).or_insert(line);
            if specs.contains_key(&spec.name) {
                let what = format!(
                    "there are two tokens called {:?}, the first on line {first}",
                    spec.name.as_str()
                );
                faults.add_with_hint(span.clone(), "[[token]]", what, "give one of them another name");
            }
            specs.insert(spec.name.clone(), spec);
        }
    }
    // Collected, they take less memory than one by one.
    specs.into_iter().collect()
}

struct One<'a> {
    context: &'a Context,
    servers: &'a Servers,
    lifecycle: &'a Lifecycle,
    defaults: &'a Defaults,
}

impl One<'_> {
    /// One for each server it is for; none where something is wrong, and said.
    fn token(&self, mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<Spec> {
        let name = self.name(&mut section, faults);
        let servers = self.servers(&mut section, faults);
        let grants = self.grants(&mut section, faults);
        let description = self.description(&mut section, faults);
        let lifetime = duration(&mut section, &bounds::LIFETIME, faults);
        let allow = Arc::new(allow(&mut section, faults));
        let pickup = pickup(&mut section, faults);
        let probe = probe(&mut section, self.defaults.probe.as_deref(), faults)
            .map(|own| own.map(Arc::new))
            .unwrap_or_else(|| self.defaults.probe.clone());
        let lifetime = lifetime.as_ref().or(self.defaults.lifetime.as_ref());
        self.check_lifetime(lifetime, probe.as_deref(), section.path(), faults);
        let span = section.span.clone();
        let path = section.path().to_owned();
        section.finish(faults);
        let (Some(name), Some(grants)) = (name, grants) else { return vec![] };
        let spec_for = |name: Name, server: &ServerName| {
            Some(Spec {
                name,
                server: server.clone(),
                key: self.servers.get(server)?.as_ref()?.key(),
                description: description.clone().unwrap_or_else(|| grants.in_words()),
                grants: grants.clone(),
                lifetime: lifetime.map(|at| at.value),
                allow: allow.clone(),
                pickup,
                probe: probe.clone(),
            })
        };
        let mut specs = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            let name = if number == 0 { Ok(name.clone()) } else { format!("{name}_{server}").parse() };
            match name {
                Ok(name) => specs.extend(spec_for(name, server)),
                Err(error) => faults.add(span.clone(), &path, error.to_string()),
            }
        }
        specs
    }

    fn name(&self, section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Name> {
        let Some(At { value, span }) = section.string("name", faults) else {
            if section.get("name").is_none() {
                faults.add(section.span.clone(), section.path(), "needs \"name\"");
            }
            return None;
        };
        match value.parse::<Name>() {
            Ok(name) => {
                section.rename(format!("[[token]] {:?}", name.as_str()));
                Some(name)
            }
            Err(error) => {
                match error.hint() {
                    Some(hint) => faults.add_with_hint(span, section.path(), error.to_string(), hint),
                    None => faults.add(span, section.path(), error.to_string()),
                }
                None
            }
        }
    }

    /// `server = "NAME"` or `servers = […]`; with one server in the list neither is needed.
    fn servers(&self, section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Vec<ServerName> {
        let single = section.string("server", faults);
        let several = section.strings("servers", faults);
        let named: Vec<At<&str>> = match (single, several) {
            (Some(at), Some(_)) => {
                faults.add(at.span, section.path(), "\"server\" and \"servers\" exclude each other");
                return vec![];
            }
            (Some(at), None) => vec![at],
            (None, Some(At { value, span })) => {
                if value.is_empty() {
                    faults.add(span, section.path(), "\"servers\" names no server");
                }
                value
            }
            (None, None) => {
                if self.servers.len() > 1 {
                    let names: Vec<String> =
                        self.servers.keys().map(|name| format!("{:?}", name.0)).collect();
                    let what = format!("needs \"server\": one of {}", names.join(", "));
                    faults.add(section.span.clone(), section.path(), what);
                    return vec![];
                }
                return self.servers.keys().cloned().collect();
            }
        };
        let mut seen = BTreeSet::new();
        named.into_iter().filter_map(|at| self.known_server(&at, section.path(), &mut seen, faults)).collect()
    }

    fn known_server(
        &self,
        at: &At<&str>,
        path: &str,
        seen: &mut BTreeSet<ServerName>,
        faults: &mut Faults<'_>,
    ) -> Option<ServerName> {
        let name = ServerName(at.value.to_owned());
        if !self.servers.contains_key(&name) {
            let what = format!("unknown server {}", Shown(at.value));
            let hint = guess(at.value, self.servers.keys().map(|name| name.0.as_str()))
                .unwrap_or_else(|| format!("add [servers.{}]", at.value));
            faults.add_with_hint(at.span.clone(), path, what, hint);
            return None;
        }
        if !seen.insert(name.clone()) {
            faults.add(at.span.clone(), path, format!("names server {:?} twice", at.value));
            return None;
        }
        Some(name)
    }

    fn grants(&self, section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Grants> {
        let read = self.databases(section, "read", faults);
        let write = self.databases(section, "write", faults);
        let grants = Grants::of(read?, write?);
        if grants.is_empty() {
            let what = "grants nothing: expected \"read\", \"write\" or both";
            faults.add_with_hint(section.span.clone(), section.path(), what, "write = [\"DATABASE\"]");
            return None;
        }
        Some(grants)
    }

    /// `None` where one is wrong.
    fn databases(
        &self,
        section: &mut Section<'_, '_>,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Vec<Database>> {
        let Some(At { value, .. }) = section.strings(key, faults) else {
            return section.get(key).is_none().then(Vec::new);
        };
        let path = section.key(key);
        let parsed = value.into_iter().map(|At { value, span }| {
            let text = self.expand(value, &span, &path, faults)?;
            match text.parse() {
                Ok(database) => Some(database),
                Err(error) => {
                    faults.add(span, &path, format!("{error}, found {}", Shown(value)));
                    None
                }
            }
        });
        // All of them, so that every fault is said.
        let parsed: Vec<Option<Database>> = parsed.collect();
        parsed.into_iter().collect()
    }

    fn description(&self, section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<String> {
        let At { value, span } = section.string("description", faults)?;
        let path = section.key("description");
        let text = self.expand(value, &span, &path, faults)?;
        if text.chars().count() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            faults.add(
                span,
                &path,
                format!("expected at most {MAX_DESCRIPTION} characters and no control characters"),
            );
            return None;
        }
        if text.contains("[influx-tokend ") {
            faults.add(span, &path, "may not look like the label that is put after it");
            return None;
        }
        Some(text)
    }

    /// `{host}` becomes this host's name; anything else in braces is a slip.
    fn expand(&self, text: &str, span: &Range<usize>, path: &str, faults: &mut Faults<'_>) -> Option<String> {
        let expanded = text.replace("{host}", &self.context.host);
        if let Some(start) = text.replace("{host}", "").find(['{', '}']) {
            let rest = &text.replace("{host}", "")[start..];
            let what = format!("unknown placeholder at {}", Shown(rest));
            faults.add_with_hint(span.clone(), path, what, "only {host} is known");
            return None;
        }
        Some(expanded)
    }

    /// Rule 10: between the latest moment a rotation is due and the expiry there must be room for a slow probe, the
    /// overlap, and somebody to notice.
    fn check_lifetime(
        &self,
        lifetime: Option<&At<Duration>>,
        probe: Option<&Probe>,
        path: &str,
        faults: &mut Faults<'_>,
    ) {
        let Some(At { value: lifetime, span }) = lifetime else { return };
        let due = due_age(*lifetime);
        let needed = room(*lifetime, probe, self.lifecycle.overlap);
        if *lifetime - due < needed {
            let what = format!(
                "lifetime is too short: it is renewed {} s before it ends, and probe deadline, overlap and reserve take {} s",
                (*lifetime - due).as_secs(),
                needed.as_secs()
            );
            faults.add_with_hint(
                span.clone(),
                path,
                what,
                "lengthen it, or shorten overlap or the probe's deadline",
            );
        }
    }
}

fn allow(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Allow {
    let Some(mut table) = section.section("allow", faults) else { return Allow::default() };
    let mut texts = |key| -> Vec<String> {
        let names = match key {
            "units" => table.strings(key, faults).map(|At { value, span }| At {
                value: value.into_iter().map(|At { value, span }| At { value: value.into(), span }).collect(),
                span,
            }),
            _ => table.names_and_ids(key, faults),
        };
        let Some(At { value, span }) = names else { return vec![] };
        if value.len() > MAX_ALLOW || value.iter().any(|at| at.value.is_empty() || at.value.len() > 256) {
            faults.add(
                span,
                &table.key(key),
                format!("expected at most {MAX_ALLOW} names, none of them empty"),
            );
        }
        if key == "units" {
            value.iter().for_each(|unit| check_unit(unit, &table.key(key), faults));
        }
        value.into_iter().map(|at| at.value.into_owned()).collect()
    };
    let allow = Allow { users: texts("users"), groups: texts("groups"), units: texts("units") };
    table.finish(faults);
    allow
}

/// A unit is matched whole, so one without its suffix would never match.
fn check_unit(unit: &At<Cow<'_, str>>, key: &str, faults: &mut Faults<'_>) {
    if glob::Pattern::new(&unit.value).is_err() {
        faults.add(unit.span.clone(), key, format!("{} is no pattern", Shown(&unit.value)));
    } else if !unit.value.contains(['.', '*', '?', '[']) {
        let what = format!("expected a unit, found {}", Shown(&unit.value));
        faults.add_with_hint(unit.span.clone(), key, what, format!("write \"{}.service\"", unit.value));
    }
}

fn pickup(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Pickup {
    let Some(At { value, span }) = section.string("pickup", faults) else { return Pickup::Unknown };
    match value {
        "unknown" => Pickup::Unknown,
        "proven" => Pickup::Proven,
        other => {
            let what = format!("expected \"unknown\" or \"proven\", found {}", Shown(other));
            faults.add(span, &section.key("pickup"), what);
            Pickup::Unknown
        }
    }
}
