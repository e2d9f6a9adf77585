//! `influx-secrets get`: one secret.

use super::{Failure, Source};
use crate::cli::ui;

pub(super) fn run(source: &Source, name: &str) -> Result<(), Failure> {
    print_secret(source.secret(&name.parse()?)?.expose())
}

/// A newline is no part of a secret; a person's prompt wants one all the same.
pub(super) fn print_secret(text: &str) -> Result<(), Failure> {
    ui::print(text)?;
    if ui::is_for_a_person() {
        ui::print("\n")?;
    }
    Ok(())
}
