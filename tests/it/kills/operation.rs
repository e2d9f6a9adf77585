//! What is done with tokens that a host has already, what sets it off, and what must have come of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use influx_sandbox::Token;
use jiff::SignedDuration;

use super::strike::{RENEWAL, Step};
use crate::host::Host;

/// So many tokens a host has.
pub(super) const TOKENS: usize = 6;

/// What every token may do.
const GRANTS: [(&str, &str); 2] = [("read", "b"), ("write", "telemetry")];

/// What somebody does to delivered files: to what they say, whether they are there, and who may read them.
const ALTERATIONS: [fn(&Path); 3] = [
    |path| fs::write(path, "altered").unwrap(),
    |path| fs::remove_file(path).unwrap(),
    |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Another value, and the end of the former one.
    Rotate,
    /// A token lacks a grant.
    Widen,
    /// A token has one too many.
    Narrow,
    /// A token is gone on the server.
    Replace,
    /// A delivered file has been altered.
    PutBack,
    /// A name leaves the list.
    Remove,
}

pub(super) const OPERATIONS: [Operation; 6] = [
    Operation::Rotate,
    Operation::Widen,
    Operation::Narrow,
    Operation::Replace,
    Operation::PutBack,
    Operation::Remove,
];

impl Operation {
    /// Its stages, each set off by a change of its own, with their steps in the order in which they come.
    pub(super) fn stages(self) -> Vec<Vec<Step>> {
        use Step::*;
        match self {
            Self::Rotate => {
                vec![RENEWAL.to_vec(), vec![Verify, DeleteSent, Revoked, EndRead, EndSeal]]
            }
            Self::Widen => vec![vec![PatchSent, Patched, PatchRead, GrantsSeal]],
            Self::Narrow => vec![vec![Noted], vec![PatchSent, Patched, PatchRead, GrantsSeal]],
            Self::Replace => vec![[&[Noted, Withdraw][..], &RENEWAL].concat()],
            Self::PutBack => vec![vec![Deliver]],
            Self::Remove => vec![vec![Noted], vec![DeleteSent, Revoked, EndRead, EndSeal, Withdraw]],
        }
    }
}

/// An operation on some of a host's tokens.
pub(super) struct Scenario {
    operation: Operation,
    /// By a person, with a command or another list; else the time has come, or somebody did something to a token.
    pub(super) asked: bool,
    /// The names that it is done with.
    pub(super) concerned: Vec<String>,
    /// What each name had before.
    before: BTreeMap<String, Token>,
}

/// What a name must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The token that it had before.
    TheSame,
    /// Another one, and the former one still works.
    AnotherBeside,
    /// Another one alone.
    Another,
    Nothing,
}

impl Scenario {
    /// Draws one that has this step, and makes what it needs.
    pub(super) fn settle(host: &Host, operation: Operation, step: Step, random: &mut fastrand::Rng) -> Self {
        let asked = match operation {
            Operation::Rotate | Operation::Narrow => random.bool(),
            // A token that gets back what was taken from it has what its record says.
            Operation::Widen => step == Step::GrantsSeal || random.bool(),
            Operation::Replace | Operation::PutBack => false,
            Operation::Remove => true,
        };
        let count = match operation {
            // What is due is so for all of them.
            Operation::Rotate if !asked => TOKENS,
            // More would wait for a person.
            Operation::Remove => random.usize(1..=2),
            Operation::PutBack => ALTERATIONS.len(),
            _ => random.usize(1..=TOKENS / 2),
        };
        let concerned = random.choose_multiple(names(), count);
        let mut scenario = Self { operation, asked, concerned, before: BTreeMap::new() };
        host.write("tokens.toml", &scenario.list(host, 0));
        host.apply();
        scenario.before =
            names().map(|name| (name.clone(), host.live(&name).into_iter().next().unwrap())).collect();
        scenario
    }

    /// The list in which a stage is on, from 1; in stage 0 nothing has changed yet. What waits does so until the second.
    fn list(&self, host: &Host, stage: usize) -> String {
        let wait = if stage < 2 { "1h" } else { "1ms" };
        let is_by_schedule = self.operation == Operation::Rotate && !self.asked;
        let lifetime = if is_by_schedule { "lifetime = \"9d\"\n" } else { "" };
        let mut text = format!("overlap = \"0s\"\noverlap_cap = \"{wait}\"\ngrace = \"{wait}\"\n{lifetime}");
        for name in names() {
            let concerned = stage > 0 && self.asked && self.concerned.contains(&name);
            let grants = match self.operation {
                Operation::Remove if concerned => continue,
                Operation::Widen if concerned => "write = [\"a\", \"telemetry\"]\nread = [\"b\"]",
                Operation::Narrow if concerned => "write = [\"telemetry\"]",
                _ => "write = [\"telemetry\"]\nread = [\"b\"]",
            };
            text += &format!("[[token]]\nname = \"{name}\"\n{grants}\n");
        }
        host.list_text(&host.sandbox.url(), &text)
    }

    /// Sets a stage off. Whether the list is another one.
    pub(super) fn begin(&self, host: &Host, stage: usize) -> bool {
        if stage == 2 {
            // The Date has whole seconds.
            host.sandbox.shift_clock(SignedDuration::from_secs(2));
        } else {
            self.disturb(host);
        }
        let list = self.list(host, stage);
        let is_new = list != self.list(host, stage - 1);
        if is_new {
            host.write("tokens.toml", &list);
        }
        is_new
    }

