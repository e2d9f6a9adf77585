//! `[[token]]`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    bounds::{self, duration},
    context::ListContext,
    excerpt::Excerpt,
    lifecycle::TokenDefaults,
    probe::probe,
    section::{Located, Section},
    server::ServerConfig,
    suggestion::did_you_mean,
};
use crate::{
    hint::Hint as _,
    model::{
        Allow, Database, DatabaseNames, Grants, InvalidDatabase, InvalidName, Lifecycle, Name, Pickup, Probe,
        ServerName, Spec, due_age, room, share,
    },
};

/// More tokens than these are a probable mistake.
const MAX_TOKENS: usize = 20_000;
/// The longest description, in characters, before the label.
const MAX_DESCRIPTION: usize = 256;
/// The most names in one `allow`: each is looked up when the token is delivered.
const MAX_ALLOW: usize = 64;

type Servers = BTreeMap<ServerName, Option<ServerConfig>>;

pub(super) fn tokens(
    root: &mut Section<'_>,
    context: &ListContext,
    servers: &Servers,
    lifecycle: &Lifecycle,
    defaults: &TokenDefaults,
) -> BTreeMap<Name, Spec> {
    let mut specs = BTreeMap::new();
    let sections = root.sections("token");
    if sections.len() > MAX_TOKENS {
        let count = sections.len();
        let what = format!("expected at most {MAX_TOKENS} tokens, found {count}");
        root.faults.add(sections[MAX_TOKENS].span.clone(), "[[token]]", what);
        return specs;
    }
    if let Some(section) = sections.first()
        && servers.is_empty()
    {
        let what = "the list has no server to mint it on";
        section.faults.add_with_hint(section.span.clone(), "[[token]]", what, "add a [server] table");
    }
    let reader = TokenReader { context, servers, lifecycle, defaults };
    let (mut places, mut lines) = (root.faults.places(), BTreeMap::new());
    let (mut allows, mut grants) = (BTreeSet::new(), BTreeSet::new());
    for section in sections {
        let span = section.span.clone();
        let (line, _) = places.at(span.start);
        for mut spec in reader.token(section) {
            share(&mut allows, &mut spec.allow);
            share(&mut grants, &mut spec.grants);
            let first = *lines.entry(spec.name.clone()).or_insert(line);
            if specs.contains_key(&spec.name) {
                let what = format!("token {:?} given twice, first on line {first}", spec.name.as_str());
                root.faults.add_with_hint(span.clone(), "[[token]]", what, "rename one of them");
            }
            specs.insert(spec.name.clone(), spec);
        }
    }
    // Collected, they take less memory than one by one.
    specs.into_iter().collect()
}

struct TokenReader<'a> {
    context: &'a ListContext,
    servers: &'a Servers,
    lifecycle: &'a Lifecycle,
    defaults: &'a TokenDefaults,
}

