//! The two command lines. Nothing else prints.

pub mod age_plugin;
pub mod secrets;
#[cfg(feature = "daemon")]
pub mod tokend;
pub mod ui;

/// For programs, or for people.
#[cfg(feature = "daemon")]
#[derive(Clone, Copy, Debug, clap::Args)]
struct Output {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "daemon", derive(clap::ValueEnum))]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}
