//! What a plan reports to people.

use std::{collections::BTreeSet, fmt};

use super::terms::MAX_UNEXPLAINED;
use crate::model::{FailedMint, Grants, Marker, Name, RecordVersion, ServerKey, Time, TokenId};

/// Something that waits or is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// About which name.
    pub name: Option<Name>,
    /// What.
    pub matter: Matter,
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Matter {
    /// The record cannot be read.
    Unreadable,
    /// The record was written by a later program.
    LaterVersion(RecordVersion),
    /// Databases of its grants that the server does not have.
    NoDatabase(BTreeSet<String>),
    /// The server has no database at all on which a token for all could be probed.
    NothingToProbe,
    /// The databases cannot be listed, so a wrong name would not be noticed.
    DatabasesUnlistable(String),
    /// The new token is not accepted everywhere yet.
    Probing {
        /// Since when it exists.
        since: Time,
        /// Past the probe's deadline.
        overdue: bool,
        /// The last answer.
        last: Option<String>,
    },
    /// `next` is being promoted although no probe has accepted it.
    Unprobed(TokenId),
    /// The current token was promoted although no probe could reach the server, and has not been accepted since.
    NotAcceptedYet {
        /// Which.
        id: TokenId,
        /// The last answer.
        last: Option<String>,
    },
    /// The last mint failed.
    WaitsToMint {
        /// Of what.
        why: String,
        /// When it is retried.
        until: Time,
    },
    /// The outcome of too many mints is unknown.
    TooManyIntents(usize),
    /// Mints within a day that nothing explains: the next waits.
    Paused {
        /// How many there were.
        count: usize,
        /// When the next is allowed.
        until: Time,
    },
    /// What the token may do is not what the list asks for.
    GrantsDiffer {
        /// The list.
        wanted: Grants,
        /// The token.
        has: Grants,
    },
    /// What the server says the token may do is not what was minted.
    GrantsAltered {
        /// The token on the server; `None` where it is reported in a form we do not know.
        has: Option<Grants>,
    },
    /// The server does not report the grants of any token in a form we know.
    GrantsUnreported,
    /// The token may do more than the list asks for.
    Surplus {
        /// The token.
        has: Grants,
        /// When that is taken from it.
        until: Time,
    },
    /// Its token is to be replaced for other grants, once those of other names are.
    ChangeWaits,
    /// The name has left the list; its token stays delivered for a while.
    LeftTheList {
        /// For how long.
        until: Time,
    },
    /// Its token is to be revoked because the name left the list, with so many others that a person has to confirm it.
    RevocationUnconfirmed,
    /// The list does not show the token as live, yet the server accepts it.
    Unlisted(TokenId),
    /// The token is not in the list; whether it is gone is being asked.
    Missing(TokenId),
    /// The token is gone: nobody we know of revoked it.
    Gone {
        /// Which.
        id: TokenId,
        /// The list lacks it; else the list shows it as revoked or expired.
        absent: bool,
    },
    /// The token expires soon.
    Expires(Time),
    /// The server has given the token another expiry than it was asked to.
    OtherExpiry {
        /// When it was to expire.
        asked: Time,
        /// When it expires; `None`: never.
        expires_at: Option<Time>,
    },
    /// The server claims that a token was created at a time that does not fit the date of its answer.
    OddCreation {
        /// The claim.
        claimed: Time,
        /// The date, which is believed.
        dated: Time,
    },
    /// The server gives its token less time than a rotation takes: it is replaced once it is refused, or by the list's
    /// schedule.
    TooShort {
        /// When it was to expire.
        asked: Time,
        /// When it expires.
        expires_at: Time,
    },
    /// A field of the answer to a mint that cannot be read.
    OddAnswer(String),
    /// A row of the server's list, of which something cannot be read.
    RowFault(String),
    /// The record's tokens live on another server than the list says.
    ServerChanged {
        /// Where they live.
        from: ServerKey,
    },
    /// An imported token that is not used here any more; a person may revoke it.
    ImportedReplaced(TokenId),
    /// A token of a server that the list does not name any more.
    OnFormerServer {
        /// Which.
        id: TokenId,
        /// Where.
        server: ServerKey,
    },
    /// The list shows a held token's label under another id than the server answered to its mint.
    OtherId {
        /// As answered.
        held: TokenId,
        /// As listed.
        listed: TokenId,
    },
    /// A stray that is not revoked before its name has a current token that works.
    StrayWaits(TokenId),
    /// A retiring token whose overlap is over and that is not revoked, because the current one is not accepted.
    RevocationWaits(TokenId),
    /// The server failed to revoke a token.
    RevocationFails {
        /// Which.
        id: TokenId,
        /// Of what.
        why: String,
    },
    /// A live token with our instance that no record knows.
    Unknown {
        /// Which.
        id: TokenId,
        /// The marker in its label.
        marker: Marker,
        /// When it was created.
        created_at: Option<Time>,
    },
    /// Another machine uses a copy of this store.
    Twin,
}

