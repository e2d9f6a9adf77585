//! Where a secret comes from; never the secret itself.

use std::path::PathBuf;

use super::{
    context::ListContext,
    excerpt::may_be_a_secret,
    path::path as path_of,
    section::{Located, Section},
};

/// Where a secret that a person made comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// The content of a file.
    File(PathBuf),
    /// What a program prints.
    Command(Vec<String>),
    /// An environment variable; for one-shot commands only.
    Env(String),
}

const EXPECTED: &str =
    "one of { credential = \"NAME\" }, { file = \"PATH\" }, { command = [\"PROGRAM\", …] }";
const SECRET_IN_LIST: &str =
    "do not put a secret in the list: anyone with the file or a backup would have it";
const STORE_IT: &str = "store it in a file with mode 0600 or in a systemd credential, and name that here";

/// `key = { credential | file | command | env }` of a section.
pub(super) fn source(
    section: &mut Section<'_>,
    key: &'static str,
    context: &ListContext,
) -> Option<TokenSource> {
    let path = section.key(key);
    let value = section.get(key)?;
    if !value.get_ref().is_table() {
        let what =
            if value.get_ref().is_str() { SECRET_IN_LIST.to_owned() } else { format!("expected {EXPECTED}") };
        section.faults.add_with_hint(value.span(), &path, what, STORE_IT);
        return None;
    }
    let mut source = section.section(key)?;
    let mut found = Vec::new();
    if let Some(Located { value, span }) = source.string("credential") {
        // A credential's name is a file name (systemd.exec(5)).
        if value.is_empty() || value.contains('/') || matches!(value, "." | "..") || value.len() > 255 {
            section.faults.add(span, &path, "expected the name of a systemd credential, without a path");
        } else {
            found.push(TokenSource::Credential(value.to_owned()));
        }
    }
    if let Some(file) = source.get("file") {
        if file.get_ref().as_str().is_some_and(may_be_a_secret) {
            section.faults.add_with_hint(file.span(), &path, SECRET_IN_LIST, STORE_IT);
            return None;
        }
        found.push(TokenSource::File(path_of(&mut source, "file", context)?));
    }
    if let Some(Located { value, span }) = source.strings("command") {
        if value.first().is_none_or(|program| program.value.is_empty()) {
            section.faults.add(span, &path, "expected a program and its arguments");
        } else {
            found.push(TokenSource::Command(value.iter().map(|part| part.value.to_owned()).collect()));
        }
    }
    if let Some(Located { value, span }) = source.string("env") {
        if !context.one_shot {
            let what = "every process of the same user can read an environment variable for as long as the daemon runs";
            section.faults.add_with_hint(
                span,
                &path,
                what,
                "use it for one-shot commands such as `apply` only",
            );
            return None;
        }
        found.push(TokenSource::Env(value.to_owned()));
    }
    if let Some(value) = ["token", "value", "secret", "password"].into_iter().find_map(|key| source.get(key))
    {
        section.faults.add_with_hint(value.span(), &path, SECRET_IN_LIST, STORE_IT);
        return None;
    }
    let span = source.span.clone();
    source.finish();
    if found.len() != 1 {
        let only = if found.is_empty() { "" } else { "only " };
        section.faults.add(span, &path, format!("expected {only}{EXPECTED}"));
        return None;
    }
    found.pop()
}
