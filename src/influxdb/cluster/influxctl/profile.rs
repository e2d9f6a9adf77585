//! The profile that influxctl is handed: a file of ours, which has the management token in it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::{config::ServerConfig, model::Secret};

/// How the files are called, for the next process to know those that this one leaves behind.
const PREFIX: &str = "influxctl-";

/// What stands in a profile beside the token (`influxctl` config file, "Example configuration file").
#[derive(Clone, Debug, Serialize)]
pub(super) struct Profile {
    name: &'static str,
    product: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// A text, as documented.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    tls: Tls,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Tls {
    #[serde(skip_serializing_if = "is_false")]
    disable: bool,
    #[serde(skip_serializing_if = "is_false")]
    insecure: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Profile {
    pub(super) fn new(config: &ServerConfig) -> Self {
        // Cloud Dedicated is found by its ids; where its console is, influxctl knows by itself.
        let url = Some(&config.url).filter(|_| config.cluster.is_none());
        let ids = config.cluster.as_ref();
        let client = config.client_certificate.as_ref();
        Self {
            name: "default",
            product: config.product.to_string(),
            host: url.and_then(|url| url.host_str()).map(str::to_owned),
            port: url.and_then(Url::port_or_known_default).map(|port| port.to_string()),
            account_id: ids.map(|ids| ids.account.to_string()),
            cluster_id: ids.map(|ids| ids.cluster.to_string()),
            tls: Tls {
                disable: config.url.scheme() == "http",
                insecure: config.insecure_skip_verify,
                ca: config.ca_file.clone(),
                cert: client.map(|client| client.certificate.clone()),
                key: client.map(|client| client.key.clone()),
            },
        }
    }

    /// Writes it, with the token, into a new file in this folder.
    pub(super) fn write(&self, folder: &Path, token: &Secret) -> io::Result<ProfileFile> {
        make(folder)?;
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = folder.join(format!("{PREFIX}{random:016x}.toml"));
        let text = self.text(token)?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // From here on it goes with the guard.
        let guard = ProfileFile(path);
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(guard)
    }

    fn text(&self, token: &Secret) -> io::Result<Zeroizing<String>> {
        #[derive(Serialize)]
        struct File<'a> {
            profile: [&'a Profile; 1],
        }
        let rest = toml::to_string(&File { profile: [self] }).map_err(io::Error::other)?;
        let (header, rest) = rest.split_once('\n').unwrap_or_default();
        // Written by hand, into room enough, so that no copy of it is left behind. It is one word of visible ASCII.
        let mut text = Zeroizing::new(String::with_capacity(rest.len() + 2 * token.expose().len() + 64));
        text.push_str(header);
        text.push_str("\nmgmt_token = \"");
        for c in token.expose().chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
        text.push_str(rest);
        Ok(text)
    }
}

/// The file, as long as somebody needs it.
#[derive(Debug)]
pub(super) struct ProfileFile(PathBuf);

impl ProfileFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ProfileFile {
    fn drop(&mut self) {
        // The next process takes away one that stays.
        let _gone = fs::remove_file(&self.0);
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes away the profiles that a process which was killed has left behind. To be called where nobody else can be using
/// one.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let _gone = fs::remove_file(entry.path());
        }
    }
}
