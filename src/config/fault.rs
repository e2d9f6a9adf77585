//! What is wrong with a list, all of it at once.

use std::{
    fmt::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::hint::Hint;

/// More than these are counted and not shown.
const SHOWN: usize = 50;
/// More than these are counted and not kept: a list may have a fault in each of its lines.
const KEPT: usize = 1000;
/// The longest value that is shown, in characters.
const LONGEST: usize = 60;

/// A list that is not valid, or not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{file:?}: {what}")]
    Unreadable {
        /// The list.
        file: PathBuf,
        /// Why.
        what: String,
        /// What to do about it.
        fix: Option<String>,
    },
    /// It says what it may not.
    #[error("{}", in_lines(file, faults, *more))]
    Faults {
        /// The list.
        file: PathBuf,
        /// Sorted by place; never empty.
        faults: Vec<Fault>,
        /// How many there are beside them.
        more: usize,
    },
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { fix, .. } => fix.clone(),
            // Each fault has its own beside it.
            Self::Faults { .. } => None,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the tree, as a person would write it.
    pub key: String,
    /// What is wrong, and what was expected.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

fn in_lines(file: &Path, faults: &[Fault], more: usize) -> String {
    let mut text = String::new();
    for fault in faults.iter().take(SHOWN) {
        let Fault { line, column, key, what, hint } = fault;
        let separator = if text.is_empty() { "" } else { "\n" };
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        let _infallible = write!(text, "{separator}{}:{line}:{column}: {key}{what}", file.display());
        if let Some(hint) = hint {
            let _infallible = write!(text, "\n  hint: {hint}");
        }
    }
    let more = faults.len().saturating_sub(SHOWN) + more;
    if more > 0 {
        let _infallible = write!(text, "\nand {more} more");
    }
    text
}

/// Faults as they are found.
pub(super) struct Faults<'t> {
    text: &'t str,
    found: Vec<Found>,
    /// Those that are counted alone.
    more: usize,
}

struct Found {
    /// Where, in bytes.
    at: usize,
    key: String,
    what: String,
    hint: Option<String>,
}

impl<'t> Faults<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: vec![], more: 0 }
    }

    pub(super) fn add(&mut self, span: Range<usize>, key: &str, what: impl Into<String>) {
        self.push(&span, key, what.into(), None);
    }

    pub(super) fn add_with_hint(
        &mut self,
        span: Range<usize>,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(&span, key, what.into(), Some(hint.into()));
    }

    fn push(&mut self, span: &Range<usize>, key: &str, what: String, hint: Option<String>) {
        if self.found.len() == KEPT {
            self.more += 1;
            return;
        }
        self.found.push(Found { at: span.start, key: key.to_owned(), what, hint });
    }

    /// Tells places of the text, for a fault that names another line than its own.
    pub(super) fn places(&self) -> Places<'t> {
        Places::of(self.text)
    }

    pub(super) fn into_result<T>(self, file: &Path, done: Option<T>) -> Result<T, ConfigError> {
        let Self { text, found, more } = self;
        match done {
            Some(done) if found.is_empty() => Ok(done),
            _ => Err(ConfigError::Faults { file: file.to_owned(), faults: placed(text, found), more }),
        }
    }
}

/// Sorted by place.
fn placed(text: &str, mut found: Vec<Found>) -> Vec<Fault> {
    found.sort_by_key(|found| found.at);
    let mut places = Places::of(text);
    let mut faults: Vec<Fault> = Vec::with_capacity(found.len());
    for Found { at, key, what, hint } in found {
        let (line, column) = places.at(at);
        faults.push(Fault { line, column, key, what, hint });
    }
    faults.dedup();
    faults
}

/// Lines and columns of one place after another: the text is read once, however many are asked for.
pub(super) struct Places<'t> {
    text: &'t str,
    passed: usize,
    line: usize,
    column: usize,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, passed: 0, line: 1, column: 1 }
    }

    /// Line and column, from 1, of a place at or after the one before.
    pub(super) fn at(&mut self, at: usize) -> (usize, usize) {
        let between = self.text.get(self.passed..at).unwrap_or_default();
        self.passed += between.len();
        match between.rsplit_once('\n') {
            None => self.column += between.chars().count(),
            Some((before, last)) => {
                self.line += before.matches('\n').count() + 1;
                self.column = last.chars().count() + 1;
            }
        }
        (self.line, self.column)
    }
}

/// Whether a text looks like an InfluxDB token (`apiv1_…`, `apiv3_…`).
pub(super) fn is_like_a_token(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix("apiv").unwrap_or_default();
    rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('_')
        && rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a text that is not what was expected may have been meant as a secret: a token, or one long word.
pub(super) fn may_be_a_secret(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=' | '/');
    let is_path = text.starts_with(['/', '.', '~', '$']) || text.matches('/').count() * 20 > text.len();
    is_like_a_token(text) || text.len() >= 32 && text.chars().all(is_part) && !is_path
}

/// A value as it may be shown: quoted, short, and not at all if it may be a secret.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        if is_like_a_token(text) {
            f.write_str("a token")
        } else if text.chars().count() > LONGEST {
            let start: String = text.chars().take(LONGEST).collect();
            write!(f, "{start:?}…")
        } else {
            write!(f, "{text:?}")
        }
    }
}
