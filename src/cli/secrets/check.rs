//! `influx-secrets resolve --check`: every reference of some files, and what becomes of it.

use std::path::PathBuf;

use super::{Failure, Source, resolve::value_of, source::read_text};
use crate::{
    cli::ui,
    reference::{Reference, Spelling, find, line_of},
};

/// `true`: everything that refers to this store resolves, and Telegraf resolves it too.
pub(super) fn run(source: &Source, id: &str, files: &[PathBuf]) -> Result<bool, Failure> {
    let mut lines = String::new();
    let mut all_well = true;
    for file in files {
        let text = read_text(file)?;
        for reference in find(&text) {
            let (well, verdict) = verdict(source, id, &reference);
            all_well &= well;
            let line = line_of(&text, reference.span.start);
            let written = &text[reference.span.clone()];
            lines += &format!("{}:{line}: {written}: {verdict}\n", file.display());
        }
    }
    ui::print(&lines)?;
    Ok(all_well)
}

fn verdict(source: &Source, id: &str, reference: &Reference<'_>) -> (bool, String) {
    let in_telegraf = format!("@{{{}:{}}}", reference.store, in_words(reference.key));
    match reference.spelling {
        Spelling::Literal => (false, format!("telegraf takes it for literal text; write {in_telegraf}")),
        _ if reference.store != id => (true, format!("another store's ({})", reference.store)),
        Spelling::Angle | Spelling::Telegraf => match value_of(source, reference) {
            Err(error) => (false, error.to_string()),
            Ok(_) if reference.spelling == Spelling::Angle => {
                (true, format!("resolves here; telegraf takes it for literal text and wants {in_telegraf}"))
            }
            Ok(_) => (true, "resolves".to_owned()),
        },
    }
}

fn in_words(key: &str) -> String {
    key.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