impl Matter {
    /// A mint that failed is tried again.
    #[must_use]
    pub fn waits_to_mint(failed: &FailedMint) -> Self {
        Self::WaitsToMint { why: failed.why.clone(), until: failed.until }
    }

    /// Whether somebody has to do something.
    #[must_use]
    pub fn waits_for_a_person(&self) -> bool {
        matches!(
            self,
            Self::Unreadable
                | Self::LaterVersion(_)
                | Self::NoDatabase(_)
                | Self::NothingToProbe
                | Self::Paused { count: MAX_UNEXPLAINED.., .. }
                | Self::ServerChanged { .. }
                | Self::RevocationUnconfirmed
                | Self::TooShort { .. }
                | Self::RowFault(_)
                | Self::Unknown { .. }
        )
    }

    /// Whether the server claims what cannot be: nothing waits for that, and somebody should look at the server.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        matches!(
            self,
            Self::OddCreation { .. } | Self::OtherExpiry { .. } | Self::OtherId { .. } | Self::Unlisted(_)
        )
    }

    /// Whether it reports something that happened, rather than how things are: the next plan will not find it
    /// again.
    #[must_use]
    pub fn is_an_event(&self) -> bool {
        matches!(
            self,
            Self::DatabasesUnlistable(_)
                | Self::Unprobed(_)
                | Self::Gone { .. }
                | Self::GrantsAltered { has: Some(_) }
                | Self::OddAnswer(_)
                | Self::Twin
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable => "restore the record from a backup, or move its file away to get a new token",
            Self::LaterVersion(_) => "run the influx-tokend that wrote it, or a later one",
            Self::NoDatabase(_) => "create the database, or correct its name in the list",
            Self::NotAcceptedYet { .. } => {
                "check `data_url`, and that the server answers writes and queries there"
            }
            Self::NothingToProbe => {
                "create a database, name one with `probe = { database = … }`, or set `probe = false`"
            }
            Self::DatabasesUnlistable(_) => "check the names of the databases yourself",
            Self::WaitsToMint { .. } => "fix the cause, then run `influx-tokend rotate` to retry at once",
            Self::RevocationFails { .. } => "fix the cause, then run `influx-tokend apply` to retry at once",
            Self::TooManyIntents(_) => "find out why the server does not answer; minting resumes by itself",
            Self::Paused { .. } => {
                "find out what revokes or changes this token; run `influx-tokend rotate` to mint at once"
            }
            Self::OddCreation { .. } => {
                "compare the clocks of the server and of the proxies before it; the Date header counts"
            }
            Self::TooShort { .. } => "set `lifetime` to what the server allows, or raise the server's limit",
            Self::RowFault(_) => "check this row on the server; nothing here depends on it",
            Self::LeftTheList { .. } => "put the name back into the list to keep the token",
            Self::RevocationUnconfirmed => "run `influx-tokend confirm`, or put the names back into the list",
            Self::ServerChanged { .. } => "run `influx-tokend confirm` if it really is another server",
            Self::OnFormerServer { .. } => "revoke it there yourself, then run `influx-tokend forget`",
            Self::Unknown { .. } => {
                "run `influx-tokend strays`; if another machine uses a copy of this store, run \
                 `influx-tokend strays --separate`"
            }
            Self::Twin => "give each machine its own store and its own machine-id",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "token {name}: ")?;
        }
        self.matter.fmt(f)
    }
}

