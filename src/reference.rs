//! References to secrets in a text: `@{store:key}`, as Telegraf writes them, and `@<store:key>`.
//!
//! Telegraf resolves `@{store:key}` where both parts are letters, digits and underscores, and sends anything else as
//! it stands (Telegraf 1.40, `config/secret.go`). [`find`] also finds what was probably meant as a reference, so that
//! it can be told.

use std::{fmt, ops::Range};

use zeroize::Zeroizing;

use crate::model::Secret;

/// Something that is a reference, or looks like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<'t> {
    /// The part before the colon.
    pub store: &'t str,
    /// The part after it.
    pub key: &'t str,
    /// How it is written.
    pub spelling: Spelling,
    /// Where it stands, in bytes.
    pub span: Range<usize>,
}

/// How a reference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `@{store:key}`.
    Telegraf,
    /// `@<store:key>`: not known to Telegraf.
    Angle,
    /// Not resolved by anybody: a dash, a space, a dot.
    Literal,
}

impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spelling {
            Spelling::Angle => write!(f, "@<{}:{}>", self.store, self.key),
            Spelling::Telegraf | Spelling::Literal => write!(f, "@{{{}:{}}}", self.store, self.key),
        }
    }
}

/// The longest reference: two parts of 128 characters each, with room for mistakes.
const LONGEST: usize = 300;

/// Every reference of a text, in order.
pub fn find(text: &str) -> impl Iterator<Item = Reference<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(at) = text[from..].find('@').map(|at| from + at) {
            if let Some(reference) = reference_at(text, at) {
                from = reference.span.end;
                return Some(reference);
            }
            from = at + 1;
        }
        None
    })
}

/// A reference that begins with the `@` at this place.
fn reference_at(text: &str, at: usize) -> Option<Reference<'_>> {
    let rest = &text[at + 1..];
    let (close, usual) = match rest.as_bytes().first()? {
        b'{' => ('}', Spelling::Telegraf),
        b'<' => ('>', Spelling::Angle),
        _ => return None,
    };
    let inside = &rest[1..];
    let end = inside.find([close, '@', '\n', '"'])?;
    if !inside[end..].starts_with(close) || end > LONGEST {
        return None;
    }
    let inside = &inside[..end];
    let (store, key) = inside.split_once(':')?;
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let spelling = if is_word(store) && is_word(key) { usual } else { Spelling::Literal };
    Some(Reference { store, key, spelling, span: at..at + 1 + 1 + end + 1 })
}

/// The text with each reference replaced by what `resolve` gives for it; `None` leaves it as it stands. In memory that
/// is wiped, and that is measured first: a string that grows leaves copies behind.
///
/// # Errors
/// The first that `resolve` gives.
pub fn substitute<E>(
    text: &str,
    mut resolve: impl FnMut(&Reference<'_>) -> Result<Option<Secret>, E>,
) -> Result<Zeroizing<String>, E> {
    let mut length = text.len();
    let mut values = Vec::new();
    for reference in find(text) {
        if let Some(secret) = resolve(&reference)? {
            length += secret.expose().len();
            values.push((reference.span, secret));
        }
    }
    let mut out = Zeroizing::new(String::with_capacity(length));
    let mut done = 0;
    for (span, secret) in values {
        out.push_str(&text[done..span.start]);
        out.push_str(secret.expose());
        done = span.end;
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// The line of a place, from 1.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spellings(text: &str) -> Vec<(String, Spelling)> {
        find(text).map(|reference| (text[reference.span.clone()].to_owned(), reference.spelling)).collect()
    }

    #[test]
    fn both_spellings_are_found_and_mistakes_are_told_apart() {
        assert_eq!(
            spellings(r#"token = "@{influx:edge_writer}" x@<influx:a>y@{influx:b}"#),
            [
                ("@{influx:edge_writer}".to_owned(), Spelling::Telegraf),
                ("@<influx:a>".to_owned(), Spelling::Angle),
                ("@{influx:b}".to_owned(), Spelling::Telegraf),
            ]
        );
        assert_eq!(
            spellings("@{influx:edge-writer}"),
            [("@{influx:edge-writer}".to_owned(), Spelling::Literal)]
        );
        assert_eq!(spellings("@{ influx:a }"), [("@{ influx:a }".to_owned(), Spelling::Literal)]);
        for none in ["@{influx}", "@influx:a", "a@b.c", "@{influx:a", "@{influx:a>", "@", "@{a\n:b}"] {
            assert_eq!(spellings(none), [], "{none:?}");
        }
        assert_eq!(spellings("@@{influx:a}"), [("@{influx:a}".to_owned(), Spelling::Telegraf)]);
    }

    proptest! {
        #[test]
        fn resolving_nothing_changes_nothing(text in "[@{}<>:a_\\-\"\\n ]{0,40}|\\PC{0,40}") {
            let same = substitute(&text, |_| Ok::<_, ()>(None)).expect("no error");
            prop_assert_eq!(&*same, &text);
        }

        #[test]
        fn what_is_found_is_written_as_it_stands(text in "[@{}<>:a_\\-\"\\n ]{0,40}") {
            for reference in find(&text) {
                if reference.spelling != Spelling::Literal {
                    prop_assert_eq!(&reference.to_string(), &text[reference.span.clone()]);
                }
            }
        }

        #[test]
        fn a_reference_between_any_texts_is_resolved(
            before in "[^@]{0,20}", after in "[^@]{0,20}", key in "[A-Za-z0-9_]{1,20}",
        ) {
            let text = format!("{before}@{{influx:{key}}}{after}");
            let resolved = substitute(&text, |_| Ok::<_, ()>(Some(Secret::new("S".to_owned())))).expect("no error");
            prop_assert_eq!(&*resolved, &format!("{before}S{after}"));
        }
    }
}
