//! `influx-secrets resolve`: a reference, or a text with references.

use std::path::Path;

use zeroize::Zeroizing;

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
    print_secret(&resolved(source, id, &text)?)
}

/// The text with its references resolved, every one of which is to be ours.
pub(super) fn resolved(source: &Source, id: &str, text: &str) -> Result<Zeroizing<String>, Failure> {
    substitute(text, |reference| {
        if reference.store != id && reference.spelling != Spelling::Literal {
            return Err(Failure::OtherStore {
                reference: reference.to_string(),
                store: reference.store.to_owned(),
            });
        }
        value_of(source, reference).map(Some)
    })
}

/// The secret that one of our references stands for.
pub(super) fn value_of(source: &Source, reference: &Reference<'_>) -> Result<Secret, Failure> {
    if reference.spelling == Spelling::Literal {
        return Err(Failure::Literal(reference.to_string()));
    }
    source.secret(&reference.key.parse()?)
}
