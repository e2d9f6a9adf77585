//! What `wait` and `watch` share: the state of the tokens as the daemon tells it, pauses, and what has been said.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::{
    cli::ui,
    client::{Client, Cursor, Error},
    model::Name,
};

/// The first pause before the daemon is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What the daemon has said so far.
pub(super) struct Follower<'c> {
    client: &'c Client,
    cursor: Option<Cursor>,
    /// Of each name that may be read; 0: not ready.
    pub(super) generations: BTreeMap<Name, u64>,
}

impl<'c> Follower<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client, cursor: None, generations: BTreeMap::new() }
    }

    /// Asks: at once the first time, then when something has changed or the daemon's time is up. Whether it was news.
    pub(super) fn ask(&mut self, at_most: Duration) -> Result<bool, Error> {
        // An answer that did not come leaves no place to go on from: the next one is whole again.
        let cursor = self.cursor.take();
        let changes = self.client.changes(cursor.as_ref(), at_most).inspect_err(|error| {
            if matches!(error, Error::Denied { .. }) {
                self.generations.clear();
            }
        })?;
        let is_whole = cursor.is_none_or(|cursor| cursor.epoch() != changes.cursor.epoch());
        let mut now = if is_whole { BTreeMap::new() } else { self.generations.clone() };
        now.retain(|name, _| !changes.gone.contains(name));
        now.extend(changes.changed);
        let is_news = now != self.generations;
        self.generations = now;
        self.cursor = Some(changes.cursor);
        Ok(is_news)
    }

    /// Has the next question answered at once, with all there is.
    pub(super) fn forget(&mut self) {
        self.cursor = None;
    }

    /// Whether the next question waits for a change.
    pub(super) fn waits(&self) -> bool {
        self.cursor.is_some()
    }
}

/// Pauses that grow.
pub(super) struct Pause {
    first: Duration,
    next: Duration,
    most: Duration,
}

impl Pause {
    pub(super) fn up_to(most: Duration) -> Self {
        Self::from_to(FIRST_PAUSE, most)
    }

    pub(super) fn from_to(first: Duration, most: Duration) -> Self {
        Self { first, next: first, most }
    }

    /// The next, which is twice as long the time after.
    pub(super) fn grow(&mut self) -> Duration {
        let this = self.next;
        self.next = (this * 2).min(self.most);
        this
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Before the daemon is asked again, unless it has taken that long to answer or there was news: one that
    /// answers at once, over and over, does not keep us busy.
    pub(super) fn after_answer(&mut self, is_news: bool, took: Duration, at_most: Duration) {
        if is_news || took >= self.next {
            return self.reset();
        }
        thread::sleep((self.grow().saturating_sub(took)).min(at_most));
    }
}

/// Says why it waits, each time that changes.
pub(super) struct Told {
    what: &'static str,
    last: Option<String>,
}

impl Told {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, last: None }
    }

    pub(super) fn tell(&mut self, reason: &str) {
        self.tell_as(reason, reason);
    }

    /// Several reasons of one kind are told once.
    pub(super) fn tell_as(&mut self, kind: &str, reason: &str) {
        if self.last.as_deref() != Some(kind) {
            ui::note("influx-secrets", &format!("{}: {reason}", self.what));
            self.last = Some(kind.to_owned());
        }
    }

    /// All is well: the next reason is news again.
    pub(super) fn clear(&mut self) {
        self.last = None;
    }
}

/// Why some of these tokens cannot be read, in one line; `None`: all can. Without names: any that may be read, one at
/// least.
pub(super) fn missing(generations: &BTreeMap<Name, u64>, names: &[Name]) -> Option<Missing> {
    if names.is_empty() && generations.is_empty() {
        return Some(Missing { what: "this user may read no token".to_owned(), is_unknown: true });
    }
    let of = |name: &Name| generations.get(name).copied();
    let (mut pending, mut unknown) = (Vec::new(), Vec::new());
    if names.is_empty() {
        pending.extend(generations.iter().filter(|(_, generation)| **generation == 0).map(|(name, _)| name));
    } else {
        pending.extend(names.iter().filter(|name| of(name) == Some(0)));
        unknown.extend(names.iter().filter(|name| of(name).is_none()));
    }
    let mut parts = Vec::new();
    if !pending.is_empty() {
        parts.push(format!("{} not ready", named(&pending)));
    }
    if !unknown.is_empty() {
        parts.push(format!("{} not known, or not for this user", named(&unknown)));
    }
    (!parts.is_empty()).then(|| Missing { what: parts.join("; "), is_unknown: !unknown.is_empty() })
}

/// What is missing, and whether that is a matter of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) is_unknown: bool,
}

/// `token a is`, `tokens a, b are`; the first few.
fn named(names: &[&Name]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (tokens, are) = if names.len() == 1 { ("token", "is") } else { ("tokens", "are") };
    format!("{tokens} {}{more} {are}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(of: &[(&str, u64)]) -> BTreeMap<Name, u64> {
        of.iter().map(|(name, generation)| (name.parse().expect("a name"), *generation)).collect()
    }

    fn what(of: &[(&str, u64)], names: &[&str]) -> Option<String> {
        let names: Vec<Name> = names.iter().map(|name| name.parse().expect("a name")).collect();
        missing(&generations(of), &names).map(|missing| missing.what)
    }

    #[test]
    fn what_is_missing_is_told_in_one_line() {
        assert_eq!(what(&[("a", 1), ("b", 0)], &["a"]), None);
        assert_eq!(what(&[("a", 1), ("b", 2)], &[]), None);
        assert_eq!(what(&[("a", 1), ("b", 0)], &[]).as_deref(), Some("token b is not ready"));
        assert_eq!(what(&[], &[]).as_deref(), Some("this user may read no token"));
        assert_eq!(
            what(&[("a", 0), ("b", 0)], &["a", "b", "c"]).as_deref(),
            Some("tokens a, b are not ready; token c is not known, or not for this user")
        );
        let many: Vec<(String, u64)> = (0..10).map(|n| (format!("t{n}"), 0)).collect();
        let many: Vec<(&str, u64)> =
            many.iter().map(|(name, generation)| (name.as_str(), *generation)).collect();
        let said = what(&many, &[]).expect("some are missing");
        assert!(said.ends_with("t7 and 2 more are not ready"), "{said}");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pause = Pause::from_to(Duration::from_secs(1), Duration::from_secs(60));
        let pauses: Vec<u64> = (0..8).map(|_| pause.grow().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        pause.reset();
        assert_eq!(pause.grow().as_secs(), 1);
    }
}
