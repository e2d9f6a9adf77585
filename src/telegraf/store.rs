//! The secret store of a Telegraf that fits its version, as `telegraf/` has it.

use std::path::{Path, PathBuf};

use super::{Version, version};
use crate::hint::Hint;

/// The first with a store that logs in to Vault, and the first that needs no login.
const VAULT_APPROLE: Version = version(1, 37, 0);
const VAULT: Version = version(1, 39, 0);
/// The first with a store that reads files, and the first where `outputs.influxdb_v2` reads them on every use
/// (telegraf#16628).
const FILES: Version = version(1, 27, 0);
const DYNAMIC: Version = version(1, 34, 1);

/// How a Telegraf reads from the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Over the socket.
    Vault,
    /// Over the socket, with a login.
    VaultAppRole,
    /// From delivered files; on every use, or at a reload only.
    Files {
        /// On every use.
        dynamic: bool,
    },
}

/// Why there is no store to be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Telegraf would not find it.
    #[error("{0:?} is no name of a telegraf secret store: letters, digits and underscores only")]
    Id(String),
    /// TOML is UTF-8.
    #[error("{0:?} is not UTF-8, as telegraf's configuration is")]
    Path(PathBuf),
}

impl Hint for StoreError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Id(_) => Some("`--id` says what references call this store".to_owned()),
            Self::Path(_) => None,
        }
    }
}

impl Version {
    /// The best store that it has; `None` before there was one that fits.
    #[must_use]
    pub fn store(self) -> Option<Store> {
        match self {
            version if version >= VAULT => Some(Store::Vault),
            version if version >= VAULT_APPROLE => Some(Store::VaultAppRole),
            version if version >= FILES => Some(Store::Files { dynamic: version >= DYNAMIC }),
            _ => None,
        }
    }
}

impl Store {
    /// Whether Telegraf asks for a value each time it uses it.
    #[must_use]
    pub fn is_dynamic(self) -> bool {
        self != Self::Files { dynamic: false }
    }

    /// The table for telegraf.conf.
    ///
    /// # Errors
    /// What it is to say cannot be written there.
    pub fn table(self, id: &str, socket: &Path, files: &Path) -> Result<String, StoreError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(StoreError::Id(id.to_owned()));
        }
        let file = match self {
            Self::Vault => include_str!("../../telegraf/vault.conf"),
            Self::VaultAppRole => include_str!("../../telegraf/vault-approle.conf"),
            Self::Files { .. } => include_str!("../../telegraf/docker.conf"),
        };
        let table = file.split("\n\n").find(|block| block.starts_with("[[secretstores."));
        let mut table = table.unwrap_or_default().replace("id = \"influx\"", &format!("id = \"{id}\""));
        table = table.replace("\"unix:///run/influx-tokend/secrets.sock\"", &quoted("unix://", socket)?);
        table = table.replace("\"/run/influx-tokend/secrets\"", &quoted("", files)?);
        if !self.is_dynamic() {
            table = table.replace("dynamic = true", "dynamic = false");
        }
        Ok(table + "\n")
    }
}

/// As a string of TOML's, which has JSON's escapes.
fn quoted(before: &str, path: &Path) -> Result<String, StoreError> {
    let text = path.to_str().ok_or_else(|| StoreError::Path(path.to_owned()))?;
    Ok(serde_json::Value::from(format!("{before}{text}")).to_string())
}

/// Whether a telegraf.conf has a secret store of this id. By its lines: what is written in another way than people write
/// it is not seen, and Telegraf then says that there are two.
#[must_use]
pub fn defines(text: &str, id: &str) -> bool {
    let mut is_store = false;
    text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            is_store = line.starts_with("[[secretstores.");
        }
        let value = line.strip_prefix("id").map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
        let value = value.map(|value| value.split('#').next().unwrap_or_default().trim());
        is_store
            && value.is_some_and(|value| [format!("\"{id}\""), format!("'{id}'")].contains(&value.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_the_store_that_the_readme_names() {
        for (text, store) in [
            ("1.26.3", None),
            ("1.27.0", Some(Store::Files { dynamic: false })),
            ("1.34.0", Some(Store::Files { dynamic: false })),
            ("1.34.1", Some(Store::Files { dynamic: true })),
            ("1.36.4", Some(Store::Files { dynamic: true })),
            ("1.37.0", Some(Store::VaultAppRole)),
            ("1.38.4", Some(Store::VaultAppRole)),
            ("1.39.0", Some(Store::Vault)),
            ("2.0.0", Some(Store::Vault)),
        ] {
            let version = Version::parse(&format!("Telegraf {text}")).expect(text);
            assert_eq!(version.store(), store, "{text}");
        }
    }

    #[test]
    fn a_table_says_where_this_host_has_things() {
        let (socket, files) = (Path::new("/s \"x\"/t.sock"), Path::new("/f"));
        let table = |store: Store| store.table("mine", socket, files).expect("a table");
        let vault = table(Store::Vault);
        for line in [
            "[[secretstores.vault]]\n",
            "id = \"mine\"\n",
            "address = \"unix:///s \\\"x\\\"/t.sock\"\n",
            "mount_path = \"influx\"\n",
            "token = \"none\"\n",
        ] {
            assert!(vault.contains(line), "{line}: {vault}");
        }
        assert!(table(Store::VaultAppRole).contains("[secretstores.vault.approle]\n"));
        let files = table(Store::Files { dynamic: false });
        assert!(files.contains("path = \"/f\"\n") && files.contains("dynamic = false\n"), "{files}");
        assert!(table(Store::Files { dynamic: true }).contains("dynamic = true\n"));
        for store in [Store::Vault, Store::VaultAppRole, Store::Files { dynamic: true }] {
            let table = table(store);
            assert!(!table.contains("/run/influx-tokend") && !table.contains("[[outputs"), "{table}");
            assert!(defines(&table, "mine") && !defines(&table, "influx"));
        }
        for id in ["", "a-b", "a:b", "é"] {
            assert_eq!(Store::Vault.table(id, socket, Path::new("/f")), Err(StoreError::Id(id.to_owned())));
        }
    }

    #[test]
    fn a_store_is_found_as_people_write_it() {
        for (text, is_one) in [
            ("[[secretstores.vault]]\nid = \"influx\"", true),
            ("[agent]\n[[secretstores.docker]]\n  path = \"/x\"\n\n  id='influx' # ours", true),
            ("[[secretstores.docker]]\n  id = \"other\"\n[[secretstores.http]]\n\tid =\t\"influx\"\n", true),
            ("[[secretstores.docker]]\n  id = \"influx2\"", false),
            ("# [[secretstores.docker]]\n# id = \"influx\"", false),
            ("[[secretstores.docker]]\n# id = \"influx\"", false),
            ("[[inputs.exec]]\nid = \"influx\"", false),
            ("[[secretstores.docker]]\nid = \"a\"\n[[inputs.x]]\nid = \"influx\"", false),
            ("", false),
        ] {
            assert_eq!(defines(text, "influx"), is_one, "{text:?}");
        }
    }
}
