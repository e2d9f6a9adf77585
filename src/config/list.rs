//! The whole list.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    bounds::{self, duration},
    context::ListContext,
    deliver::deliver,
    document::{document, refuse_tokens},
    error::ConfigError,
    faults::Faults,
    influxctl::InfluxctlConfig,
    lifecycle::lifecycle,
    load::read,
    section::Section,
    server::{ServerConfig, influxctl_for_missing_ids, servers},
    store::{StoreConfig, store},
    token::tokens,
};
use crate::model::{Lifecycle, Name, ServerName, Spec};

/// How often servers are asked, where the list does not say.
const RECONCILE: Duration = Duration::from_secs(15 * 60);

/// Everything a list says, checked, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often the servers are asked.
    pub reconcile: Duration,
    /// `[server]` (as [`ServerName::DEFAULT`]) or `[servers.NAME]`; may be empty: then nothing is minted.
    pub servers: BTreeMap<ServerName, ServerConfig>,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[deliver.files]`, where that table is there.
    pub files: Option<PathBuf>,
    /// `[deliver.socket]`; the other run-time files of the daemon are beside it.
    pub socket: PathBuf,
    /// The folder of hooks; the list cannot set it.
    pub hooks: PathBuf,
    /// `[lifecycle]`.
    pub lifecycle: Lifecycle,
    /// `[[token]]`, by name; shared, for there may be many.
    pub specs: Arc<BTreeMap<Name, Spec>>,
}

impl Config {
    /// Reads and checks a list.
    ///
    /// # Errors
    /// It cannot be read, or has faults: all of them are reported.
    pub fn load(path: &Path, context: &ListContext) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path, context)
    }

    /// Checks the text of a list; `file` is for faults only.
    ///
    /// # Errors
    /// It has faults: all of them are reported.
    pub fn parse(text: &str, file: &Path, context: &ListContext) -> Result<Self, ConfigError> {
        let faults = Faults::new(text);
        let tree = document(text, &faults);
        refuse_tokens(tree.get_ref(), &faults);
        let mut root = Section::root(tree.get_ref(), &faults);
        let config = Self::of(&mut root, context);
        root.finish();
        faults.into_result(file, config)
    }

    /// `None` where a server is not whole, which is a fault: the rest is not used then.
    fn of(root: &mut Section<'_>, context: &ListContext) -> Option<Self> {
        let reconcile = duration(root, &bounds::RECONCILE).map_or(RECONCILE, |found| found.value);
        let servers = servers(root, context);
        let store = store(root, context);
        let (socket, files) = deliver(root, context);
        let (lifecycle, defaults) = lifecycle(root);
        let specs = tokens(root, context, &servers, &lifecycle, &defaults).into();
        let servers =
            servers.into_iter().map(|(name, server)| Some((name, server?))).collect::<Option<_>>()?;
        let hooks = context.defaults.hooks.clone();
        Some(Self { reconcile, servers, store, files, socket, hooks, lifecycle, specs })
    }

    /// Where the store is and where secrets are delivered to, of a list that may have faults; without servers and tokens.
    /// The records in the store can then be kept and delivered.
    #[must_use]
    pub fn salvage(text: &str, context: &ListContext) -> Self {
        let unused = Faults::new(text);
        let tree = document(text, &unused);
        let mut root = Section::root(tree.get_ref(), &unused);
        let store = store(&mut root, context);
        let (socket, files) = deliver(&mut root, context);
        Self {
            reconcile: RECONCILE,
            servers: BTreeMap::new(),
            store,
            files,
            socket,
            hooks: context.defaults.hooks.clone(),
            lifecycle: Lifecycle::default(),
            specs: Arc::default(),
        }
    }

    /// How a person runs influxctl, which may list clusters, for the first server that needs the ids of its cluster and
    /// does not have both.
    #[must_use]
    pub fn influxctl_for_missing_ids(text: &str) -> Option<InfluxctlConfig> {
        let unused = Faults::new(text);
        let tree = document(text, &unused);
        let mut root = Section::root(tree.get_ref(), &unused);
        let several = root.section("servers").map(|several| several.tables());
        let servers = root.section("server").into_iter();
        let mut servers = servers.chain(several.into_iter().flatten().map(|(_, section)| section));
        servers.find_map(|section| influxctl_for_missing_ids(section))
    }
}
