//! Typed access to the parsed tree. Every key that is asked for is known; what nobody asked for is a fault.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::fault::{Faults, Shown};
use crate::nearest::nearest;

/// A hint at what may have been meant.
pub(super) fn guess<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    nearest(text, known).map(|near| format!("did you mean {near:?}?"))
}

/// A word that is none of two.
pub(super) fn neither(word: At<&str>, key: &str, of: [&str; 2], faults: &mut Faults<'_>) {
    let [one, other] = of;
    let what = format!("expected {one:?} or {other:?}, found {}", Shown(word.value));
    match guess(word.value, of.into_iter()) {
        Some(hint) => faults.add_with_hint(word.span, key, what, hint),
        None => faults.add(word.span, key, what),
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table.
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    path: String,
    pub(super) span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(table: &'a DeTable<'t>, path: impl Into<String>, span: Range<usize>) -> Self {
        Self { table, path: path.into(), span, asked: vec![] }
    }

    /// A key as a person would look for it.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{} {key}", self.path) }
    }

    /// How this table is called in faults.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Where a key's value stands; without one, the table.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub(super) fn string(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<At<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text, span: value.span() }),
            None => self.wrong(key, value, "a string", faults),
        }
    }

    pub(super) fn boolean(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(boolean) => Some(boolean),
            None => self.wrong(key, value, "true or false", faults),
        }
    }

    /// An array of strings.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<At<Vec<At<&'a str>>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            return self.wrong(key, value, "an array of strings", faults);
        };
        let mut strings = Vec::new();
        for element in array {
            match element.get_ref().as_str() {
                Some(text) => strings.push(At { value: text, span: element.span() }),
                None => _ = self.wrong::<()>(key, element, "a string", faults),
            }
        }
        Some(At { value: strings, span: value.span() })
    }

    /// A table under a key.
    pub(super) fn section(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Section<'a, 't>> {
        let value = self.get(key)?;
        let path = if self.path.is_empty() { format!("[{key}]") } else { self.key(key) };
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(table, path, value.span())),
            None => self.wrong(key, value, "a table", faults),
        }
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Vec<Section<'a, 't>> {
        let Some(value) = self.get(key) else { return vec![] };
        let Some(array) = value.get_ref().as_array() else {
            let _reported: Option<()> = self.wrong(key, value, &format!("[[{key}]] tables"), faults);
            return vec![];
        };
        let mut sections = Vec::new();
        for (number, element) in array.iter().enumerate() {
            match element.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(table, format!("[[{key}]] {}", number + 1), element.span()));
                }
                None => _ = self.wrong::<()>(key, element, "a table", faults),
            }
        }
        sections
    }

    /// The tables under this one, whatever they are called.
    pub(super) fn named(&self, faults: &mut Faults<'_>) -> Vec<(At<&'a str>, Section<'a, 't>)> {
        let mut named = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().as_ref(), span: key.span() };
            match value.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}.{}]", self.path.trim_end_matches(']'), name.value);
                    named.push((name, Section::new(table, path, value.span())));
                }
                None => _ = self.wrong::<()>(name.value, value, "a table", faults),
            }
        }
        named
    }

    /// All keys of this one and their values, each a string.
    pub(super) fn texts(&self, faults: &mut Faults<'_>) -> Vec<(At<&'a str>, At<&'a str>)> {
        let mut texts = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().as_ref(), span: key.span() };
            match value.get_ref().as_str() {
                Some(text) => texts.push((name, At { value: text, span: value.span() })),
                None => _ = self.wrong::<()>(name.value, value, "a string", faults),
            }
        }
        texts
    }

    /// Keys that nobody has asked for.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        for (key, _) in self.table {
            let text: &DeString<'_> = key.get_ref();
            if !self.asked.contains(&text.as_ref()) {
                let what = format!("unknown key {}", Shown(text));
                let all = || format!("known here: {}", self.asked.join(", "));
                let hint = guess(text, self.asked.iter().copied()).unwrap_or_else(all);
                faults.add_with_hint(key.span(), &self.path, what, hint);
            }
        }
    }

    fn wrong<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let found = value.get_ref().type_str();
        faults.add(value.span(), &self.key(key), format!("expected {expected}, found {found}"));
        None
    }
}
