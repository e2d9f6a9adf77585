//! Adding a hook, and choosing what is done to its unit.

use std::{collections::BTreeSet, path::Path};

use super::HookError;
use crate::{
    config::Config,
    deliver::Hooks,
    model::{Hook, HookAction, Name, Unit},
    nearest::nearest,
    systemctl::{self, Shown},
    telegraf::{RELOADS, Version},
};

/// What is done to a unit, and why that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What.
    pub action: HookAction,
    /// Why, in words.
    pub why: String,
    /// What speaks against it, where a person has chosen.
    pub warning: Option<String>,
}

/// A hook for a name that no list has would wait for ever.
///
/// # Errors
/// The first such name, with what it may have been meant to be.
pub fn check_names(config: &Config, list: &Path, tokens: &BTreeSet<Name>) -> Result<(), HookError> {
    let Some(name) = tokens.iter().find(|name| !config.specs.contains_key(*name)) else { return Ok(()) };
    let fix = match nearest(name.as_str(), config.specs.keys().map(Name::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("add it to {list:?} first"),
    };
    Err(HookError::NotListed { name: name.clone(), fix })
}

/// Chooses what is done to a unit, unless a person has: a reload loses least, but before 1.38.4 it may end a Telegraf.
///
/// # Errors
/// systemd does not know the unit, and nobody has said what is to be done to it.
pub async fn choose(unit: &Unit, chosen: Option<HookAction>) -> Result<Choice, HookError> {
    let shown = match systemctl::show(unit).await {
        Ok(shown) => shown,
        Err(error) => {
            let why = format!("systemd cannot be asked ({error}); what cannot reload is restarted instead");
            return Ok(chosen.map_or_else(|| Choice::of(HookAction::Reload, why), Choice::as_said));
        }
    };
    match chosen {
        None if !shown.is_known() => Err(HookError::NoSuchUnit(unit.clone())),
        Some(action) if !shown.is_known() => {
            let warning = Some(format!("systemd knows no unit {unit} yet"));
            Ok(Choice { warning, ..Choice::as_said(action) })
        }
        chosen => {
            let about = About {
                by_credential: systemctl::loads_our_credentials(unit).await.unwrap_or_default(),
                telegraf: version(&shown).await,
                can_reload: shown.can_reload(),
            };
            Ok(choice(chosen, &about))
        }
    }
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug)]
struct About {
    /// systemd fetches its tokens when it is started.
    by_credential: bool,
    /// Which Telegraf it runs, if it runs one and that tells.
    telegraf: Option<Version>,
    can_reload: bool,
}

/// The version of the Telegraf that a unit runs, if it runs one and that tells.
async fn version(shown: &Shown) -> Option<Version> {
    let program = shown.program()?;
    if program.file_name()? != "telegraf" {
        return None;
    }
    Version::of(&program).await
}

fn choice(chosen: Option<HookAction>, about: &About) -> Choice {
    use HookAction::{Reload, Restart};
    let against = || {
        let ends = about.telegraf.filter(|version| !version.reloads()).map(|version| {
            format!(
                "telegraf {version} ends at a reload while a dynamic secret store is in use, as all do before {RELOADS}"
            )
        });
        let stays = "its tokens are credentials, which systemd fetches when it is started and at no reload";
        about.by_credential.then(|| stays.to_owned()).or(ends)
    };
    match (chosen, against(), about.telegraf) {
        (Some(Reload), warning, _) => Choice { warning, ..Choice::as_said(Reload) },
        (Some(Restart), _, _) => Choice::as_said(Restart),
        (None, Some(why), _) => Choice::of(Restart, why),
        (None, None, _) if !about.can_reload => Choice::of(Restart, "it cannot reload".to_owned()),
        (None, None, Some(version)) => {
            Choice::of(Reload, format!("telegraf {version} loses nothing at a reload"))
        }
        (None, None, None) => Choice::of(Reload, "it can reload".to_owned()),
    }
}

impl Choice {
    fn of(action: HookAction, why: String) -> Self {
        Self { action, why, warning: None }
    }

    fn as_said(action: HookAction) -> Self {
        Self::of(action, "as you say".to_owned())
    }
}

/// Writes a hook, which also follows the tokens that its unit's hook followed before. Returns it as it is now.
///
/// # Errors
/// Nothing has changed.
pub fn add(
    hooks: &Hooks,
    unit: &Unit,
    tokens: BTreeSet<Name>,
    action: HookAction,
) -> Result<Hook, HookError> {
    let before = hooks.of(unit)?.map(|hook| hook.tokens).unwrap_or_default();
    let tokens = tokens.into_iter().chain(before).collect();
    let hook = Hook { unit: unit.clone(), tokens, action };
    hooks.write(&hook).map_err(HookError::io("write the hook", hooks.file(unit)))?;
    Ok(hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telegraf_that_may_end_at_a_reload_is_restarted() {
        use HookAction::{Reload, Restart};
        let (old, new) = (Version::parse("Telegraf 1.38.3"), Version::parse("Telegraf 1.39.3"));
        for (telegraf, can_reload, action, why) in [
            (old, true, Restart, "telegraf 1.38.3 ends at a reload"),
            (old, false, Restart, "before 1.38.4"),
            (new, true, Reload, "telegraf 1.39.3 loses nothing"),
            (new, false, Restart, "it cannot reload"),
            (None, true, Reload, "it can reload"),
            (None, false, Restart, "it cannot reload"),
        ] {
            let choice = choice(None, &About { by_credential: false, telegraf, can_reload });
            assert_eq!((choice.action, choice.warning.as_ref()), (action, None), "{choice:?}");
            assert!(choice.why.contains(why), "{choice:?}");
        }
    }

    #[test]
    fn what_a_person_chooses_is_done_and_what_speaks_against_it_said() {
        use HookAction::{Reload, Restart};
        let (old, new) = (Version::parse("Telegraf 1.38.3"), Version::parse("Telegraf 1.39.3"));
        for (chosen, telegraf, is_warned) in
            [(Reload, old, true), (Reload, new, false), (Reload, None, false), (Restart, old, false)]
        {
            let choice = choice(Some(chosen), &About { by_credential: false, telegraf, can_reload: true });
            assert_eq!((choice.action, choice.warning.is_some()), (chosen, is_warned), "{choice:?}");
        }
    }

    #[test]
    fn what_systemd_fetches_at_a_start_takes_a_restart() {
        use HookAction::{Reload, Restart};
        let telegraf = Version::parse("Telegraf 1.39.3");
        let about = About { by_credential: true, telegraf, can_reload: true };
        let of_itself = choice(None, &about);
        assert_eq!((of_itself.action, of_itself.warning.as_ref()), (Restart, None));
        assert!(of_itself.why.contains("credentials"), "{of_itself:?}");
        let said = choice(Some(Reload), &about);
        assert!(
            said.action == Reload && said.warning.is_some_and(|warning| warning.contains("at no reload"))
        );
    }
}
