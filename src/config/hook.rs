//! A hook's file: which tokens a unit reads, and what is done to it when one of them has a new value.

use std::{collections::BTreeSet, path::Path};

use super::{
    document::document,
    error::ConfigError,
    faults::Faults,
    section::{Located, Section},
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
/// It has faults: all of them are reported.
pub fn parse_hook(text: &str, file: &Path, unit: Unit) -> Result<Hook, ConfigError> {
    let faults = Faults::new(text);
    let tree = document(text, &faults);
    let mut root = Section::single(tree.get_ref(), &faults);
    let tokens = tokens(&mut root);
    let action = action(&mut root);
    root.finish();
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
        "# From `influx-tokend hook add`. When one of these tokens has a new value, the action is done to\n\
         # {}: \"reload\" (a restart, where it cannot reload) or \"restart\".\n\
         tokens = {tokens}\naction = \"{}\"\n",
        hook.unit,
        hook.action.word(),
    )
}

fn tokens(root: &mut Section<'_>) -> Option<BTreeSet<Name>> {
    if root.get("tokens").is_none() {
        root.faults.add_with_hint(0..0, "", "needs \"tokens\"", "add tokens = [\"NAME\", …]");
    }
    let Located { value, span } = root.strings("tokens")?;
    if value.is_empty() {
        let hint = "remove the hook with `influx-tokend hook remove UNIT`";
        root.faults.add_with_hint(span, "tokens", "is empty, expected at least one token", hint);
    }
    let mut names = BTreeSet::new();
    for Located { value, span } in value {
        match value.parse::<Name>() {
            Ok(name) => _ = names.insert(name),
            Err(error) => root.faults.push(span, "tokens", error.to_string(), error.hint()),
        }
    }
    Some(names)
}

fn action(root: &mut Section<'_>) -> Option<HookAction> {
    if root.get("action").is_none() {
        root.faults.add_with_hint(
            0..0,
            "",
            "needs \"action\"",
            "add action = \"reload\" or action = \"restart\"",
        );
    }
    let words = [HookAction::Reload, HookAction::Restart].map(|action| (action.word(), action));
    root.choice("action", &words)
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
        fn rendered_hooks_are_parsed_again(
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
        fn any_text_is_a_hook_or_a_fault(text in "\\PC{0,80}") {
            let _whatever = parse_hook(&text, Path::new("f"), unit());
        }
    }

    #[test]
    fn every_fault_has_its_line_and_what_was_expected() {
        let text = "tokens = [\"edge-writer\", 3]\naktion = \"reload\"\naction = \"reboot\"\n";
        let message = faults(text);
        for part in [
            "hooks.d/telegraf.service:1:11: tokens: token name \"edge-writer\" contains '-'",
            "call it \"edge_writer\"",
            "1:26: tokens: expected a string, found integer",
            "2:1: unknown key \"aktion\"",
            "did you mean \"action\"?",
            "3:10: action: expected \"reload\" or \"restart\", found \"reboot\"",
        ] {
            assert!(message.contains(part), "{part}\n{message}");
        }
    }

    #[test]
    fn missing_keys_are_faults() {
        assert!(faults("").contains("1:1: needs \"tokens\"\n  hint: add tokens = [\"NAME\", …]"));
        assert!(faults("tokens = [\"a\"]").contains("needs \"action\""));
        assert!(faults("tokens = []\naction = \"reload\"").contains("tokens: is empty"));
        assert!(faults("tokens = \"a\"\naction = \"reload\"").contains("expected an array of strings"));
        assert!(faults("tokens = [\"a\"").contains("not TOML"));
    }
}
