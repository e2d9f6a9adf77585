//! Where a secret comes from; never the secret itself.

use std::ops::Range;

use super::{
    Context, TokenSource,
    fault::{Faults, may_be_a_secret},
    path::path as path_of,
    tree::{At, Section},
};

const EXPECTED: &str =
    "one of { credential = \"NAME\" }, { file = \"PATH\" }, { command = [\"PROGRAM\", …] }";
const NOT_HERE: &str =
    "a secret may not stand in the list: whoever may read the list, and each copy of it, would have it";
const PUT_IT: &str = "put it into a file of its own, mode 0600, or a systemd credential, and name that here";

/// `key = { credential | file | command | env }` of a section.
pub(super) fn source(
    section: &mut Section<'_, '_>,
    key: &'static str,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<TokenSource> {
    let path = section.key(key);
    let value = section.get(key)?;
    let Some(table) = value.get_ref().as_table() else {
        let what =
            if value.get_ref().is_str() { NOT_HERE.to_owned() } else { format!("expected {EXPECTED}") };
        faults.add_with_hint(value.span(), &path, what, PUT_IT);
        return None;
    };
    let mut source = Section::new(table, path.clone(), value.span());
    let mut given: Vec<At<TokenSource>> = Vec::new();
    if let Some(At { value, span }) = source.string("credential", faults) {
        credential(value, span, &path, &mut given, faults);
    }
    if let Some(file) = source.get("file") {
        if file.get_ref().as_str().is_some_and(may_be_a_secret) {
            faults.add_with_hint(file.span(), &path, NOT_HERE, PUT_IT);
            return None;
        }
        let file = At {
            value: TokenSource::File(path_of(&mut source, "file", context, faults)?),
            span: file.span(),
        };
        given.push(file);
    }
    if let Some(At { value, span }) = source.strings("command", faults) {
        if value.first().is_none_or(|program| program.value.is_empty()) {
            faults.add(span, &path, "expected a program and its arguments");
        } else {
            let command = value.iter().map(|part| part.value.to_owned()).collect();
            given.push(At { value: TokenSource::Command(command), span });
        }
    }
    if let Some(At { value, span }) = source.string("env", faults) {
        if context.one_shot {
            given.push(At { value: TokenSource::Env(value.to_owned()), span });
        } else {
            let what = "an environment variable can be read by every process of the same user, for as long as the daemon runs";
            faults.add_with_hint(span, &path, what, "use it for one-shot commands such as `apply` only");
            return None;
        }
    }
    for forbidden in ["token", "value", "secret", "password"] {
        if let Some(value) = source.get(forbidden) {
            faults.add_with_hint(value.span(), &path, NOT_HERE, PUT_IT);
            return None;
        }
    }
    let span = source.span.clone();
    source.finish(faults);
    match given.len() {
        1 => given.pop().map(|at| at.value),
        0 => {
            faults.add(span, &path, format!("expected {EXPECTED}"));
            None
        }
        _ => {
            faults.add(span, &path, format!("expected only {EXPECTED}"));
            None
        }
    }
}

fn credential(
    name: &str,
    span: Range<usize>,
    path: &str,
    given: &mut Vec<At<TokenSource>>,
    faults: &mut Faults<'_>,
) {
    // A credential's name is a file name (systemd.exec(5)).
    if name.is_empty() || name.contains('/') || name == "." || name == ".." || name.len() > 255 {
        faults.add(span, path, "expected the name of a systemd credential, without a path");
    } else {
        given.push(At { value: TokenSource::Credential(name.to_owned()), span });
    }
}
