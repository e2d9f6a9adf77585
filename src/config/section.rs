//! Typed access to a table of the parsed tree. Every key that is asked for is known; any other is a fault.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
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

/// One table, and where its faults go.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    path: String,
    pub(super) span: Range<usize>,
    /// Whether there are other tables that its keys may belong in.
    has_siblings: bool,
    known: Vec<&'static str>,
    pub(super) faults: &'a Faults<'a>,
}

impl<'a> Section<'a> {
    /// The whole of a list.
    pub(super) fn root(table: &'a DeTable<'a>, faults: &'a Faults<'a>) -> Self {
        Self { table, path: String::new(), span: 0..0, has_siblings: true, known: vec![], faults }
    }

    /// The only table of a file.
    pub(super) fn single(table: &'a DeTable<'a>, faults: &'a Faults<'a>) -> Self {
        Self { has_siblings: false, ..Self::root(table, faults) }
    }

    fn below(&self, path: String, Located { value: table, span }: Located<&'a DeTable<'a>>) -> Self {
        Self { path, span, ..Self::root(table, self.faults) }
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

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// A fault if the key is missing.
    pub(super) fn require(&mut self, key: &'static str) {
        if self.get(key).is_none() {
            self.faults.add(self.span.clone(), &self.path, format!("needs {key:?}"));
        }
    }

    /// Where a key's value is; without one, the table.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Located<&'a str>> {
        let value = self.get(key)?;
        self.typed(key, value, "a string", DeValue::as_str)
    }

    /// What one of a few words means; `None` without the key, and where its value is another, which is a fault.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let found = self.string(key)?;
        let choice = words.iter().find(|(word, _)| *word == found.value).map(|(_, meaning)| *meaning);
        if choice.is_none() {
            self.not_one_of(key, &found, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>());
        }
        choice
    }

    /// A fault: the value of a key is not one of these words.
    pub(super) fn not_one_of(&self, key: &str, found: &Located<&str>, words: &[&str]) {
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        let what = format!("expected {}, found {}", quoted.join(" or "), Excerpt(found.value));
        let hint = did_you_mean(found.value, words.iter().copied());
        self.faults.push(found.span.clone(), &self.key(key), what, hint);
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        self.typed(key, value, "true or false", DeValue::as_bool).map(|found| found.value)
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Located<Vec<Located<&'a str>>>> {
        let value = self.get(key)?;
        let elements = self.elements(key, value, "an array of strings")?.iter();
        let strings = elements.filter_map(|element| self.typed(key, element, "a string", DeValue::as_str));
        Some(Located { value: strings.collect(), span: value.span() })
    }

    /// An array of names and numeric ids, as text.
    pub(super) fn names_and_ids(&mut self, key: &'static str) -> Option<Located<Vec<Located<Cow<'a, str>>>>> {
        let value = self.get(key)?;
        let elements = self.elements(key, value, "an array of names and numbers")?.iter();
        let names = elements.filter_map(|element| match element.get_ref() {
            DeValue::Integer(number) => {
                let id = u32::from_str_radix(number.as_str(), number.radix()).ok();
                if id.is_none() {
                    let what = format!("expected a name or an id up to {}, found {number}", u32::MAX);
                    self.faults.add(element.span(), &self.key(key), what);
                }
                Some(Located { value: Cow::Owned(id?.to_string()), span: element.span() })
            }
            _ => self.typed(key, element, "a name or a number", |value| value.as_str().map(Cow::Borrowed)),
        });
        Some(Located { value: names.collect(), span: value.span() })
    }

    fn elements(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
        expected: &str,
    ) -> Option<&'a DeArray<'a>> {
        if let DeValue::String(text) = value.get_ref()
            && !may_be_a_secret(text)
        {
            let what = format!("expected {expected}, found string");
            let hint = format!("put it in brackets: {key} = [{}]", Excerpt(text));
            self.faults.add_with_hint(value.span(), &self.key(key), what, hint);
            return None;
        }
        self.typed(key, value, expected, DeValue::as_array).map(|found| found.value)
    }

    /// A table under a key.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        let path = if self.path.is_empty() { format!("[{key}]") } else { self.key(key) };
        Some(self.below(path, self.typed(key, value, "a table", DeValue::as_table)?))
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return vec![] };
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("expected [[{key}]] tables, found {}", value.get_ref().type_str());
            let hint = format!("write [[{key}]] above each table");
            self.faults.add_with_hint(value.span(), &self.key(key), what, hint);
            return vec![];
        };
        let numbered = array.iter().enumerate();
        let sections = numbered.filter_map(|(number, element)| {
            let table = self.typed(key, element, "a table", DeValue::as_table)?;
            Some(self.below(format!("[[{key}]] {}", number + 1), table))
        });
        sections.collect()
    }

    /// All keys of this one and their values, each a table.
    pub(super) fn tables(&self) -> Vec<(Located<&'a str>, Self)> {
        let tables = self.entries("a table", DeValue::as_table).map(|(name, table)| {
            let path = format!("{}.{}]", self.path.trim_end_matches(']'), name.value);
            (name, self.below(path, table))
        });
        tables.collect()
    }

    /// All keys of this one and their values, each a string.
    pub(super) fn texts(&self) -> Vec<(Located<&'a str>, Located<&'a str>)> {
        self.entries("a string", DeValue::as_str).collect()
    }

    /// A fault for each key that is not known.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let text: &str = key.get_ref().as_ref();
            if !self.known.contains(&text) {
                let what = format!("unknown key {}", Excerpt(text));
                let hint = for_unknown_key(text, &self.path, &self.known, self.has_siblings);
                self.faults.add_with_hint(key.span(), &self.path, what, hint);
            }
        }
    }

    fn entries<T>(
        &self,
        expected: &str,
        read: impl Fn(&'a DeValue<'a>) -> Option<T>,
    ) -> impl Iterator<Item = (Located<&'a str>, Located<T>)> {
        self.table.iter().filter_map(move |(key, value)| {
            let name = Located { value: key.get_ref().as_ref(), span: key.span() };
            let found = self.typed(name.value, value, expected, &read)?;
            Some((name, found))
        })
    }

    /// A value of the type that is expected; another type is a fault.
    fn typed<T>(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
        expected: &str,
        read: impl Fn(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        let found = read(value.get_ref());
        if found.is_none() {
            let what = format!("expected {expected}, found {}", value.get_ref().type_str());
            self.faults.add(value.span(), &self.key(key), what);
        }
        found.map(|found| Located { value: found, span: value.span() })
    }
}
