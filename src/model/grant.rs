//! What a token may do.

use std::{borrow::Borrow, collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// What may be done with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Query it.
    Read,
    /// Write to it.
    Write,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// One database (a bucket in InfluxDB 2), or all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Database {
    /// `*`.
    All,
    /// By name.
    Named(String),
}

/// A database name that no server takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a database name has 1 to {max} characters and no control characters")]
pub struct InvalidDatabase {
    /// The longest name, in characters.
    pub max: usize,
}

impl Database {
    /// No product takes a longer name, in characters; each has its own rule ([`super::DatabaseNames`]).
    pub const MAX: usize = 1024;
}

impl FromStr for Database {
    type Err = InvalidDatabase;

    fn from_str(text: &str) -> Result<Self, InvalidDatabase> {
        if text == "*" {
            return Ok(Self::All);
        }
        if text.is_empty() || text.chars().count() > Self::MAX || text.chars().any(char::is_control) {
            return Err(InvalidDatabase { max: Self::MAX });
        }
        Ok(Self::Named(text.to_owned()))
    }
}

impl TryFrom<String> for Database {
    type Error = InvalidDatabase;

    fn try_from(text: String) -> Result<Self, InvalidDatabase> {
        text.parse()
    }
}

impl From<Database> for String {
    fn from(database: Database) -> Self {
        match database {
            Database::All => "*".to_owned(),
            Database::Named(name) => name,
        }
    }
}

impl Borrow<str> for Database {
    fn borrow(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Named(name) => name,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.borrow())
    }
}

/// One action on one database, or on all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// On what.
    pub database: Database,
    /// What.
    pub action: Action,
}

/// All that a token may do; sorted by database, read before write. May be empty: a token without any access.
/// Shared by all copies: there are thousands, and few of them differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Vec<Grant>")]
pub struct Grants(Arc<[Grant]>);

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        grants.into_iter().collect::<Vec<_>>().into()
    }
}

impl From<Vec<Grant>> for Grants {
    fn from(mut grants: Vec<Grant>) -> Self {
        grants.sort_unstable();
        grants.dedup();
        Self(grants.into())
    }
}

impl Grants {
    /// The grants of a list's `read` and `write`.
    pub fn of(read: impl IntoIterator<Item = Database>, write: impl IntoIterator<Item = Database>) -> Self {
        let of = |action| move |database| Grant { database, action };
        read.into_iter().map(of(Action::Read)).chain(write.into_iter().map(of(Action::Write))).collect()
    }

    /// Each grant, sorted by database, read before write.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they allow all that the others do, each for each: `*` does not stand for a name here.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        others.iter().all(|grant| self.has(&grant.database, grant.action))
    }

    fn has(&self, database: &Database, action: Action) -> bool {
        self.0.binary_search_by(|grant| (&grant.database, grant.action).cmp(&(database, action))).is_ok()
    }

    /// Both together.
    #[must_use]
    pub fn union(&self, others: &Self) -> Self {
        self.iter().chain(others.iter()).cloned().collect()
    }

    /// The databases named, `*` left out.
    pub fn named_databases(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self
            .0
            .iter()
            .filter_map(|grant| match &grant.database {
                Database::All => None,
                Database::Named(name) => Some(name.as_str()),
            })
            .collect();
        names.into_iter()
    }

    /// The grants as InfluxData's documentation words a token's description (InfluxDB Clustered, "Create a
    /// token"): `Read/write token for A`, `Read-only token for A and B`, `Read-only on A, read/write on B`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let groups =
            [("read-only", Some(Action::Read)), ("write-only", Some(Action::Write)), ("read/write", None)]
                .map(|(word, only)| (word, self.databases_with(only)));
        let mut groups: Vec<_> = groups.into_iter().filter(|(_, databases)| !databases.is_empty()).collect();
        let text = match groups.as_mut_slice() {
            [] => "no-access token".to_owned(),
            [(word, databases)] => format!("{word} token for {}", enumerate(databases)),
            several => {
                let parts: Vec<String> = several
                    .iter()
                    .map(|(word, databases)| format!("{word} on {}", enumerate(databases)))
                    .collect();
                parts.join(", ")
            }
        };
        capitalise(&text)
    }

    /// Databases on which exactly `only` is granted, or both actions for `None`.
    fn databases_with(&self, only: Option<Action>) -> Vec<&Database> {
        let databases: BTreeSet<&Database> = self.0.iter().map(|grant| &grant.database).collect();
        databases
            .into_iter()
            .filter(|database| {
                let has = |action| self.has(database, action);
                match only {
                    Some(Action::Read) => has(Action::Read) && !has(Action::Write),
                    Some(Action::Write) => has(Action::Write) && !has(Action::Read),
                    None => has(Action::Read) && has(Action::Write),
                }
            })
            .collect()
    }
}

impl fmt::Display for Grants {
    /// Short, for tables: `read a, read/write b`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let databases: BTreeSet<&Database> = self.0.iter().map(|grant| &grant.database).collect();
        for database in databases {
            let has = |action| self.has(database, action);
            let word = match (has(Action::Read), has(Action::Write)) {
                (true, true) => "read/write",
                (true, false) => "read",
                (false, _) => "write",
            };
            write!(f, "{}{word} {database}", if first { "" } else { ", " })?;
            first = false;
        }
        Ok(())
    }
}

fn enumerate(databases: &[&Database]) -> String {
    let words: Vec<String> = databases
        .iter()
        .map(|database| match database {
            Database::All => "all databases".to_owned(),
            Database::Named(name) => name.clone(),
        })
        .collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(read: &[&str], write: &[&str]) -> Grants {
        let databases = |names: &[&str]| -> Vec<Database> {
            names.iter().map(|name| name.parse().expect("a database name")).collect()
        };
        Grants::of(databases(read), databases(write))
    }

    #[test]
    fn in_words_as_the_documentation_has_them() {
        let cases = [
            (grants(&["A"], &["A"]), "Read/write token for A"),
            (grants(&["A"], &[]), "Read-only token for A"),
            (grants(&["A", "B"], &[]), "Read-only token for A and B"),
            (grants(&["A", "B"], &["B"]), "Read-only on A, read/write on B"),
            (grants(&[], &["A", "B", "C"]), "Write-only token for A, B and C"),
            (grants(&["*"], &["*"]), "Read/write token for all databases"),
        ];
        for (grants, words) in cases {
            assert_eq!(grants.in_words(), words);
        }
    }
}
