//! Paths.

use std::path::{Path, PathBuf};

use super::{
    Context,
    fault::{Faults, Shown, may_be_a_secret},
    tree::{At, Section},
};

/// An absolute path; what a daemon's working folder is, nobody knows.
pub(super) fn path(
    section: &mut Section<'_, '_>,
    key: &'static str,
    context: &Context,
    faults: &mut Faults<'_>,
) -> Option<PathBuf> {
    let At { value, span } = section.string(key, faults)?;
    let path: PathBuf = Path::new(value).components().collect();
    if path.is_absolute() {
        return Some(path);
    }
    let what = match may_be_a_secret(value) {
        true => "expected an absolute path, found what may be a secret".to_owned(),
        false => format!("expected an absolute path, found {}", Shown(value)),
    };
    match instead(value, context) {
        Some(hint) => faults.add_with_hint(span, &section.key(key), what, hint),
        None => faults.add(span, &section.key(key), what),
    }
    None
}

fn instead(text: &str, context: &Context) -> Option<String> {
    if text.is_empty() || may_be_a_secret(text) {
        return None;
    }
    if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        return Some(format!("write \"{path}\""));
    }
    if let Some(rest) = text.strip_prefix('~') {
        let rest = rest.split_once('/').map_or("", |(_, rest)| rest);
        return Some(format!("'~' is not expanded here: write the home folder, as in \"/home/USER/{rest}\""));
    }
    if text.contains('$') {
        return Some("variables are not expanded here: write the path itself".to_owned());
    }
    // Hooks are beside the list.
    let beside = context.defaults.hooks.parent().map(|folder| folder.join(text));
    let beside = beside.map(|path| path.components().collect::<PathBuf>()).filter(|path| path.is_absolute());
    Some(match beside {
        Some(path) => format!("write {:?}, if it is beside the list", path.display().to_string()),
        None => format!(
            "write it from the root on, as in \"/etc/influx-tokend/{}\"",
            text.trim_start_matches("./")
        ),
    })
}
