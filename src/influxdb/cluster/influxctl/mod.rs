//! InfluxData's own tool as the way to manage tokens: all there is for InfluxDB Clustered before release 20250508.
//!
//! Written from its documentation (commands, release notes); what that leaves open is noted where it matters. It shows no
//! date: its lists are judged by the local clock, where that can be believed (rule 10).

use std::{collections::BTreeSet, path::Path};

use async_trait::async_trait;

use super::data_plane::DataPlane;
use crate::{
    config::{InfluxctlConfig, ServerConfig},
    influxdb::{
        Check, ErrorKind, Interest, MintError, Minted, Order, Server, ServerError, Verdict,
        http::{MAX_BODY, MAX_LIST},
    },
    model::{
        Action, Credential, Database, Descriptor, Expiry, Grants, Listed, Listing, Product, ServerName,
        TokenId,
    },
};

mod answer;
mod clusters;
mod complaint;
mod json;
mod profile;
mod program;
mod version;

pub use clusters::{KnownCluster, known_clusters};
pub use profile::remove_leftovers;
use program::{FailedCall, InfluxctlProgram};

/// A cluster whose tokens are managed by the tool.
#[derive(Debug)]
pub(super) struct ClusterByInfluxctl {
    product: Product,
    program: InfluxctlProgram,
    data: DataPlane,
}

impl ClusterByInfluxctl {
    /// `private`: a folder on tmpfs that is ours alone.
    pub(super) fn new(
        name: &ServerName,
        config: &ServerConfig,
        settings: InfluxctlConfig,
        data: DataPlane,
        private: &Path,
    ) -> Self {
        let program = InfluxctlProgram::new(name, config, settings, private);
        Self { product: config.product, program, data }
    }

    fn failed(&self, verb: &'static str) -> impl Fn(FailedCall) -> ServerError {
        move |failed| self.program.error(verb, failed.kind)
    }
}

#[async_trait]
impl Server for ClusterByInfluxctl {
    /// As far as the version is known: a list shows it.
    fn descriptor(&self) -> Descriptor {
        let descriptor = self.product.descriptor();
        match self.program.known_version() {
            Some(version) if version.has_expiry() => descriptor,
            _ => Descriptor { expiry: Expiry::None, ..descriptor },
        }
    }

    async fn list(&self, interest: &Interest<'_>) -> Result<Listing, ServerError> {
        let verb = "list tokens";
        // A list begins a pass.
        self.program.begin_pass().await;
        let version = self.program.version().await.map_err(self.failed(verb))?;
        let mut words = vec!["token", "list", "--format", "json"];
        if version.has_expiry() {
            words.push("--include-revoked");
        }
        let said = self.program.call(&words, MAX_LIST).await.map_err(self.failed(verb))?;
        answer::list(&said.stdout, interest).map_err(|kind| self.program.error(verb, kind))
    }

    async fn databases(&self) -> Result<BTreeSet<String>, ServerError> {
        let verb = "list databases";
        let words = ["database", "list", "--format", "json"];
        // How it prints them is not documented: minting does without.
        let unsupported =
            |kind: ErrorKind| self.program.error(verb, ErrorKind::Unsupported(kind.to_string()));
        let said = match self.program.call(&words, MAX_LIST).await {
            Ok(said) => said,
            Err(FailedCall { kind: kind @ (ErrorKind::Failed(_) | ErrorKind::Refused { .. }), .. }) => {
                return Err(unsupported(kind));
            }
            Err(failed) => return Err(self.program.error(verb, failed.kind)),
        };
        answer::databases(&said.stdout).map_err(unsupported)
    }

    async fn mint(&self, order: &Order) -> Result<Minted, MintError> {
        let verb = "mint token";
        let unminted = |kind| MintError::NotMinted(self.program.error(verb, kind));
        if let Some(what) = unsupported_order(order) {
            return Err(unminted(ErrorKind::Unsupported(what.to_owned())));
        }
        let grants = flags(&order.grants);
        let mut words = vec!["token", "create"];
        words.extend(grants.iter().map(String::as_str));
        let expires_at = order.expires_at().map(|at| format!("{at:.0}"));
        words.extend(expires_at.iter().flat_map(|at| ["--expires-at", at.as_str()]));
        words.extend(["--format", "json", order.description.as_str()]);
        let said = match self.program.call(&words, MAX_BODY).await {
            Ok(said) => said,
            Err(failed) if failed.no_effect => return Err(unminted(failed.kind)),
            // Whatever it complains of, the token may be there.
            Err(failed) => return Err(MintError::Unknown(self.program.error(verb, failed.kind))),
        };
        answer::minted(&said.stdout, order).map_err(|kind| MintError::Unknown(self.program.error(verb, kind)))
    }

    async fn get(&self, id: &TokenId) -> Result<Option<Listed>, ServerError> {
        let verb = "get token";
        let words = ["token", "get", "--format", "json", &*id.0];
        let said = self.program.call(&words, MAX_BODY).await.map_err(self.failed(verb))?;
        answer::one(&said.stdout, id).map_err(|kind| self.program.error(verb, kind))
    }

    /// The change itself prints nothing that can be read: what has come of it is asked for.
    async fn patch(&self, id: &TokenId, grants: &Grants) -> Result<Listed, ServerError> {
        let verb = "change token";
        let flags = flags(grants);
        let mut words = vec!["token", "update"];
        words.extend(flags.iter().map(String::as_str));
        words.push(&id.0);
        self.program.call(&words, MAX_BODY).await.map_err(self.failed(verb))?;
        let gone = || self.program.error(verb, ErrorKind::Nonsense("the token is gone".to_owned()));
        let mut listed = self.get(id).await?.ok_or_else(gone)?;
        // Where it does not say what a token may do, that it has not complained has to be enough.
        listed.grants.get_or_insert_with(|| grants.clone());
        Ok(listed)
    }

    async fn revoke(&self, id: &TokenId) -> Result<(), ServerError> {
        let verb = "revoke token";
        let version = self.program.version().await.map_err(self.failed(verb))?;
        let revoke = if version.has_expiry() { "revoke" } else { "delete" };
        let words = ["token", revoke, "--force", &*id.0];
        self.program.call(&words, MAX_BODY).await.map(drop).map_err(self.failed(verb))
    }

    async fn check(&self, credential: &Credential, check: &Check) -> Verdict {
        self.data.check(credential, check).await
    }
}

/// What its command line would take for something else.
fn unsupported_order(order: &Order) -> Option<&'static str> {
    if order.description.starts_with('-') {
        return Some("a description that begins with '-' would be taken for an option");
    }
    let has_comma = order.grants.named_databases().any(|name| name.contains(','));
    has_comma.then_some("a database with a comma in its name would be taken for two")
}

/// `--read-database A … --write-database B …`, in the order of the documentation.
fn flags(grants: &Grants) -> Vec<String> {
    let of = |action: Action, flag: &'static str| {
        let databases = grants.iter().filter(move |grant| grant.action == action);
        databases.flat_map(move |grant| {
            let name = match &grant.database {
                Database::All => "*",
                Database::Named(name) => name,
            };
            [flag.to_owned(), name.to_owned()]
        })
    };
    of(Action::Read, "--read-database").chain(of(Action::Write, "--write-database")).collect()
}
