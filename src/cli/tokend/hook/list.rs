//! `influx-tokend hook list`: the hooks of this host.

use super::{
    super::context::{Context, Failure},
    Outcome,
};
use crate::{
    cli::{Format, ui},
    operate::hook::{self, ListedHook, Listing},
};

pub(super) fn run(context: &Context, format: Format) -> Result<Outcome, Failure> {
    let listing = hook::list(&context.hooks());
    match format {
        Format::Json => ui::print_json(&listing)?,
        Format::Text => ui::print(&text(&listing))?,
    }
    match listing.faults.len() {
        0 => Ok(Outcome::Done),
        faults => Err(Failure::Several(format!("{} found", ui::count(faults, "fault")))),
    }
}

fn text(listing: &Listing) -> String {
    let mut text = if listing.hooks.is_empty() { "no hooks\n".to_owned() } else { table(&listing.hooks) };
    for fault in &listing.faults {
        text += &format!("fault: {}\n", fault.what);
        text += &fault.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    }
    text
}

fn table(hooks: &[ListedHook]) -> String {
    let mut table = ui::table(&["UNIT", "ACTION", "TOKEN", "DELIVERED", "ACKNOWLEDGED"]);
    let number =
        |generation: Option<u64>| generation.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for hook in hooks {
        for token in &hook.tokens {
            table.add_row(vec![
                hook.unit.to_string(),
                hook.action.word().to_owned(),
                token.name.to_string(),
                number(token.delivered),
                number(token.acknowledged),
            ]);
        }
    }
    format!("{table}\n")
}