impl TokenReader<'_> {
    /// A spec for each of its servers; none where something is wrong, which is a fault.
    fn token(&self, mut section: Section<'_>) -> Vec<Spec> {
        let name = name(&mut section);
        let servers = self.servers(&mut section);
        let grants = self.grants(&mut section, &servers);
        let description = self.description(&mut section);
        let lifetime = duration(&mut section, &bounds::LIFETIME);
        let allow = Arc::new(allow(&mut section));
        let pickup = pickup(&mut section);
        let probe = probe(&mut section, self.defaults.probe.as_deref())
            .map_or_else(|| self.defaults.probe.clone(), |own| own.map(Arc::new));
        let lifetime = lifetime.as_ref().or(self.defaults.lifetime.as_ref());
        self.check_lifetime(lifetime, probe.as_deref(), &section);
        let (span, path, faults) = (section.span.clone(), section.path().to_owned(), section.faults);
        section.finish();
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

    /// `server = "NAME"` or `servers = […]`; with one server in the list neither is needed.
    fn servers(&self, section: &mut Section<'_>) -> Vec<ServerName> {
        let single = section.string("server");
        let several = section.strings("servers");
        let named: Vec<Located<&str>> = match (single, several) {
            (Some(at), Some(_)) => {
                section.faults.add(at.span, section.path(), "\"server\" and \"servers\" exclude each other");
                return vec![];
            }
            (Some(at), None) => vec![at],
            (None, Some(Located { value, span })) => {
                if value.is_empty() {
                    section.faults.add(
                        span,
                        section.path(),
                        "\"servers\" is empty, expected at least one server",
                    );
                }
                value
            }
            (None, None) => {
                if self.servers.len() > 1 {
                    let names: Vec<String> =
                        self.servers.keys().map(|name| format!("{:?}", name.0)).collect();
                    let what = format!("needs \"server\": one of {}", names.join(", "));
                    section.faults.add(section.span.clone(), section.path(), what);
                    return vec![];
                }
                return self.servers.keys().cloned().collect();
            }
        };
        let mut seen = BTreeSet::new();
        named.into_iter().filter_map(|at| self.known_server(&at, section, &mut seen)).collect()
    }

    fn known_server(
        &self,
        at: &Located<&str>,
        section: &Section<'_>,
        seen: &mut BTreeSet<ServerName>,
    ) -> Option<ServerName> {
        let name = ServerName(at.value.to_owned());
        if !self.servers.contains_key(&name) {
            let what = format!("unknown server {}", Excerpt(at.value));
            let hint = did_you_mean(at.value, self.servers.keys().map(|name| name.0.as_str()))
                .unwrap_or_else(|| format!("add [servers.{}]", at.value));
            section.faults.add_with_hint(at.span.clone(), section.path(), what, hint);
            return None;
        }
        if !seen.insert(name.clone()) {
            section.faults.add(at.span.clone(), section.path(), format!("server {:?} given twice", at.value));
            return None;
        }
        Some(name)
    }

    fn grants(&self, section: &mut Section<'_>, servers: &[ServerName]) -> Option<Grants> {
        let read = self.databases(section, "read", servers);
        let write = self.databases(section, "write", servers);
        let grants = Grants::of(read?, write?);
        if grants.is_empty() {
            let what = "has no grants: expected \"read\", \"write\" or both";
            section.faults.add_with_hint(
                section.span.clone(),
                section.path(),
                what,
                "add write = [\"DATABASE\"]",
            );
            return None;
        }
        Some(grants)
    }

    /// `None` where one is wrong.
    fn databases(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        servers: &[ServerName],
    ) -> Option<Vec<Database>> {
        let Some(Located { value, .. }) = section.strings(key) else {
            return section.get(key).is_none().then(Vec::new);
        };
        let parsed = value.into_iter().map(|at| {
            let invalid = |error| {
                let what = format!("{error}, found {}", Excerpt(at.value));
                section.faults.add(at.span.clone(), &section.key(key), what);
            };
            let name = self.expand(&at, key, section)?;
            self.database(&name, servers).map_err(invalid).ok()
        });
        // All of them, so that every fault is reported.
        let parsed: Vec<Option<Database>> = parsed.collect();
        parsed.into_iter().collect()
    }

    /// One that each of these servers takes.
    fn database(&self, name: &str, servers: &[ServerName]) -> Result<Database, InvalidDatabase> {
        let servers = servers.iter().filter_map(|name| self.servers.get(name)?.as_ref());
        let rules = servers.map(|server| server.product.descriptor().database_names);
        let shortest = rules.min_by_key(|rule| rule.max).unwrap_or(DatabaseNames { max: Database::MAX });
        let invalid = |_| InvalidDatabase { max: shortest.max };
        let database = name.parse().map_err(invalid)?;
        shortest.check(&database).map(|()| database)
    }

    fn description(&self, section: &mut Section<'_>) -> Option<String> {
        let at = section.string("description")?;
        let text = self.expand(&at, "description", section)?;
        let what = if text.chars().count() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            format!("expected at most {MAX_DESCRIPTION} characters and no control characters")
        } else if text.contains("[influx-tokend ") {
            "contains \"[influx-tokend \": the label that follows it starts so".to_owned()
        } else {
            return Some(text);
        };
        section.faults.add(at.span, &section.key("description"), what);
        None
    }

    /// `{host}` becomes this host's name; anything else in braces is a probable mistake.
    fn expand(&self, at: &Located<&str>, key: &str, section: &Section<'_>) -> Option<String> {
        let text = at.value;
        let expanded = text.replace("{host}", &self.context.host);
        if let Some(start) = text.replace("{host}", "").find(['{', '}']) {
            let rest = &text.replace("{host}", "")[start..];
            let what = format!("unknown placeholder at {}", Excerpt(rest));
            section.faults.add_with_hint(
                at.span.clone(),
                &section.key(key),
                what,
                "use {host}, the only placeholder",
            );
            return None;
        }
        Some(expanded)
    }

    /// Rule 10: between the latest moment a rotation is due and the expiry there must be room for a slow probe, the
    /// overlap, and a person to notice.
    fn check_lifetime(
        &self,
        lifetime: Option<&Located<Duration>>,
        probe: Option<&Probe>,
        section: &Section<'_>,
    ) {
        let Some(Located { value: lifetime, span }) = lifetime else { return };
        let due = due_age(*lifetime);
        let needed = room(*lifetime, probe, self.lifecycle.overlap);
        if *lifetime - due < needed {
            let what = format!(
                "lifetime is too short: rotation is due {} s before it expires, and probe deadline, overlap and reserve take {} s",
                (*lifetime - due).as_secs(),
                needed.as_secs()
            );
            let hint = "lengthen it, or shorten overlap or the deadline of the probe";
            section.faults.add_with_hint(span.clone(), section.path(), what, hint);
        }
    }
}

