//! `probe`, of `[lifecycle]` and of a token.

use toml::de::DeValue;

use super::{
    bounds::{self, count, duration},
    faults::Faults,
    section::{Located, Section},
};
use crate::model::{Database, Probe};

/// `probe = false`, or a table over what holds otherwise.
#[expect(clippy::option_option, reason = "no such key, turned off, or how")]
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
    if let Some(Located { value, .. }) = duration(&mut table, &bounds::INTERVAL, faults) {
        probe.interval = value;
    }
    if let Some(Located { value, .. }) = duration(&mut table, &bounds::DEADLINE, faults) {
        probe.deadline = value;
    }
    if let Some(Located { value, span }) = table.string("database", faults) {
        match value.parse() {
            Ok(Database::All) => faults.add(span, &table.key("database"), "expected one database, not \"*\""),
            Ok(database) => probe.database = Some(database),
            Err(error) => faults.add(span, &table.key("database"), error.to_string()),
        }
    }
    table.finish(faults);
    Some(Some(probe))
}
