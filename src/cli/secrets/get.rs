//! `influx-secrets get`: one secret.

use clap::Args;
use zeroize::Zeroizing;

use super::{Failure, Source};
use crate::cli::ui;

/// Which secret.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// The token's name
    name: String,
}

pub(super) fn run(source: &Source, get: &Get) -> Result<(), Failure> {
    let secret = source.secret(&get.name.parse()?)?;
    print_secret(Zeroizing::new(secret.expose().to_owned()))
}

/// A newline is no part of a secret; a person's prompt wants one all the same.
pub(super) fn print_secret(mut text: Zeroizing<String>) -> Result<(), Failure> {
    if ui::is_for_a_person() {
        text.push('\n');
    }
    Ok(ui::print(&text)?)
}
