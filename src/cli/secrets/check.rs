//! `influx-secrets resolve --check`: every reference of some files, and what becomes of it.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Failure, Source, resolve::value_of, text::read_text};
use crate::{
    cli::ui,
    reference::{Reference, Spelling, find, line_of},
};

/// `true`: everything that refers to this store resolves, and Telegraf resolves it too.
pub(super) fn run(source: &Source, id: &str, files: &[PathBuf]) -> Result<bool, Failure> {
    let mut lines = String::new();
    let mut all_well = true;
    let mut asked = BTreeMap::new();
    for file in files {
        let text = read_text(file)?;
        for reference in find(&text) {
            let (well, verdict) = verdict(source, id, &reference, &mut asked);
            all_well &= well;
            let line = line_of(&text, reference.span.start);
            let written = &text[reference.span.clone()];
            lines += &format!("{}:{line}: {written}: {verdict}\n", file.display());
        }
    }
    ui::print(&lines)?;
    Ok(all_well)
}

/// What becomes of a reference. `asked` has what each key came to, so that one that fails is asked for once as well.
fn verdict(
    source: &Source,
    id: &str,
    reference: &Reference<'_>,
    asked: &mut BTreeMap<String, Result<(), String>>,
) -> (bool, String) {
    let in_telegraf = format!("@{{{}:{}}}", reference.store, in_words(reference.key));
    if reference.spelling == Spelling::Literal {
        return (false, format!("telegraf takes it for literal text; write {in_telegraf}"));
    }
    if reference.store != id {
        return (true, format!("another store's ({})", reference.store));
    }
    let outcome = asked
        .entry(reference.key.to_owned())
        .or_insert_with(|| value_of(source, reference).map(drop).map_err(|error| error.to_string()));
    match outcome {
        Err(error) => (false, error.clone()),
        Ok(()) if reference.spelling == Spelling::Angle => {
            (true, format!("resolves here; telegraf takes it for literal text and wants {in_telegraf}"))
        }
        Ok(()) => (true, "resolves".to_owned()),
    }
}

fn in_words(key: &str) -> String {
    key.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
