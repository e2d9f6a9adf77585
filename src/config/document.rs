//! TOML text to its tree.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{excerpt::is_like_a_token, faults::Faults};

/// The tree of a text, without what is not TOML: that is a fault.
pub(super) fn document<'t>(text: &'t str, faults: &Faults<'_>) -> Spanned<DeTable<'t>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let what = error.message().lines().next().unwrap_or_default();
        faults.add(error.span().unwrap_or(0..0), "", format!("not TOML: {what}"));
    }
    tree
}

/// A token anywhere in a list is a secret in the wrong place.
pub(super) fn refuse_tokens(table: &DeTable<'_>, faults: &Faults<'_>) {
    table.iter().for_each(|(_, value)| refuse_token(value, faults));
}

fn refuse_token(value: &Spanned<DeValue<'_>>, faults: &Faults<'_>) {
    match value.get_ref() {
        DeValue::String(text) if is_like_a_token(text) => faults.add_with_hint(
            value.span(),
            "",
            "a token is in the list: anyone with the file or a backup has it",
            "revoke that token, and store the next one where `management_token` can name it",
        ),
        DeValue::Array(array) => array.iter().for_each(|value| refuse_token(value, faults)),
        DeValue::Table(table) => refuse_tokens(table, faults),
        _ => {}
    }
}
