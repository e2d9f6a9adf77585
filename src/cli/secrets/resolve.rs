//! `influx-secrets resolve`: a reference, or a text with references.

use std::path::Path;

use super::{Failure, Source, get::print_secret, text::read_text};
use crate::{
    model::Secret,
    reference::{Reference, Spelling, substitute},
};

pub(super) fn run(source: &Source, id: &str, text: Option<&str>) -> Result<(), Failure> {
    let text = match text {
        None | Some("-") => read_text(Path::new("-"))?,
        Some(text) => text.to_owned(),
    };
    let resolved = substitute(&text, |reference| {
        if reference.store != id && reference.spelling != Spelling::Literal {
            return Err(Failure::OtherStore {
                reference: reference.to_string(),
                store: reference.store.to_owned(),
            });
        }
        value_of(source, reference).map(Some)
    })?;
    print_secret(&resolved)
}

/// The secret that one of our references stands for.
pub(super) fn value_of(source: &Source, reference: &Reference<'_>) -> Result<Secret, Failure> {
    if reference.spelling == Spelling::Literal {
        return Err(Failure::Literal(reference.to_string()));
    }
    source.secret(&reference.key.parse()?)
}
