//! Whose tokens are ours, and which machine this is (rule 13).

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    Instances, StoreError, file,
    folder::{Layout, store_error, store_fault},
};
use crate::{model::Instance, replace::rewrite};

/// Where systemd keeps it (machine-id(5)).
const USUAL: &str = "/etc/machine-id";
/// The largest `instance` file.
const MAX_BYTES: u64 = 1 << 20;

/// Whether the store belongs to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It does.
    Same,
    /// It was copied here from another.
    Other,
    /// That cannot be told, and why.
    Undetectable(String),
}

/// The content of `instance`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceFile {
    version: u32,
    current: Instance,
    #[serde(default)]
    former: Vec<Instance>,
    /// HMAC-SHA256 of the machine-id under the instance; none where it says nothing.
    machine: Option<String>,
    /// The machine-id has changed so often that it says nothing.
    #[serde(default)]
    changes: u32,
}

/// A machine-id that changes this often is made anew at each boot.
const UNSTABLE: u32 = 2;

impl InstanceFile {
    pub(super) fn draw(machine_id: &Path) -> Result<Self, StoreError> {
        let current = random()?;
        let machine = read_machine_id(machine_id).ok().map(|id| hmac(&current, &id));
        Ok(Self { version: 1, current, former: vec![], machine, changes: 0 })
    }

    /// `None` where there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let bytes = match file::read(path, MAX_BYTES) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error(path, "cannot read the instance", error)),
        };
        let file: Self = serde_json::from_slice(&bytes).map_err(|error| {
            store_fault(path, format!("is no instance: {error}"), "put it back from a backup")
        })?;
        if file.version != 1 {
            let what = format!("has version {}, this program reads 1", file.version);
            return Err(store_fault(path, what, "run the influx-tokend that wrote it, or a later one"));
        }
        Ok(Some(file))
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("an instance can be written as JSON");
        json.push(b'\n');
        json
    }

    pub(super) fn write(&self, layout: &Layout) -> Result<(), StoreError> {
        let path = layout.instance();
        rewrite(&path, &self.to_json())
            .map_err(|error| store_error(&path, "cannot write the instance", error))
    }

    pub(super) fn instances(&self) -> Instances {
        Instances { current: self.current.clone(), former: self.former.clone() }
    }

    pub(super) fn machine(&self, machine_id: &Path) -> Machine {
        if self.changes >= UNSTABLE {
            return Machine::Undetectable(format!("{} has changed before", machine_id.display()));
        }
        match (&self.machine, read_machine_id(machine_id)) {
            (_, Err(why)) => Machine::Undetectable(why),
            (None, Ok(_)) => {
                Machine::Undetectable("the store was made where there was no machine-id".to_owned())
            }
            (Some(known), Ok(id)) if *known == hmac(&self.current, &id) => Machine::Same,
            (Some(_), Ok(_)) => Machine::Other,
        }
    }

    /// Another instance from now on.
    pub(super) fn renew(&mut self, machine_id: &Path) -> Result<(), StoreError> {
        if self.machine(machine_id) == Machine::Other {
            self.changes += 1;
        }
        let former = std::mem::replace(&mut self.current, random()?);
        self.former.push(former);
        self.machine = read_machine_id(machine_id).ok().map(|id| hmac(&self.current, &id));
        Ok(())
    }

    /// The same instance on this machine: either it has not been renewed yet, or it goes back to the last one, whose
    /// tokens are then ours again.
    pub(super) fn take_over(&mut self, machine_id: &Path) {
        if self.machine(machine_id) != Machine::Other
            && let Some(last) = self.former.pop()
        {
            let renewed = std::mem::replace(&mut self.current, last);
            self.former.push(renewed);
        }
        self.machine = read_machine_id(machine_id).ok().map(|id| hmac(&self.current, &id));
        self.changes = 0;
    }
}

fn random() -> Result<Instance, StoreError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| store_error(Path::new("/dev/urandom"), "no random bits", io::Error::other(error)))?;
    Ok(Instance::from_bits(bits))
}

fn hmac(instance: &Instance, machine_id: &str) -> String {
    let mut hmac =
        Hmac::<Sha256>::new_from_slice(instance.to_string().as_bytes()).expect("any key length will do");
    hmac.update(machine_id.as_bytes());
    HEXLOWER.encode(&hmac.finalize().into_bytes())
}

/// The machine-id, where it tells one machine from another (machine-id(5)); else why it does not. The usual file of a
/// container is an image's or the host's; one that a person has named is what it was named for.
fn read_machine_id(path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("{}: {error}", path.display());
    if path == Path::new(USUAL) {
        if Path::new("/run/systemd/container").exists() || Path::new("/.dockerenv").exists() {
            return Err("this is a container".to_owned());
        }
        let metadata = fs::metadata(path).map_err(cannot)?;
        let folder = path.parent().map(fs::metadata).transpose().map_err(cannot)?;
        if folder.is_some_and(|folder| folder.dev() != metadata.dev()) {
            return Err(format!("{} is a mount", path.display()));
        }
    }
    let (bytes, _) = file::read(path, 4096).map_err(cannot)?;
    let id = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("{} holds no machine-id", path.display()));
    }
    Ok(id.to_owned())
}