impl fmt::Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the record cannot be read, nothing is done for this token"),
            Self::LaterVersion(version) => {
                write!(
                    f,
                    "the record has version {version}: the token is delivered, nothing else is done for it"
                )
            }
            Self::NoDatabase(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                let plural = if names.len() == 1 { "" } else { "s" };
                write!(f, "the server has no database{plural} {}", names.join(", "))
            }
            Self::NothingToProbe => f.write_str("the server has no database to probe the token on"),
            Self::DatabasesUnlistable(why) => write!(f, "cannot list the server's databases: {why}"),
            Self::Probing { since, overdue, last } => {
                write!(f, "minted {since:.0}, not accepted everywhere yet")?;
                if *overdue {
                    f.write_str(", past the deadline")?;
                }
                last.iter().try_for_each(|last| write!(f, " (last answer: {last})"))
            }
            Self::Unprobed(id) => write!(f, "{id} promoted unprobed: the server answers no probe"),
            Self::NotAcceptedYet { id, last } => {
                write!(f, "{id} is delivered unprobed: the server has not accepted it yet")?;
                last.iter().try_for_each(|last| write!(f, " (last answer: {last})"))
            }
            Self::WaitsToMint { why, until } => {
                write!(f, "the last mint failed ({why}), next try at {until:.0}")
            }
            Self::TooManyIntents(count) => {
                write!(f, "the outcome of {count} mints is unknown, minting is paused")
            }
            Self::Paused { count, until } => {
                let times = if *count == 1 { "time" } else { "times" };
                write!(f, "replaced {count} {times} within a day, minting is paused until {until:.0}")
            }
            Self::GrantsDiffer { wanted, has } => {
                write!(f, "the list asks for {wanted}, the token has {has}")
            }
            Self::GrantsAltered { has: Some(has) } => {
                write!(f, "its grants were changed on the server to {has}")
            }
            Self::GrantsAltered { has: None } => {
                f.write_str("the server reports the grants in an unknown form, they may have changed")
            }
            Self::GrantsUnreported => {
                f.write_str("this server does not report grants, so drift cannot be detected")
            }
            Self::Surplus { has, until } => {
                write!(
                    f,
                    "has more grants than the list asks for ({has}), the extra ones are removed at {until:.0}"
                )
            }
            Self::ChangeWaits => {
                f.write_str("needs a new token for its new grants, waiting for other names first")
            }
            Self::LeftTheList { until } => {
                write!(f, "left the list, its token is delivered until {until:.0} and then revoked")
            }
            Self::RevocationUnconfirmed => f.write_str(
                "left the list with more than half of all tokens, its token is revoked once you confirm it",
            ),
            Self::Unlisted(id) => write!(f, "the server does not list {id} as live, but accepts it"),
            Self::Missing(id) => {
                write!(f, "the server does not list {id} as live any more, checking whether it still works")
            }
            Self::Gone { id, absent: true } => write!(f, "{id} is gone: not listed, and refused"),
            Self::Gone { id, absent: false } => write!(f, "{id} is gone: revoked or expired"),
            Self::Expires(at) => write!(f, "expires at {at:.0}"),
            Self::OtherExpiry { asked, expires_at } => {
                write!(f, "expiry {asked:.0} requested, ")?;
                match expires_at {
                    Some(at) if at < asked => write!(f, "the server set {at:.0}: replaced before that"),
                    Some(at) => {
                        write!(f, "the server set {at:.0}: replaced in time and revoked after its overlap")
                    }
                    None => {
                        f.write_str("the server set none: replaced in time and revoked after its overlap")
                    }
                }
            }
            Self::OddCreation { claimed, dated } => {
                write!(
                    f,
                    "the server reports a creation at {claimed:.0} in an answer dated {dated:.0}, the date counts"
                )
            }
            Self::TooShort { asked, expires_at } => write!(
                f,
                "expiry {asked:.0} requested, the server set {expires_at:.0}, too soon for a rotation: replaced once \
                 it has expired"
            ),
            Self::OddAnswer(what) => write!(f, "in the answer to its mint, {what}"),
            Self::RowFault(what) => write!(f, "in the server's list, {what}"),
            Self::ServerChanged { from } => {
                write!(f, "its token is on {from}, the list names another server")
            }
            Self::ImportedReplaced(id) => write!(f, "imported token {id} is not used here any more"),
            Self::OnFormerServer { id, server } => {
                write!(f, "{id} is on {server}, a server that is not in the list")
            }
            Self::OtherId { held, listed } => write!(
                f,
                "the server returned {held} for its mint and lists its label under {listed}: neither is revoked"
            ),
            Self::StrayWaits(id) => {
                write!(f, "{id} was minted and lost, it is revoked once another token works")
            }
            Self::RevocationWaits(id) => {
                write!(f, "{id} is due to be revoked, waiting until its successor is accepted again")
            }
            Self::RevocationFails { id, why } => write!(f, "cannot revoke {id} ({why}), retrying"),
            Self::Unknown { id, created_at, .. } => {
                write!(f, "{id} has this store's label, but is in no record")?;
                created_at.iter().try_for_each(|at| write!(f, " (created {at:.0})"))
            }
            Self::Twin => f.write_str("another machine uses a copy of this store, taking a new instance"),
        }
    }
}
