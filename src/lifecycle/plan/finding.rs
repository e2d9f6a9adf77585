//! What people are told about a plan.

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
        /// When it is tried again.
        until: Time,
    },
    /// Too many mints of unknown fate are open.
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
        /// The token on the server; `None` where it is said in a way we do not know.
        has: Option<Grants>,
    },
    /// Of no token the server tells what it may do in a way we know.
    GrantsUntold,
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
    /// Its token is to be ended because the name left the list, with so many others that a person has to confirm it.
    RevocationUnconfirmed,
    /// The list does not show the token as live, yet the server accepts it.
    Unlisted(TokenId),
    /// The token is not in the list; whether it is gone is being asked.
    Missing(TokenId),
    /// The token is gone: nobody we know of ended it.
    Gone {
        /// Which.
        id: TokenId,
        /// By absence, or told.
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
    /// An imported token that is not used here any more; a person may end it.
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
    /// A stray that is not ended before its name has a current token that works.
    StrayWaits(TokenId),
    /// A retiring token whose time is over and that is not ended, because the current one is not accepted.
    RevocationWaits(TokenId),
    /// A token that was to be ended, and that the server has not.
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
    /// Somebody else works with a copy of this store.
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

    /// Whether it tells of something that happened, rather than of how things are: the next plan will not find it
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
            Self::Unreadable => {
                "put the record back from a backup, or move its file away to have a new token minted"
            }
            Self::LaterVersion(_) => "run the influx-tokend that wrote it, or a later one",
            Self::NoDatabase(_) => "create the database, or correct its name in the list",
            Self::NotAcceptedYet { .. } => "check `data_url`, and that writes and queries are answered there",
            Self::NothingToProbe => {
                "create a database, name one with `probe = { database = … }`, or set `probe = false`"
            }
            Self::DatabasesUnlistable(_) => "check the names of the databases yourself",
            Self::WaitsToMint { .. } => "once that is mended, `influx-tokend rotate` tries at once",
            Self::RevocationFails { .. } => "once that is mended, `influx-tokend apply` tries at once",
            Self::TooManyIntents(_) => "find out why the server does not answer; mints resume by themselves",
            Self::Paused { .. } => {
                "find out what revokes or changes this token; minting resumes by itself, \
                 `influx-tokend rotate` mints at once"
            }
            Self::OddCreation { .. } => {
                "compare the clocks of the server and of the proxies before it; the Date header counts"
            }
            Self::TooShort { .. } => "set `lifetime` to what the server gives, or have the server give more",
            Self::RowFault(_) => "check this row on the server; nothing here depends on it",
            Self::LeftTheList { .. } => "put it back into the list if it is still wanted",
            Self::RevocationUnconfirmed => "run `influx-tokend confirm`, or put the names back into the list",
            Self::ServerChanged { .. } => "run `influx-tokend confirm` if it really is another server",
            Self::OnFormerServer { .. } => "end it there yourself, then run `influx-tokend forget`",
            Self::Unknown { .. } => {
                "see `influx-tokend strays`; if another machine works with a copy of this store, run \
                 `influx-tokend strays --separate`"
            }
            Self::Twin => "give each machine a store and a machine-id of its own",
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
            Self::Unreadable => f.write_str("its record cannot be read, nothing is done for it"),
            Self::LaterVersion(version) => {
                write!(f, "its record has version {version}: it is delivered, nothing else is done for it")
            }
            Self::NoDatabase(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                let plural = if names.len() == 1 { "" } else { "s" };
                write!(f, "the server has no database{plural} {}", names.join(", "))
            }
            Self::NothingToProbe => f.write_str("the server has no database on which it could be probed"),
            Self::DatabasesUnlistable(why) => write!(f, "the server's databases cannot be listed: {why}"),
            Self::Probing { since, overdue, last } => {
                write!(f, "minted {since:.0}, not accepted everywhere yet")?;
                if *overdue {
                    f.write_str(", past the deadline")?;
                }
                last.iter().try_for_each(|last| write!(f, " (last answer: {last})"))
            }
            Self::Unprobed(id) => write!(f, "{id} is promoted although no probe could reach the server"),
            Self::NotAcceptedYet { id, last } => {
                write!(f, "{id} is delivered unprobed: the server has not accepted it yet")?;
                last.iter().try_for_each(|last| write!(f, " (last answer: {last})"))
            }
            Self::WaitsToMint { why, until } => {
                write!(f, "the last mint failed ({why}), the next is tried at {until:.0}")
            }
            Self::TooManyIntents(count) => {
                write!(f, "{count} mints of unknown fate are open, no further one is tried")
            }
            Self::Paused { count, until } => {
                let times = if *count == 1 { "time" } else { "times" };
                write!(f, "replaced {count} {times} within a day, no further one before {until:.0}")
            }
            Self::GrantsDiffer { wanted, has } => {
                write!(f, "the list asks for {wanted}, the token has {has}")
            }
            Self::GrantsAltered { has: Some(has) } => {
                write!(f, "its grants were changed on the server to {has}")
            }
            Self::GrantsAltered { has: None } => {
                f.write_str("what it may do is told in a way that is not known here, it may have been changed")
            }
            Self::GrantsUntold => {
                f.write_str("what tokens may do is not told in a way that is known here, a change is not noticed")
            }
            Self::Surplus { has, until } => {
                write!(f, "may do more than the list asks for ({has}), is narrowed at {until:.0}")
            }
            Self::ChangeWaits => {
                f.write_str("gets a new token with other grants once fewer other names wait for theirs")
            }
            Self::LeftTheList { until } => {
                write!(f, "left the list, its token is delivered until {until:.0} and ended then")
            }
            Self::RevocationUnconfirmed => f.write_str(
                "left the list as more than half of all tokens did, its token is ended once a person confirms it",
            ),
            Self::Unlisted(id) => write!(f, "the server does not list {id} as live, yet accepts it"),
            Self::Missing(id) => {
                write!(f, "the server does not show {id} as live any more, asking whether it still works")
            }
            Self::Gone { id, absent: true } => write!(f, "{id} is gone: not listed, and refused"),
            Self::Gone { id, absent: false } => write!(f, "{id} is gone: revoked or expired"),
            Self::Expires(at) => write!(f, "expires at {at:.0}"),
            Self::OtherExpiry { asked, expires_at } => {
                write!(f, "was to expire at {asked:.0}, the server lets it ")?;
                match expires_at {
                    Some(at) if at < asked => write!(f, "expire at {at:.0}: it is replaced by then"),
                    Some(at) => write!(f, "live until {at:.0}: it is replaced in time and ended after its overlap"),
                    None => f.write_str("live on: it is replaced in time and ended after its overlap"),
                }
            }
            Self::OddCreation { claimed, dated } => {
                write!(f, "the server reports a creation at {claimed:.0} in an answer dated {dated:.0}, the date counts")
            }
            Self::TooShort { asked, expires_at } => write!(
                f,
                "was to expire at {asked:.0}, the server lets it expire at {expires_at:.0}, too soon for a rotation: it is \
                 replaced once it has expired"
            ),
            Self::OddAnswer(what) => write!(f, "in the answer to its mint, {what}"),
            Self::RowFault(what) => write!(f, "in the server's list, {what}"),
            Self::ServerChanged { from } => {
                write!(f, "its token lives on {from}, the list names another server")
            }
            Self::ImportedReplaced(id) => write!(f, "imported token {id} is not used here any more"),
            Self::OnFormerServer { id, server } => {
                write!(f, "{id} lives on {server}, which the list does not name")
            }
            Self::OtherId { held, listed } => write!(
                f,
                "the server returned {held} for its mint and lists its label under {listed}: neither is revoked"
            ),
            Self::StrayWaits(id) => {
                write!(f, "{id} was minted and lost, it is ended once there is one that works")
            }
            Self::RevocationWaits(id) => {
                write!(f, "{id} was to be ended, that waits until its successor is accepted again")
            }
            Self::RevocationFails { id, why } => write!(f, "{id} was to be ended, which failed ({why}), it is tried again"),
            Self::Unknown { id, created_at, .. } => {
                write!(f, "{id} bears this store's label but is in no record")?;
                created_at.iter().try_for_each(|at| write!(f, " (created {at:.0})"))
            }
            Self::Twin => f.write_str("somebody else works with a copy of this store, taking a new instance"),
        }
    }
}
