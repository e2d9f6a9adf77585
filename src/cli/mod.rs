//! The two command lines. Nothing else prints.

use clap::{Args, ValueEnum};

pub mod secrets;
#[cfg(feature = "daemon")]
pub mod tokend;
pub mod ui;

/// For programs, or for people.
#[derive(Clone, Copy, Debug, Args)]
struct Output {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}
