//! Somebody else's tokens, some of which look like ours.

use std::collections::{BTreeMap, BTreeSet};

use influx_sandbox::Token;

use crate::host::Host;

/// As they were when they were made.
pub(crate) struct Foreign(Vec<Token>);

impl Foreign {
    /// So many of them, on a server that has no others yet.
    pub(crate) fn new(host: &Host, count: usize) -> Self {
        for n in 0..count {
            host.sandbox.add_token(&look_alike(n), &[("write", "a")]);
        }
        Self(host.sandbox.tokens())
    }

    pub(crate) fn assert_untouched(&self, host: &Host, context: &str) {
        let now: BTreeMap<_, _> =
            host.sandbox.tokens().into_iter().map(|token| (token.id.clone(), token)).collect();
        let requests = host.sandbox.requests();
        let changed: BTreeSet<&str> = requests
            .iter()
            .filter(|request| matches!(request.method.as_str(), "PATCH" | "DELETE"))
            .filter_map(|request| request.path.rsplit('/').next())
            .collect();
        for token in &self.0 {
            assert_eq!(now.get(&token.id), Some(token), "{context}: a foreign token is not as it was");
            assert!(
                !changed.contains(token.id.as_str()),
                "{context}: a foreign token was to be changed: {token:?}"
            );
        }
    }

    /// Whether a token is one of theirs.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|token| token.id == id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What a label looks like, of another store, within a text, or without what makes it one.
fn look_alike(n: usize) -> String {
    let name = n / 4 % 4;
    match n % 4 {
        0 => format!("somebody's token {n}"),
        1 => format!("[influx-tokend {n:032x}/t{name}/{n:032x}]"),
        2 => format!("edge writer [influx-tokend {n:032x}/t{name}/{n:032x}] of another host"),
        _ => format!("[influx-tokend t{name}]"),
    }
}
