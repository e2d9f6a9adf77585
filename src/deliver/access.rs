//! Who may read: users and groups of an `allow`, resolved to numbers.

use std::collections::BTreeSet;

use crate::model::Allow;

/// What systemd gives to services with `DynamicUser=` (systemd.exec(5)): a number that is somebody else's tomorrow.
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;
/// The overflow uid and gid: whoever has no number here.
const NOBODY: u32 = 65_534;

/// Readers of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// User ids.
    pub uids: BTreeSet<u32>,
    /// Group ids.
    pub gids: BTreeSet<u32>,
    /// What grants nothing, and why.
    pub ignored: Vec<String>,
}

impl Readers {
    /// Resolves names through NSS, as they are now.
    #[must_use]
    pub fn resolve(allow: &Allow) -> Self {
        Self::resolve_with(
            allow,
            |name| uzers::get_user_by_name(name).map(|user| user.uid()),
            |name| uzers::get_group_by_name(name).map(|group| group.gid()),
        )
    }

    fn resolve_with(
        allow: &Allow,
        user: impl Fn(&str) -> Option<u32>,
        group: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        let mut readers = Self::default();
        for (texts, kind, look_up) in
            [(&allow.users, "user", &user as &dyn Fn(&str) -> Option<u32>), (&allow.groups, "group", &group)]
        {
            for text in texts {
                match resolve_one(text, kind, look_up) {
                    Ok(id) if kind == "user" => _ = readers.uids.insert(id),
                    Ok(id) => _ = readers.gids.insert(id),
                    Err(why) => readers.ignored.push(why),
                }
            }
        }
        readers
    }
}

fn resolve_one(text: &str, kind: &str, look_up: &dyn Fn(&str) -> Option<u32>) -> Result<u32, String> {
    let id = match text.parse() {
        Ok(id) => id,
        Err(_) => look_up(text).ok_or_else(|| format!("{kind} {text:?} does not exist on this host"))?,
    };
    if id == NOBODY {
        return Err(format!("{kind} {text:?} is nobody in particular"));
    }
    if DYNAMIC.contains(&id) {
        return Err(format!("{kind} {text:?} has a number that systemd gives to anybody (DynamicUser=)"));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_readers_and_the_rest_grants_nothing() {
        let allow = Allow {
            users: ["telegraf", "1000", "nope", "65534", "61184"].map(str::to_owned).to_vec(),
            groups: vec!["influx".into()],
            units: vec!["telegraf.service".into()],
        };
        let readers = Readers::resolve_with(
            &allow,
            |name| (name == "telegraf").then_some(998),
            |name| (name == "influx").then_some(997),
        );
        assert_eq!(readers.uids, BTreeSet::from([998, 1000]));
        assert_eq!(readers.gids, BTreeSet::from([997]));
        assert_eq!(readers.ignored.len(), 3, "{:?}", readers.ignored);
    }
}
