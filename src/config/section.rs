//! Typed access to a table of the parsed tree. Every key that is asked for is known; any other is a fault.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeArray, DeString, DeTable, DeValue},
};

use super::{
    excerpt::{Excerpt, may_be_a_secret},
    faults::Faults,
    suggestion::{did_you_mean, for_unknown_key},
};

/// A value and where it is in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table.
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    path: String,
    pub(super) span: Range<usize>,
    /// Whether there are other tables that its keys may belong in.
    has_siblings: bool,
    known: Vec<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(table: &'a DeTable<'t>, path: impl Into<String>, span: Range<usize>) -> Self {
        Self { table, path: path.into(), span, has_siblings: true, known: vec![] }
    }

    /// The whole of a list.
    pub(super) fn root(table: &'a DeTable<'t>) -> Self {
        Self::new(table, "", 0..0)
    }

    /// The only table of a file.
    pub(super) fn single(table: &'a DeTable<'t>) -> Self {
        Self { has_siblings: false, ..Self::root(table) }
    }

    /// A key as a person would look for it.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{} {key}", self.path) }
    }

    /// The name of this table in faults.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// A fault if the key is missing.
    pub(super) fn require(&mut self, key: &'static str, faults: &mut Faults<'_>) {
        if self.get(key).is_none() {
            faults.add(self.span.clone(), &self.path, format!("needs {key:?}"));
        }
    }

    /// Where a key's value is; without one, the table.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub(super) fn string(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Located<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Located { value: text, span: value.span() }),
            None => self.wrong_type(key, value, "a string", faults),
        }
    }

    /// What one of a few words means; `None` without the key, and where its value is another, which is a fault.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        faults: &mut Faults<'_>,
    ) -> Option<T> {
        let found = self.string(key, faults)?;
        let choice = words.iter().find(|(word, _)| *word == found.value).map(|(_, meaning)| *meaning);
        if choice.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            not_one_of(&found, &self.key(key), &words, faults);
        }
        choice
    }

    pub(super) fn boolean(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(boolean) => Some(boolean),
            None => self.wrong_type(key, value, "true or false", faults),
        }
    }

    /// An array of strings.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Located<Vec<Located<&'a str>>>> {
        let value = self.get(key)?;
        let elements = self.elements(key, value, "an array of strings", faults)?;
        let mut strings = Vec::new();
        for element in elements {
            match element.get_ref().as_str() {
                Some(text) => strings.push(Located { value: text, span: element.span() }),
                None => _ = self.wrong_type::<()>(key, element, "a string", faults),
            }
        }
        Some(Located { value: strings, span: value.span() })
    }

    /// An array of names and numeric ids, as text.
    pub(super) fn names_and_ids(
        &mut self,
        key: &'static str,
        faults: &mut Faults<'_>,
    ) -> Option<Located<Vec<Located<Cow<'a, str>>>>> {
        let value = self.get(key)?;
        let elements = self.elements(key, value, "an array of names and numbers", faults)?;
        let mut names = Vec::new();
        for element in elements {
            let span = element.span();
            match element.get_ref() {
                DeValue::String(text) => names.push(Located { value: Cow::Borrowed(&**text), span }),
                DeValue::Integer(number) => match u32::from_str_radix(number.as_str(), number.radix()) {
                    Ok(id) => names.push(Located { value: Cow::Owned(id.to_string()), span }),
                    Err(_) => {
                        let what = format!("expected a name or an id up to {}, found {number}", u32::MAX);
                        faults.add(span, &self.key(key), what);
                    }
                },
                _ => _ = self.wrong_type::<()>(key, element, "a name or a number", faults),
            }
        }
        Some(Located { value: names, span: value.span() })
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
                let hint = format!("put it in brackets: {key} = [{}]", Excerpt(text));
                faults.add_with_hint(value.span(), &self.key(key), what, hint);
                None
            }
            _ => self.wrong_type(key, value, expected, faults),
        }
    }

    /// A table under a key.
    pub(super) fn section(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Section<'a, 't>> {
        let value = self.get(key)?;
        let path = if self.path.is_empty() { format!("[{key}]") } else { self.key(key) };
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(table, path, value.span())),
            None => self.wrong_type(key, value, "a table", faults),
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
                format!("write [[{key}]] above each table"),
            );
            return vec![];
        };
        let mut sections = Vec::new();
        for (number, element) in array.iter().enumerate() {
            match element.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(table, format!("[[{key}]] {}", number + 1), element.span()));
                }
                None => _ = self.wrong_type::<()>(key, element, "a table", faults),
            }
        }
        sections
    }

    /// All keys of this one and their values, each a table.
    pub(super) fn tables(&self, faults: &mut Faults<'_>) -> Vec<(Located<&'a str>, Section<'a, 't>)> {
        let mut tables = Vec::new();
        for (key, value) in self.table {
            let name = Located { value: key.get_ref().as_ref(), span: key.span() };
            match value.get_ref().as_table() {
                Some(table) => {
                    let path = format!("{}.{}]", self.path.trim_end_matches(']'), name.value);
                    tables.push((name, Section::new(table, path, value.span())));
                }
                None => _ = self.wrong_type::<()>(name.value, value, "a table", faults),
            }
        }
        tables
    }

    /// All keys of this one and their values, each a string.
    pub(super) fn texts(&self, faults: &mut Faults<'_>) -> Vec<(Located<&'a str>, Located<&'a str>)> {
        let mut texts = Vec::new();
        for (key, value) in self.table {
            let name = Located { value: key.get_ref().as_ref(), span: key.span() };
            match value.get_ref().as_str() {
                Some(text) => texts.push((name, Located { value: text, span: value.span() })),
                None => _ = self.wrong_type::<()>(name.value, value, "a string", faults),
            }
        }
        texts
    }

    /// A fault for each key that is not known.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        for (key, _) in self.table {
            let text: &DeString<'_> = key.get_ref();
            if !self.known.contains(&text.as_ref()) {
                let what = format!("unknown key {}", Excerpt(text));
                let hint = for_unknown_key(text, &self.path, &self.known, self.has_siblings);
                faults.add_with_hint(key.span(), &self.path, what, hint);
            }
        }
    }

    fn wrong_type<T>(
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

/// A word that is not one of those expected.
pub(super) fn not_one_of(found: &Located<&str>, key: &str, words: &[&'static str], faults: &mut Faults<'_>) {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    let what = format!("expected {}, found {}", quoted.join(" or "), Excerpt(found.value));
    faults.push(found.span.clone(), key, what, did_you_mean(found.value, words.iter().copied()));
}
