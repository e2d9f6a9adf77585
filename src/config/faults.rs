//! Faults of a text, all of them at once.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    path::Path,
};

use super::error::{ConfigError, ConfigFault};

/// More than these are counted and not kept: a list may have a fault in each of its lines.
const MAX_KEPT: usize = 1000;

/// Collects faults in any order; all sections of a text share it.
pub(super) struct Faults<'t> {
    text: &'t str,
    /// Each with its byte in the text; lines and columns are counted at the end, in one pass.
    found: RefCell<Vec<(usize, ConfigFault)>>,
    /// How many are counted and not kept.
    more: Cell<usize>,
}

impl<'t> Faults<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::default(), more: Cell::default() }
    }

    pub(super) fn add(&self, span: Range<usize>, key: &str, what: impl Into<String>) {
        self.push(span, key, what, None);
    }

    pub(super) fn add_with_hint(
        &self,
        span: Range<usize>,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(span, key, what, Some(hint.into()));
    }

    pub(super) fn push(&self, span: Range<usize>, key: &str, what: impl Into<String>, hint: Option<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() == MAX_KEPT {
            self.more.set(self.more.get() + 1);
            return;
        }
        let (line, column, key, what) = (0, 0, key.to_owned(), what.into());
        found.push((span.start, ConfigFault { line, column, key, what, hint }));
    }

    /// For a fault that names another line than its own.
    pub(super) fn places(&self) -> Places<'t> {
        Places::of(self.text)
    }

    /// # Errors
    /// There are faults. `value` is `None` only where at least one was added.
    pub(super) fn into_result<T>(self, file: &Path, value: Option<T>) -> Result<T, ConfigError> {
        let Self { text, found, more } = self;
        let (found, more) = (found.into_inner(), more.get());
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => Err(ConfigError::Faults { file: file.to_owned(), faults: sorted(text, found), more }),
        }
    }
}

fn sorted(text: &str, mut found: Vec<(usize, ConfigFault)>) -> Vec<ConfigFault> {
    found.sort_by_key(|(at, _)| *at);
    let mut places = Places::of(text);
    let placed = |(at, fault)| {
        let (line, column) = places.at(at);
        ConfigFault { line, column, ..fault }
    };
    let mut faults: Vec<ConfigFault> = found.into_iter().map(placed).collect();
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
