//! `probe`, of `[lifecycle]` and of a token.

use toml::de::DeValue;

use super::{
    bounds::{self, count, duration},
    section::{Located, Section},
};
use crate::model::{Database, Probe};

/// `probe = false`, or a table whose keys replace those of `default`.
#[expect(clippy::option_option, reason = "no such key, turned off, or how")]
pub(super) fn probe(section: &mut Section<'_>, default: Option<&Probe>) -> Option<Option<Probe>> {
    let value = section.get("probe")?;
    match value.get_ref() {
        DeValue::Boolean(false) => return Some(None),
        DeValue::Table(_) => {}
        _ => {
            section.faults.add(
                value.span(),
                &section.key("probe"),
                "expected false, or a table such as { successes = 3 }",
            );
            return None;
        }
    }
    let mut probe = default.cloned().unwrap_or_default();
    let mut table = section.section("probe")?;
    if let Some(value) = count(&mut table, &bounds::SUCCESSES) {
        probe.successes = value;
    }
    if let Some(Located { value, .. }) = duration(&mut table, &bounds::INTERVAL) {
        probe.interval = value;
    }
    if let Some(Located { value, .. }) = duration(&mut table, &bounds::DEADLINE) {
        probe.deadline = value;
    }
    if let Some(Located { value, span }) = table.string("database") {
        match value.parse() {
            Ok(Database::All) => {
                table.faults.add(span, &table.key("database"), "expected one database, not \"*\"")
            }
            Ok(database) => probe.database = Some(database),
            Err(error) => table.faults.add(span, &table.key("database"), error.to_string()),
        }
    }
    table.finish();
    Some(Some(probe))
}
