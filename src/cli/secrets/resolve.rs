//! `influx-secrets resolve`: a reference, or a text with references.

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, Source, check, get::print_secret, source::read_text};
use crate::reference::{Reference, Spelling, substitute};

/// What to resolve.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// A text with references, such as '@{influx:edge_writer}'; without one, or for '-', stdin
    #[arg(conflicts_with = "check")]
    text: Option<String>,

    /// List every reference of these files, and whether it resolves
    #[arg(long, value_name = "FILE", num_args = 1..)]
    check: Vec<PathBuf>,
}

pub(super) fn run(source: &Source, id: &str, resolve: &Resolve) -> Result<bool, Failure> {
    if !resolve.check.is_empty() {
        return check::run(source, id, &resolve.check);
    }
    let text = match resolve.text.as_deref() {
        None | Some("-") => read_text(&PathBuf::from("-"))?,
        Some(text) => text.to_owned(),
    };
    let resolved = substitute(&text, |reference| {
        if reference.store != id && reference.spelling != Spelling::Literal {
            return Err(Failure::OtherStore {
                reference: reference.to_string(),
                store: reference.store.to_owned(),
            });
        }
        value_of(source, reference).map(|value| Some(value.to_string()))
    })?;
    print_secret(Zeroizing::new(resolved))?;
    Ok(true)
}

/// The secret that one of our references stands for.
pub(super) fn value_of(source: &Source, reference: &Reference<'_>) -> Result<Zeroizing<String>, Failure> {
    if reference.spelling == Spelling::Literal {
        return Err(Failure::Literal(reference.to_string()));
    }
    let secret = source.secret(&reference.key.parse()?)?;
    Ok(Zeroizing::new(secret.expose().to_owned()))
}