    /// What time does, or somebody else.
    fn disturb(&self, host: &Host) {
        let each = |what: &dyn Fn(&Token)| self.concerned.iter().for_each(|name| what(&self.before[name]));
        match self.operation {
            // Half of nine days.
            Operation::Rotate if !self.asked => host.sandbox.shift_clock(SignedDuration::from_hours(5 * 24)),
            Operation::Widen if !self.asked => each(&|token| host.sandbox.permit(&token.id, &GRANTS[1..])),
            Operation::Narrow if !self.asked => {
                each(&|token| host.sandbox.permit(&token.id, &[&GRANTS[..], &[("write", "c")]].concat()));
            }
            Operation::Replace => {
                // Lists do not judge tokens younger than ten minutes.
                host.sandbox.shift_clock(SignedDuration::from_mins(11));
                each(&|token| host.sandbox.revoke(&token.id));
            }
            Operation::PutBack => {
                for (name, alter) in self.concerned.iter().zip(ALTERATIONS) {
                    alter(&host.path("run/secrets").join(name));
                }
            }
            Operation::Rotate | Operation::Widen | Operation::Narrow | Operation::Remove => {}
        }
    }

    /// The names of which nobody but the program alters anything: their consumers never notice.
    pub(super) fn steady(&self) -> Vec<String> {
        let is_steady = match self.operation {
            Operation::Rotate | Operation::Widen | Operation::Narrow => true,
            Operation::Replace | Operation::PutBack | Operation::Remove => false,
        };
        names().filter(|name| is_steady || !self.concerned.contains(name)).collect()
    }

    /// What a name must have after a stage.
    pub(super) fn wanted(&self, name: &String, stage: usize) -> Wanted {
        match self.operation {
            _ if !self.concerned.contains(name) => Wanted::TheSame,
            Operation::Rotate if stage == 1 => Wanted::AnotherBeside,
            Operation::Rotate | Operation::Replace => Wanted::Another,
            Operation::Remove if stage == 2 => Wanted::Nothing,
            Operation::Widen | Operation::Narrow | Operation::PutBack | Operation::Remove => Wanted::TheSame,
        }
    }

    /// What its token may do then.
    fn grants(&self, name: &String, stage: usize) -> Vec<(&'static str, &'static str)> {
        let extra = match self.operation {
            _ if !self.concerned.contains(name) => None,
            Operation::Widen if self.asked => Some(("write", "a")),
            Operation::Narrow if self.asked && stage == 2 => return GRANTS[1..].to_vec(),
            Operation::Narrow if !self.asked && stage == 1 => Some(("write", "c")),
            _ => None,
        };
        GRANTS.into_iter().chain(extra).collect()
    }

    /// What a name had before.
    pub(super) fn former(&self, name: &String) -> &Token {
        &self.before[name]
    }

    /// The token that a name has now, of those that live.
    pub(super) fn current(&self, name: &String, wanted: Wanted, live: &[Token]) -> Option<Token> {
        let is_former = |token: &&Token| token.id == self.before[name].id;
        match wanted {
            Wanted::TheSame => live.iter().find(is_former).cloned(),
            Wanted::AnotherBeside | Wanted::Another => live.iter().find(|token| !is_former(token)).cloned(),
            Wanted::Nothing => None,
        }
    }

    /// In what a name is not as it must be after a stage, as the server and its consumers see it.
    fn fault(&self, host: &Host, name: &String, stage: usize) -> Option<String> {
        let wanted = self.wanted(name, stage);
        let live = host.live(name);
        let former = live.iter().filter(|token| token.id == self.before[name].id).count();
        let right = match wanted {
            Wanted::TheSame => (1, 1),
            Wanted::AnotherBeside => (2, 1),
            Wanted::Another => (1, 0),
            Wanted::Nothing => (0, 0),
        };
        if (live.len(), former) != right {
            return Some(format!("{name}, wanted {wanted:?}: {live:#?}"));
        }
        let current = self.current(name, wanted, &live);
        let delivered = host.delivered(name);
        if delivered.as_ref() != current.as_ref().map(|token| &token.secret) || is_for_all(host, name) {
            return Some(format!("{name}: {delivered:?} is delivered, {current:#?} is its token"));
        }
        let grants = self.grants(name, stage);
        let may = |token: &Token| {
            let has: Vec<_> = token.permissions.iter().map(|(action, on)| (&action[..], &on[..])).collect();
            has.len() == grants.len() && grants.iter().all(|grant| has.contains(grant))
        };
        (!current.as_ref().is_none_or(may)).then(|| format!("{name}, wanted {grants:?}: {current:#?}"))
    }

    /// The same of all names.
    pub(super) fn faults(&self, host: &Host, stage: usize) -> Vec<String> {
        names().filter_map(|name| self.fault(host, &name, stage)).collect()
    }
}

/// All names of a host.
pub(super) fn names() -> impl Iterator<Item = String> {
    (0..TOKENS).map(|n| format!("t{n}"))
}

/// Whether a delivered file, if there is one, is for everybody to read.
fn is_for_all(host: &Host, name: &str) -> bool {
    fs::metadata(host.path("run/secrets").join(name)).is_ok_and(|file| file.mode() & 0o004 != 0)
}
