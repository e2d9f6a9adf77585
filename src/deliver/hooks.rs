//! Hooks, for consumers that read a token once: which there are, and what they have acknowledged.
//!
//! A hook is a file of root's in `hooks.d`, beside the list. `influx-tokend-hook@UNIT.path` follows the generations that
//! the daemon writes; its service reloads the unit and then writes, to `acknowledged/UNIT`, which generations it had
//! read before. The daemon only looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{
    bounded::{self, Links},
    generations::{self, FILE, MAX_BYTES},
    staged::{make_folder, place_for_all},
};
use crate::{
    config::{ConfigError, MAX_HOOK_BYTES, parse_hook, render_hook},
    model::{Behind, Generations, Hook, Name, Unit},
};

/// Where hooks are, and what they leave behind.
#[derive(Clone, Debug)]
pub struct Hooks {
    folder: PathBuf,
    run: PathBuf,
}

/// All hooks, as far as they can be read.
#[derive(Debug, Default)]
pub struct Read {
    /// Those that can, by the name of their unit.
    pub hooks: Vec<Hook>,
    /// What is wrong with the others.
    pub faults: Vec<ConfigError>,
}

impl Hooks {
    /// `folder` is `hooks.d`, `run` the folder of the daemon's run-time files.
    #[must_use]
    pub fn new(folder: PathBuf, run: &Path) -> Self {
        Self { folder, run: run.to_owned() }
    }

    /// The file of a unit's hook.
    #[must_use]
    pub fn file(&self, unit: &Unit) -> PathBuf {
        self.folder.join(unit.as_str())
    }

    /// The file that tells of each new value.
    #[must_use]
    pub fn generations_file(&self) -> PathBuf {
        self.run.join("daemon").join(FILE)
    }

    /// Reads a unit's hook; `None` where it has none.
    ///
    /// # Errors
    /// It cannot be read, or has faults.
    pub fn of(&self, unit: &Unit) -> Result<Option<Hook>, ConfigError> {
        let file = self.file(unit);
        let read = bounded::read_trusted(&file, MAX_HOOK_BYTES, Links::Followed);
        let text = read.and_then(|bytes| match bytes.map(String::from_utf8) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(io::Error::other("it is not UTF-8")),
        });
        match text.map_err(|error| ConfigError::Hook { file: file.clone(), error })? {
            Some(text) => parse_hook(&text, &file, unit.clone()).map(Some),
            None => Ok(None),
        }
    }

    /// Reads all of them. Files that are not called like a service are none.
    #[must_use]
    pub fn read(&self) -> Read {
        let mut read = Read::default();
        let units = match units_in(&self.folder) {
            Ok(units) => units,
            Err(error) => {
                read.faults.push(ConfigError::Hook { file: self.folder.clone(), error });
                return read;
            }
        };
        for unit in units {
            match self.of(&unit) {
                Ok(hook) => read.hooks.extend(hook),
                Err(fault) => read.faults.push(fault),
            }
        }
        read
    }

    /// Writes a hook, in place of the one that its unit had.
    ///
    /// # Errors
    /// It is as before.
    pub fn write(&self, hook: &Hook) -> io::Result<()> {
        make_folder(&self.folder)?;
        place_for_all(&self.folder, hook.unit.as_str(), render_hook(hook).as_bytes())
    }

    /// Takes a unit's hook away, and what it has acknowledged. `false`: there was none.
    ///
    /// # Errors
    /// It is still there.
    pub fn remove(&self, unit: &Unit) -> io::Result<bool> {
        let was_there = remove(&self.file(unit))?;
        remove(&self.acknowledged_file(unit))?;
        Ok(was_there)
    }

    /// What has been delivered, as the daemon tells.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn delivered(&self) -> io::Result<Generations> {
        Ok(lines(bounded::read(&self.generations_file(), MAX_BYTES)?))
    }

    /// What a unit has acknowledged: nothing, where that cannot be believed.
    #[must_use]
    pub fn acknowledged(&self, unit: &Unit) -> Generations {
        let file = self.acknowledged_file(unit);
        match bounded::read_trusted(&file, MAX_BYTES, Links::Refused) {
            Ok(bytes) => lines(bytes),
            Err(error) => {
                tracing::debug!("{file:?} is not believed: {error}");
                Generations::new()
            }
        }
    }

    /// Notes what a unit has acknowledged.
    ///
    /// # Errors
    /// What it had acknowledged before stands.
    pub fn acknowledge(&self, unit: &Unit, generations: &Generations) -> io::Result<()> {
        let folder = self.run.join("acknowledged");
        DirBuilder::new().recursive(true).mode(0o755).create(&self.run)?;
        make_folder(&folder)?;
        place_for_all(&folder, unit.as_str(), generations::render(generations).as_bytes())
    }

    /// Which hooks have not acknowledged something of what is delivered, and what cannot be told.
    #[must_use]
    pub fn behind(&self, delivered: &Generations) -> (Vec<Behind>, Vec<ConfigError>) {
        let Read { hooks, faults } = self.read();
        let behind = |hook: Hook| {
            let generations = hook.behind(delivered, &self.acknowledged(&hook.unit));
            (!generations.is_empty()).then_some(Behind { unit: hook.unit, generations })
        };
        (hooks.into_iter().filter_map(behind).collect(), faults)
    }

    /// Who has not acknowledged this value yet, in words for people (rule 9). A hook that cannot be read may follow any
    /// name.
    #[must_use]
    pub fn waiting(&self, name: &Name, generation: u64) -> BTreeSet<String> {
        let Read { hooks, faults } = self.read();
        let waits = |hook: &Hook| {
            hook.tokens.contains(name) && self.acknowledged(&hook.unit).get(name) != Some(&generation)
        };
        let waiting = hooks
            .iter()
            .filter(|hook| waits(hook))
            .map(|hook| format!("hook {} has not acknowledged generation {generation}", hook.unit));
        waiting.chain(faults.iter().map(|fault| format!("a hook that cannot be read: {fault}"))).collect()
    }

    /// The file of what a unit has acknowledged.
    #[must_use]
    pub fn acknowledged_file(&self, unit: &Unit) -> PathBuf {
        self.run.join("acknowledged").join(unit.as_str())
    }
}

