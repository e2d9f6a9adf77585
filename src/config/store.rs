//! `[store]`: where records are kept.

use std::{path::PathBuf, str::FromStr as _};

use super::{
    AgeConfig, Context, StoreConfig, StoreKind,
    bounds::{self, duration},
    fault::Faults,
    path::path,
    source::source,
    tree::{At, Section, neither},
};
use crate::store::age::{PLUGIN_TIME, Plugins};

pub(super) fn store(root: &mut Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> StoreConfig {
    let mut config = StoreConfig {
        path: context.defaults.store.clone(),
        kind: StoreKind::Age(AgeConfig {
            plugins: Plugins::new(PLUGIN_TIME, context.is_attended),
            ..AgeConfig::default()
        }),
        machine_id: PathBuf::from("/etc/machine-id"),
    };
    let Some(mut section) = root.section("store", faults) else { return config };
    config.kind = kind(&mut section, context, faults);
    if let Some(path) = path(&mut section, "path", context, faults) {
        config.path = path;
    }
    if let Some(path) = path(&mut section, "machine_id", context, faults) {
        config.machine_id = path;
    }
    section.finish(faults);
    config
}

fn kind(section: &mut Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> StoreKind {
    let age = |section: &mut Section<'_, '_>, faults: &mut Faults<'_>| {
        StoreKind::Age(age(section, context, faults))
    };
    match section.string("kind", faults) {
        None | Some(At { value: "age", .. }) => age(section, faults),
        Some(kind @ At { value: "secret-service", .. }) => {
            for key in ["recipients", "identity", "passphrase", "unwrap", "plugin_timeout"] {
                if let Some(value) = section.get(key) {
                    let what = "is of age files: a keyring is opened by whoever unlocks it";
                    faults.add_with_hint(value.span(), &section.key(key), what, "leave it out");
                }
            }
            secret_service(&kind, section, faults)
        }
        Some(other) => {
            neither(other, &section.key("kind"), ["age", "secret-service"], faults);
            // What else it says can be right all the same.
            age(section, faults)
        }
    }
}

#[cfg(feature = "secret-service")]
fn secret_service(_: &At<&str>, _: &Section<'_, '_>, _: &mut Faults<'_>) -> StoreKind {
    StoreKind::SecretService
}

#[cfg(not(feature = "secret-service"))]
fn secret_service(kind: &At<&str>, section: &Section<'_, '_>, faults: &mut Faults<'_>) -> StoreKind {
    let what = "this influx-tokend was built without it";
    let fix = "build it with `--features secret-service`, or install a package, which has it";
    faults.add_with_hint(kind.span.clone(), &section.key("kind"), what, fix);
    StoreKind::Age(AgeConfig::default())
}

fn age(section: &mut Section<'_, '_>, context: &Context, faults: &mut Faults<'_>) -> AgeConfig {
    let mut recipients = Vec::new();
    for At { value, span } in section.strings("recipients", faults).map(|at| at.value).unwrap_or_default() {
        match recipient(value) {
            Ok(()) => recipients.push(value.to_owned()),
            Err(what) => faults.add_with_hint(
                span,
                "[store] recipients",
                what,
                "`age-keygen -y` prints one that will do",
            ),
        }
    }
    AgeConfig {
        recipients,
        identity: source(section, "identity", context, faults),
        passphrase: source(section, "passphrase", context, faults),
        unwrap: source(section, "unwrap", context, faults),
        plugins: Plugins::new(
            duration(section, &bounds::PLUGIN_TIMEOUT, faults).map_or(PLUGIN_TIME, |at| at.value),
            context.is_attended,
        ),
    }
}

fn recipient(text: &str) -> Result<(), &'static str> {
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err("that is an identity, which opens what is sealed: it may not stand in the list");
    }
    if text.starts_with("ssh-") {
        return Err("ssh keys are not used: the library for them has an open advisory");
    }
    let known =
        age::x25519::Recipient::from_str(text).is_ok() || age::plugin::Recipient::from_str(text).is_ok();
    if known { Ok(()) } else { Err("expected an age recipient, age1…") }
}
