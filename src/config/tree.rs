//! Typed access to the parsed tree. Every key that is asked for is known; what nobody asked for is a fault.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeArray, DeString, DeTable, DeValue},
};

use super::{
    elsewhere,
    fault::{Faults, Shown, may_be_a_secret},
};
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
    /// Whether there are others that its keys may belong in.
    is_one_of_several: bool,
    asked: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(table: &'a DeTable<'t>, path: impl Into<String>, span: Range<usize>) -> Self {
        Self { table, path: path.into(), span, is_one_of_several: true, asked: vec![] }
    }

    /// The only one of its file.
    pub(super) fn alone(table: &'a DeTable<'t>) -> Self {
        Self { is_one_of_several: false, ..Self::new(table, "", 0..0) }
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
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
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
        let elements = self.elements(key, value, "an array of strings", faults)?;
        let mut strings = Vec::new();
        for element in elements {
            match element.get_ref().as_str() {
                Some(text) => strings.push(At { value: text, span: element.span() }),
                None => _ = self.wrong::<()>(key, element, "a string", faults),
            }
        }
        Some(At { value: strings, span: value.span() })
    }

    /// An array of names and numeric ids, as text.
    pub(super) fn names_and_ids(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<At<Vec<At<Cow<'a, str>>>>> {
        let value = self.get(key)?;
        let elements = self.elements(key, value, "an array of names and numbers", faults)?;
        let mut names = Vec::new();
        for element in elements {
            let span = element.span();
            match element.get_ref() {
                DeValue::String(text) => names.push(At { value: Cow::Borrowed(&**text), span }),
                DeValue::Integer(number) => match u32::from_str_radix(number.as_str(), number.radix()) {
                    Ok(id) => names.push(At { value: Cow::Owned(id.to_string()), span }),
                    Err(_) => {
                        let what = format!("expected a name or an id up to {}, found {number}", u32::MAX);
                        faults.add(span, &self.key(key), what);
                    }
                },
                _ => _ = self.wrong::<()>(key, element, "a name or a number", faults),
            }
        }
        Some(At { value: names, span: value.span() })
    }

    fn elements(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'t>>,
        expected: &str,
        faults: &mut Faults<'_>,
    ) -> Option<&'a DeArray<'t>> {
        match value.get_ref() {
            DeValue::Array(array) => Some(array),
            DeValue::String(text) if !may_be_a_secret(text) => {
                let what = format!("expected {expected}, found string");
                let hint = format!("put it in brackets: {key} = [{}]", Shown(text));
                faults.add_with_hint(value.span(), &self.key(key), what, hint);
                None
            }
            _ => self.wrong(key, value, expected, faults),
        }
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
            let what = format!("expected [[{key}]] tables, found {}", value.get_ref().type_str());
            faults.add_with_hint(
                value.span(),
                &self.key(key),
                what,
                format!("write [[{key}]] above each of them"),
            );
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
                let hint = elsewhere::meant(text, &self.path, &self.asked, self.is_one_of_several);
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
