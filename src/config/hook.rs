//! A hook's file: which tokens a unit reads, and what is done to it when one of them has a new value.

use std::{collections::BTreeSet, path::Path};

use toml::de::DeTable;

use super::{
    ConfigError,
    fault::{Faults, Shown},
    list::not_toml,
    tree::{At, Section},
};
use crate::{
    hint::Hint as _,
    model::{Hook, HookAction, Name, Unit},
};

/// The largest file of a hook, in bytes: more names than a list can have.
pub const MAX_HOOK_BYTES: u64 = 4 << 20;

/// Checks the text of `hooks.d/UNIT`; `file` is for faults only.
///
/// # Errors
/// It has faults: all of them are said.
pub fn parse_hook(text: &str, file: &Path, unit: Unit) -> Result<Hook, ConfigError> {
    let mut faults = Faults::new(text);
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        not_toml(error.span().unwrap_or(0..0), error.message(), text, &mut faults);
    }
    let mut root = Section::alone(tree.get_ref());
    let tokens = tokens(&mut root, &mut faults);
    let action = action(&mut root, &mut faults);
    root.finish(&mut faults);
    let hook = tokens.zip(action).map(|(tokens, action)| Hook { unit, tokens, action });
    faults.into_result(file, hook)
}

/// The text of a hook's file.
#[must_use]
pub fn render_hook(hook: &Hook) -> String {
    let names: Vec<String> = hook.tokens.iter().map(|name| format!("\"{name}\"")).collect();
    let tokens = match &names[..] {
        [name] => format!("[{name}]"),
        names => format!("[\n  {},\n]", names.join(",\n  ")),
    };
    format!(
        "# What `influx-tokend hook add` was told: when one of these tokens has a new value, this is done to\n\
         # {}: \"reload\" (a restart, where it cannot reload) or \"restart\".\n\
         tokens = {tokens}\naction = \"{}\"\n",
        hook.unit,
        hook.action.word(),
    )
}

fn tokens(root: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<BTreeSet<Name>> {
    if root.get("tokens").is_none() {
        faults.add(0..0, "tokens", "is missing, expected tokens = [\"NAME\", …]");
        return None;
    }
    let At { value, span } = root.strings("tokens", faults)?;
    if value.is_empty() {
        faults.add_with_hint(span, "tokens", "names no token", "a hook that follows none is removed instead");
        return None;
    }
    let mut names = BTreeSet::new();
    for At { value, span } in value {
        match value.parse::<Name>() {
            Ok(name) => _ = names.insert(name),
            Err(error) => match error.hint() {
                Some(hint) => faults.add_with_hint(span, "tokens", error.to_string(), hint),
                None => faults.add(span, "tokens", error.to_string()),
            },
        }
    }
    Some(names)
}

fn action(root: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<HookAction> {
    let expected = "\"reload\" or \"restart\"";
    if root.get("action").is_none() {
        faults.add(0..0, "action", format!("is missing, expected {expected}"));
        return None;
    }
    let At { value, span } = root.string("action", faults)?;
    let action = [HookAction::Reload, HookAction::Restart].into_iter().find(|action| action.word() == value);
    if action.is_none() {
        faults.add(span, "action", format!("expected {expected}, found {}", Shown(value)));
    }
    action
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit() -> Unit {
        "telegraf.service".parse().expect("a unit")
    }

    fn faults(text: &str) -> String {
        parse_hook(text, Path::new("hooks.d/telegraf.service"), unit()).expect_err(text).to_string()
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            names in prop::collection::btree_set("[A-Za-z0-9_]{1,128}", 1..5),
            restart in any::<bool>(),
        ) {
            let hook = Hook {
                unit: unit(),
                tokens: names.iter().map(|name| name.parse().expect("a name")).collect(),
                action: if restart { HookAction::Restart } else { HookAction::Reload },
            };
            let read = parse_hook(&render_hook(&hook), Path::new("f"), unit());
            prop_assert_eq!(read.expect("valid"), hook);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,80}") {
            let _whatever = parse_hook(&text, Path::new("f"), unit());
        }
    }

    #[test]
    fn every_fault_is_said_with_its_line_and_what_would_do() {
        let text = "tokens = [\"edge-writer\", 3]\naktion = \"reload\"\naction = \"reboot\"\n";
        let said = faults(text);
        for part in [
            "hooks.d/telegraf.service:1:11: tokens: token name \"edge-writer\" contains '-'",
            "call it \"edge_writer\"",
            "1:26: tokens: expected a string, found integer",
            "2:1: unknown key \"aktion\"",
            "did you mean \"action\"?",
            "3:10: action: expected \"reload\" or \"restart\", found \"reboot\"",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(faults("").contains("tokens: is missing, expected tokens = [\"NAME\", …]"));
        assert!(faults("tokens = [\"a\"]").contains("action: is missing"));
        assert!(faults("tokens = []\naction = \"reload\"").contains("names no token"));
        assert!(faults("tokens = \"a\"\naction = \"reload\"").contains("expected an array of strings"));
        assert!(faults("tokens = [\"a\"").contains("not TOML"));
    }
}
