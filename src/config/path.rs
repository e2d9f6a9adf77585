//! Paths.

use std::path::{Path, PathBuf};

use super::{
    context::ListContext,
    excerpt::{Excerpt, may_be_a_secret},
    section::{Located, Section},
};

/// An absolute path: the working folder of a daemon is not one that people know.
pub(super) fn path(section: &mut Section<'_>, key: &'static str, context: &ListContext) -> Option<PathBuf> {
    let Located { value, span } = section.string(key)?;
    let path: PathBuf = Path::new(value).components().collect();
    if path.is_absolute() {
        return Some(path);
    }
    let what = match may_be_a_secret(value) {
        true => "expected an absolute path, found a possible secret".to_owned(),
        false => format!("expected an absolute path, found {}", Excerpt(value)),
    };
    section.faults.push(span, &section.key(key), what, hint(value, context));
    None
}

fn hint(text: &str, context: &ListContext) -> Option<String> {
    if text.is_empty() || may_be_a_secret(text) {
        return None;
    }
    if let Some(path) = text.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        return Some(format!("write \"{path}\""));
    }
    if let Some(rest) = text.strip_prefix('~') {
        let rest = rest.split_once('/').map_or("", |(_, rest)| rest);
        return Some(format!("write the home folder, as in \"/home/USER/{rest}\": '~' is not expanded here"));
    }
    if text.contains('$') {
        return Some("write the path itself: variables are not expanded here".to_owned());
    }
    // Hooks are beside the list.
    let beside = context.defaults.hooks.parent().map(|folder| folder.join(text));
    let beside = beside.map(|path| path.components().collect::<PathBuf>()).filter(|path| path.is_absolute());
    Some(match beside {
        Some(path) => format!("write {:?}, if it is beside the list", path.display().to_string()),
        None => {
            format!("write an absolute path, as in \"/etc/influx-tokend/{}\"", text.trim_start_matches("./"))
        }
    })
}
