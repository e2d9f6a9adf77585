//! `[store]`: where records are kept.

use std::{path::PathBuf, str::FromStr as _};

use super::{
    bounds::{self, duration},
    context::ListContext,
    path::path,
    section::{Located, Section},
    source::{TokenSource, source},
};
use crate::store::age::{PLUGIN_TIME, Plugins};

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder.
    pub path: PathBuf,
    /// Where the records are.
    pub kind: StoreKind,
    /// The file that identifies this machine.
    pub machine_id: PathBuf,
}

/// `[store] kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In the folder, as age files.
    Age(AgeConfig),
    /// In the keyring of the user that runs this.
    #[cfg(feature = "secret-service")]
    SecretService,
}

/// The keys of `[store]` for age files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgeConfig {
    /// Other recipients that can open them.
    pub recipients: Vec<String>,
    /// Where the host's identity comes from; `None`: `identity.txt` or `identity.age` in the folder, made on
    /// first use.
    pub identity: Option<TokenSource>,
    /// The passphrase of a wrapped identity.
    pub passphrase: Option<TokenSource>,
    /// The identity that a wrapped one is sealed for: a plugin's, or a key that is kept elsewhere.
    pub unwrap: Option<TokenSource>,
    /// How age plugins are run.
    pub plugins: Plugins,
}

pub(super) fn store(root: &mut Section<'_>, context: &ListContext) -> StoreConfig {
    let mut config = StoreConfig {
        path: context.defaults.store.clone(),
        kind: StoreKind::Age(AgeConfig {
            plugins: Plugins::new(PLUGIN_TIME, context.is_attended),
            ..AgeConfig::default()
        }),
        machine_id: PathBuf::from("/etc/machine-id"),
    };
    let Some(mut section) = root.section("store") else { return config };
    config.kind = kind(&mut section, context);
    if let Some(path) = path(&mut section, "path", context) {
        config.path = path;
    }
    if let Some(path) = path(&mut section, "machine_id", context) {
        config.machine_id = path;
    }
    section.finish();
    config
}

fn kind(section: &mut Section<'_>, context: &ListContext) -> StoreKind {
    match section.string("kind") {
        None | Some(Located { value: "age", .. }) => StoreKind::Age(age(section, context)),
        Some(kind @ Located { value: "secret-service", .. }) => {
            for key in ["recipients", "identity", "passphrase", "unwrap", "plugin_timeout"] {
                if let Some(value) = section.get(key) {
                    let what = "is for kind = \"age\" only";
                    section.faults.add_with_hint(value.span(), &section.key(key), what, "remove it");
                }
            }
            secret_service(&kind, section)
        }
        Some(other) => {
            section.not_one_of("kind", &other, &["age", "secret-service"]);
            // Its other keys can be right all the same.
            StoreKind::Age(age(section, context))
        }
    }
}

#[cfg(feature = "secret-service")]
fn secret_service(_: &Located<&str>, _: &Section<'_>) -> StoreKind {
    StoreKind::SecretService
}

#[cfg(not(feature = "secret-service"))]
fn secret_service(kind: &Located<&str>, section: &Section<'_>) -> StoreKind {
    let what = "this influx-tokend is built without \"secret-service\"";
    let fix = "build it with `--features secret-service`, or install a package";
    section.faults.add_with_hint(kind.span.clone(), &section.key("kind"), what, fix);
    StoreKind::Age(AgeConfig::default())
}

fn age(section: &mut Section<'_>, context: &ListContext) -> AgeConfig {
    let mut recipients = Vec::new();
    for Located { value, span } in section.strings("recipients").map(|at| at.value).unwrap_or_default() {
        match recipient(value) {
            Ok(()) => recipients.push(value.to_owned()),
            Err(what) => section.faults.add_with_hint(
                span,
                "[store] recipients",
                what,
                "print the recipient of an identity with `age-keygen -y IDENTITY`",
            ),
        }
    }
    AgeConfig {
        recipients,
        identity: source(section, "identity", context),
        passphrase: source(section, "passphrase", context),
        unwrap: source(section, "unwrap", context),
        plugins: Plugins::new(
            duration(section, &bounds::PLUGIN_TIMEOUT).map_or(PLUGIN_TIME, |at| at.value),
            context.is_attended,
        ),
    }
}

fn recipient(text: &str) -> Result<(), &'static str> {
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err("expected a recipient, found an identity: do not put a secret in the list");
    }
    if text.starts_with("ssh-") {
        return Err("ssh keys are not supported: their library has an open security advisory");
    }
    let known =
        age::x25519::Recipient::from_str(text).is_ok() || age::plugin::Recipient::from_str(text).is_ok();
    if known { Ok(()) } else { Err("expected an age recipient, age1…") }
}