/// The services that files of a folder are called after; leftovers of ours, backups and notes are passed over.
fn units_in(folder: &Path) -> io::Result<BTreeSet<Unit>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut units = BTreeSet::new();
    for entry in entries {
        let file = entry?.file_name();
        let whole = file.to_str().filter(|file| file.ends_with(Unit::SUFFIX));
        units.extend(whole.and_then(|file| file.parse::<Unit>().ok()));
    }
    Ok(units)
}

/// Lines that make no sense acknowledge nothing.
fn lines(bytes: Option<Vec<u8>>) -> BTreeMap<Name, u64> {
    generations::parse(&bytes.unwrap_or_default()).0
}

fn remove(file: &Path) -> io::Result<bool> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::model::HookAction;

    fn unit(text: &str) -> Unit {
        text.parse().expect("a unit")
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn generations(of: &[(&str, u64)]) -> Generations {
        of.iter().map(|(text, number)| (name(text), *number)).collect()
    }

    fn hook(of: &str, tokens: &[&str]) -> Hook {
        Hook {
            unit: unit(of),
            tokens: tokens.iter().map(|text| name(text)).collect(),
            action: HookAction::Reload,
        }
    }

    fn place() -> (TempDir, Hooks) {
        let root = tempfile::tempdir().expect("a folder");
        let hooks = Hooks::new(root.path().join("hooks.d"), &root.path().join("run"));
        (root, hooks)
    }

    #[test]
    fn a_hook_is_a_file_that_all_may_read() {
        let (root, hooks) = place();
        assert!(hooks.read().hooks.is_empty() && hooks.read().faults.is_empty(), "no folder, no hooks");
        let (one, two) = (hook("telegraf", &["a", "b"]), hook("telegraf@edge", &["b"]));
        hooks.write(&one).expect("written");
        hooks.write(&two).expect("written");
        for (path, mode) in [("hooks.d", 0o755), ("hooks.d/telegraf.service", 0o644)] {
            assert_eq!(fs::metadata(root.path().join(path)).expect(path).mode() & 0o7777, mode, "{path}");
        }
        assert_eq!(fs::read_dir(root.path().join("hooks.d")).expect("the folder").count(), 2);
        assert_eq!(hooks.read().hooks, [one, two]);
        assert!(hooks.remove(&unit("telegraf")).expect("removed"));
        assert!(!hooks.remove(&unit("telegraf")).expect("nothing to remove"));
        assert_eq!(hooks.of(&unit("telegraf")).expect("readable"), None);
    }

    #[test]
    fn what_is_no_hook_is_passed_over_and_what_has_faults_is_told() {
        let (root, hooks) = place();
        hooks.write(&hook("good", &["a"])).expect("written");
        let at = |file: &str| root.path().join("hooks.d").join(file);
        let text = fs::read_to_string(at("good.service")).expect("the file");
        for other in [".good.service.0123456789abcdef.tmp", "good.service~", "README", "telegraf@.service"] {
            fs::write(at(other), "garbage").expect("written");
        }
        symlink("good.service", at("linked.service")).expect("a link");
        fs::write(at("bad.service"), "tokens = [\"a\"]\n").expect("written");
        fs::create_dir(at("folder.service")).expect("made");
        fs::write(at("large.service"), text + &"#".repeat(4 << 20)).expect("written");
        fs::write(at("binary.service"), b"\xff").expect("written");
        let Read { hooks: read, faults } = hooks.read();
        let units: Vec<&str> = read.iter().map(|hook| hook.unit.as_str()).collect();
        assert_eq!(units, ["good.service", "linked.service"]);
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for (said, wanted) in said.iter().zip([
            "bad.service:1:1: needs \"action\"",
            "binary.service\": cannot read the hook: it is not UTF-8",
            "folder.service\": cannot read the hook: it is no regular file",
            "large.service\": cannot read the hook: it is larger than",
        ]) {
            assert!(said.contains(wanted), "{wanted}\n{said}");
        }
        assert_eq!(said.len(), 4);
    }

    #[test]
    fn who_has_not_acknowledged_is_told_until_it_has() {
        let (_root, hooks) = place();
        let telegraf = hook("telegraf", &["a", "b"]);
        hooks.write(&telegraf).expect("written");
        hooks.write(&hook("other", &["other"])).expect("written");
        assert_eq!(
            Vec::from_iter(hooks.waiting(&name("a"), 4)),
            ["hook telegraf.service has not acknowledged generation 4"]
        );
        assert!(hooks.waiting(&name("nobodys"), 4).is_empty());

        let delivered = generations(&[("a", 4), ("b", 1)]);
        hooks.acknowledge(&telegraf.unit, &generations(&[("a", 3), ("b", 1)])).expect("acknowledged");
        let (behind, faults) = hooks.behind(&delivered);
        assert!(faults.is_empty());
        assert_eq!(behind, [Behind { unit: unit("telegraf"), generations: generations(&[("a", 4)]) }]);
        assert!(hooks.waiting(&name("b"), 1).is_empty());
        hooks.acknowledge(&telegraf.unit, &delivered).expect("acknowledged");
        assert!(hooks.behind(&delivered).0.is_empty() && hooks.waiting(&name("a"), 4).is_empty());
    }

    #[test]
    fn a_hook_that_cannot_be_read_may_follow_any_name() {
        let (root, hooks) = place();
        hooks.write(&hook("good", &["a"])).expect("written");
        fs::write(root.path().join("hooks.d/bad.service"), "").expect("written");
        let waiting = hooks.waiting(&name("nobodys"), 1);
        assert!(waiting.first().is_some_and(|waits| waits.contains("bad.service")), "{waiting:?}");
        fs::remove_dir_all(root.path().join("hooks.d")).expect("removed");
        fs::write(root.path().join("hooks.d"), "").expect("written");
        assert_eq!(hooks.waiting(&name("nobodys"), 1).len(), 1, "the folder is none");
    }

    #[test]
    fn what_is_not_roots_or_ours_or_no_file_acknowledges_nothing() {
        let (root, hooks) = place();
        let (unit, all) = (unit("telegraf"), generations(&[("a", 1)]));
        hooks.acknowledge(&unit, &all).expect("acknowledged");
        assert_eq!(hooks.acknowledged(&unit), all);
        let file = root.path().join("run/acknowledged/telegraf.service");
        if std::os::unix::fs::chown(&file, Some(65_533), None).is_ok() {
            assert!(hooks.acknowledged(&unit).is_empty(), "a stranger's");
        }
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "a 1\n").expect("written");
        fs::remove_file(&file).expect("removed");
        symlink(elsewhere, &file).expect("a link");
        assert!(hooks.acknowledged(&unit).is_empty(), "a link");
        hooks.acknowledge(&unit, &all).expect("acknowledged in its place");
        assert_eq!(hooks.acknowledged(&unit), all);
        fs::write(&file, "a 1\na 2 3\nb\n").expect("written");
        assert_eq!(hooks.acknowledged(&unit), all, "lines that make no sense acknowledge nothing");
    }
}