fn name(section: &mut Section<'_>) -> Option<Name> {
    section.require("name");
    let Located { value, span } = section.string("name")?;
    let fault =
        |error: InvalidName| section.faults.push(span, section.path(), error.to_string(), error.hint());
    let name: Name = value.parse().map_err(fault).ok()?;
    section.rename(format!("[[token]] {:?}", name.as_str()));
    Some(name)
}

fn allow(section: &mut Section<'_>) -> Allow {
    let Some(mut table) = section.section("allow") else { return Allow::default() };
    let [users, groups] = ["users", "groups"].map(|key| {
        let names = table.names_and_ids(key);
        checked_names(names, key, &table)
    });
    let units = table.strings("units");
    for unit in units.iter().flat_map(|units| &units.value) {
        check_unit(unit, &table);
    }
    let units = checked_names(units, "units", &table);
    table.finish();
    Allow { users, groups, units }
}

fn checked_names<T: AsRef<str>>(
    names: Option<Located<Vec<Located<T>>>>,
    key: &str,
    table: &Section<'_>,
) -> Vec<String> {
    let Some(Located { value, span }) = names else { return vec![] };
    let names: Vec<String> = value.into_iter().map(|name| name.value.as_ref().to_owned()).collect();
    if names.len() > MAX_ALLOW || names.iter().any(|name| name.is_empty() || name.len() > 256) {
        table.faults.add(
            span,
            &table.key(key),
            format!("expected at most {MAX_ALLOW} names of 1 to 256 bytes"),
        );
    }
    names
}

/// A unit is matched whole, so one without its suffix would never match.
fn check_unit(unit: &Located<&str>, table: &Section<'_>) {
    if glob::Pattern::new(unit.value).is_err() {
        let what = format!("{} is not a valid pattern", Excerpt(unit.value));
        table.faults.add(unit.span.clone(), &table.key("units"), what);
    } else if !unit.value.contains(['.', '*', '?', '[']) {
        let what = format!("expected a unit, found {}", Excerpt(unit.value));
        let hint = format!("write \"{}.service\"", unit.value);
        table.faults.add_with_hint(unit.span.clone(), &table.key("units"), what, hint);
    }
}

fn pickup(section: &mut Section<'_>) -> Pickup {
    let words = [("unknown", Pickup::Unknown), ("proven", Pickup::Proven)];
    section.choice("pickup", &words).unwrap_or(Pickup::Unknown)
}
