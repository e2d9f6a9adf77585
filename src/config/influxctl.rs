//! `influxctl = { … }`: how InfluxData's tool is run.

use std::path::PathBuf;

use super::{
    excerpt::Excerpt,
    section::{Located, Section},
    source::TokenSource,
};

/// `influxctl = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxctlConfig {
    /// What is run: a path, or a name to be found on `PATH`.
    pub program: PathBuf,
    /// Who it logs in as.
    pub login: Login,
    /// `--account`, where the list says it.
    pub account: Option<String>,
    /// `--cluster`, where the list says it.
    pub cluster: Option<String>,
}

/// Who influxctl logs in as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// With this management token, which is handed to it in a file of ours.
    ManagementToken(TokenSource),
    /// With a profile of a person's.
    Profile {
        /// `--config`; `None`: where influxctl looks by itself.
        config: Option<PathBuf>,
        /// `--profile`; `None`: its default one.
        name: Option<String>,
    },
}

impl Default for InfluxctlConfig {
    /// As a person runs it.
    fn default() -> Self {
        Self {
            program: PathBuf::from("influxctl"),
            login: Login::Profile { config: None, name: None },
            account: None,
            cluster: None,
        }
    }
}

/// The table, with the login of a profile.
pub(super) fn influxctl(section: &mut Section<'_>) -> InfluxctlConfig {
    let mut config = InfluxctlConfig::default();
    let Some(mut table) = section.section("influxctl") else { return config };
    let mut text = |key: &'static str| {
        let Located { value, span } = table.string(key)?;
        // A word that begins so would be taken for an option.
        let is_plain = !value.is_empty() && !value.starts_with('-') && !value.contains(char::is_control);
        if !is_plain {
            table.faults.add(
                span,
                &table.key(key),
                format!("expected a name or a path, found {}", Excerpt(value)),
            );
        }
        is_plain.then(|| value.to_owned())
    };
    config.program = text("path").map_or(config.program, PathBuf::from);
    config.login = Login::Profile { config: text("config").map(PathBuf::from), name: text("profile") };
    config.account = text("account");
    config.cluster = text("cluster");
    table.finish();
    config
}
