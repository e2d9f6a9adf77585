//! Adopting a token that was made by hand.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Keeper, Unanswered};
use crate::{
    deliver::Deliver,
    hint::Hint,
    influxdb::{Check, Plane, Server, ServerError, Verdict},
    lifecycle::{Clock, ledger::ChangeError},
    model::{
        Credential, Database, Event, Grants, Held, Instance, Known, Listed, Name, Origin, Record, Secret,
        ServerKey, ServerName, Spec, Time, TokenId,
    },
    store::Store,
};

/// A token that was made by hand.
#[derive(Clone, Debug)]
pub struct Import {
    /// How this host calls it from now on.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Its string.
    pub secret: Secret,
    /// Nobody else uses it: it is revoked once it is replaced.
    pub exclusive: bool,
    /// Although its grants are not those that the list asks for.
    pub despite_grants: bool,
}

/// A token that was adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Of which name it is the `next` now.
    pub name: Name,
    /// The server's id for it.
    pub id: TokenId,
    /// Where it lives.
    pub server: ServerName,
    /// Nobody else uses it.
    pub exclusive: bool,
    /// What it may do.
    pub grants: String,
    /// When it expires by itself.
    pub expires_at: Option<Time>,
    /// The list asks for the name: it is promoted and delivered once it is accepted as often as a new one must be.
    pub listed: bool,
}

/// Why a token was not adopted. Nothing has been sealed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The server could not be asked, or its time not be believed.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The server does not know the id.
    #[error("server {server}: has no token {id}")]
    NotThere {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
    },
    /// It was revoked.
    #[error("server {server}: {id} was revoked at {at:.0}")]
    Revoked {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
        /// When.
        at: Time,
    },
    /// It expired.
    #[error("server {server}: {id} expired at {at:.0}")]
    Expired {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
        /// When.
        at: Time,
    },
    /// It may do something that we have no word for, or nothing.
    #[error("server {server}: {id} has no grants, unreported grants, or more than read and write")]
    StrangeGrants {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
    },
    /// It is in the store.
    #[error("{id} is a token of {name} already")]
    Held {
        /// Which token.
        id: TokenId,
        /// Whose.
        name: Name,
    },
    /// This store revoked it.
    #[error("{id} was a token of {name} and is revoked")]
    WasRevoked {
        /// Which token.
        id: TokenId,
        /// Whose.
        name: Name,
    },
    /// It bears our label: it was minted here.
    #[error("server {server}: {id} was minted by this store, for {name}")]
    Ours {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
        /// For which name.
        name: Name,
    },
    /// The same string is in the store under another id.
    #[error("the string for {id} is that of another token, of {name}")]
    SameSecret {
        /// Which token.
        id: TokenId,
        /// Whose it is.
        name: Name,
    },
    /// The name's record cannot be read, or is a later program's.
    #[error("token {0}: the record cannot be changed here")]
    NotOurs(Name),
    /// The list has the name on another server.
    #[error("token {name}: the list has it on server {wanted}, not on {server}")]
    OtherServer {
        /// Which name.
        name: Name,
        /// Where the list has it.
        wanted: ServerName,
        /// The server that was asked.
        server: ServerName,
    },
    /// What the name has lives on another server.
    #[error("token {name}: its token is on {server}")]
    LivesElsewhere {
        /// Which name.
        name: Name,
        /// Where.
        server: ServerKey,
    },
    /// The list asks for other grants.
    #[error("token {name}: the list asks for {wanted}, {id} has {has}")]
    GrantsDiffer {
        /// Which name.
        name: Name,
        /// Which token.
        id: TokenId,
        /// The list.
        wanted: Grants,
        /// The token.
        has: Grants,
    },
    /// There is no database on which a token for all of them could be probed.
    #[error("server {0}: has no database to probe a token for all databases on")]
    NothingToProbe(ServerName),
    /// The data plane did not accept it for everything.
    #[error("server {server}: {id} with this string is not accepted: {answer} ({plane} on {database:?})")]
    NotAccepted {
        /// Which token.
        id: TokenId,
        /// Which server.
        server: ServerName,
        /// What was asked.
        plane: Plane,
        /// About which database.
        database: String,
        /// What was answered.
        answer: String,
    },
    /// It could not be sealed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<ServerError> for ImportError {
    fn from(error: ServerError) -> Self {
        Self::Unanswered(error.into())
    }
}

impl Hint for ImportError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unanswered(error) => return error.hint(),
            Self::NotThere { .. } => {
                "check the id, and that it is this server's: `influxctl token list` shows them"
            }
            Self::Revoked { .. } | Self::Expired { .. } => "create another one, or let influx-tokend mint it",
            Self::StrangeGrants { .. } => "create one that reads or writes databases and does nothing else",
            Self::Held { .. } | Self::WasRevoked { .. } => {
                "run `influx-tokend status` to see what the store has"
            }
            Self::Ours { .. } => "run `influx-tokend strays` to list it",
            Self::SameSecret { .. } => "give the string that was shown when this id was created",
            Self::NotOurs(_) => "run `influx-tokend check` to see what is wrong with it",
            Self::OtherServer { .. } => "name that server, or change the list",
            Self::LivesElsewhere { .. } => {
                "run `influx-tokend apply` if only its address has changed, `influx-tokend confirm` if it is another"
            }
            Self::GrantsDiffer { .. } => {
                "change the list or the token; `--despite-grants` takes it as it is, and the difference stays reported"
            }
            Self::NothingToProbe(_) => "create a database, or name one with `probe = { database = … }`",
            Self::NotAccepted { .. } => {
                "check that string and id belong together; a token created just now may need some minutes"
            }
            Self::Change(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// Adopts a token that was made by hand: it is looked at, asked about once, and sealed as the `next` of its name.
    /// From there it goes the way of any other. What was `next` before is retired. Without a spec it waits until the
    /// list asks for the name.
    ///
    /// # Errors
    /// It is not what it should be; nothing is sealed then.
    pub async fn import(&self, import: &Import) -> Result<Imported, ImportError> {
        let _one_at_a_time = self.shared.importing.lock().await;
        // For the server's time: by ours nothing is judged.
        self.list().await?;
        let specs = self.shared.specs();
        let spec = specs.get(&import.name);
        self.may_take(import, spec)?;
        let row = self.server.get(&import.id).await?.filter(|row| row.id == import.id);
        let held = self.adopted(import, row)?;
        if let Some(spec) = spec.filter(|spec| spec.grants != held.grants && !import.despite_grants) {
            return Err(ImportError::GrantsDiffer {
                name: import.name.clone(),
                id: held.id,
                wanted: spec.grants.clone(),
                has: held.grants,
            });
        }
        self.is_accepted(&held, spec).await?;
        let imported = Imported {
            name: import.name.clone(),
            id: held.id.clone(),
            server: self.name.clone(),
            exclusive: import.exclusive,
            grants: held.grants.to_string(),
            expires_at: held.expires_at,
            listed: spec.is_some(),
        };
        self.seal_as_next(&import.name, spec, held).await?;
        tracing::info!(name = %imported.name, id = %imported.id, server = %self.name, "imported");
        self.wake();
        Ok(imported)
    }

    /// Seals it as `next`; what was `next` before is retired.
    async fn seal_as_next(&self, name: &Name, spec: Option<&Spec>, held: Held) -> Result<(), ChangeError> {
        let allow = spec.map_or_else(Arc::default, |spec| spec.allow.clone());
        let new = Some(self.new_record(name, allow));
        let events = vec![Event::Imported(Box::new(held))];
        self.shared.ledger.apply(name, new, events, self.moment()).await.map(drop)
    }

    /// What list and store say against it.
    fn may_take(&self, import: &Import, spec: Option<&Spec>) -> Result<(), ImportError> {
        let name = &import.name;
        if let Some(spec) = spec.filter(|spec| spec.server != self.name) {
            let (wanted, server) = (spec.server.clone(), self.name.clone());
            return Err(ImportError::OtherServer { name: name.clone(), wanted, server });
        }
        let known = self.shared.ledger.known();
        match known.get(name) {
            Some(Known::Unreadable | Known::Later(_)) => return Err(ImportError::NotOurs(name.clone())),
            Some(Known::Ours(record)) => {
                let mut places = record.current.iter().chain(&record.next);
                if let Some(held) = places.find(|held| held.server != self.key) {
                    let server = held.server.clone();
                    return Err(ImportError::LivesElsewhere { name: name.clone(), server });
                }
            }
            None => {}
        }
        known.values().filter_map(Known::record).try_for_each(|record| is_unknown_to(record, import))
    }

    /// What the server says of it.
    fn adopted(&self, import: &Import, row: Option<Listed>) -> Result<Held, ImportError> {
        let (id, server, now) = (import.id.clone(), self.name.clone(), self.now());
        let Some(row) = row else {
            return Err(ImportError::NotThere { id, server });
        };
        if let Some(at) = row.revoked_at {
            return Err(ImportError::Revoked { id, server, at });
        }
        if let Some(at) = row.expires_at.filter(|at| *at <= now) {
            return Err(ImportError::Expired { id, server, at });
        }
        let instances = self.shared.ledger.instances();
        let is_ours =
            |instance: &Instance| instances.current == *instance || instances.former.contains(instance);
        if let Some(label) = row.label.filter(|label| is_ours(&label.instance)) {
            return Err(ImportError::Ours { id, server, name: label.name });
        }
        let Some(grants) = row.grants.filter(|grants| !grants.is_empty()) else {
            return Err(ImportError::StrangeGrants { id, server });
        };
        Ok(Held {
            id,
            server: self.key.clone(),
            marker: None,
            secret: Credential::Token(import.secret.clone()),
            grants,
            created_at: row.created_at.map_or(now, |at| at.min(now)),
            claimed_created_at: row.created_at.filter(|at| *at > now),
            expires_at: row.expires_at,
            was_to_expire_at: None,
            origin: Origin::Imported { exclusive: import.exclusive },
        })
    }

    /// One question for all that it may do: does the string belong to the id, as far as that can be told?
    async fn is_accepted(&self, held: &Held, spec: Option<&Spec>) -> Result<(), ImportError> {
        let settings = spec.and_then(|spec| spec.probe.as_deref());
        let for_all = held.grants.iter().any(|grant| grant.database == Database::All);
        if for_all && settings.is_none_or(|probe| probe.database.is_none()) {
            let databases = self.server.databases().await?;
            if databases.is_empty() {
                return Err(ImportError::NothingToProbe(self.name.clone()));
            }
            self.state().databases = databases;
        }
        let checks: BTreeSet<Check> = self.checks(held, settings);
        for (check, verdict) in self.ask(held, checks.into_iter().collect()).await {
            let answer = match verdict {
                Verdict::Accepted => continue,
                Verdict::Refused { status } => status.to_string(),
                Verdict::Unreachable { why, .. } | Verdict::Misconfigured { why } => why,
            };
            return Err(ImportError::NotAccepted {
                id: held.id.clone(),
                server: self.name.clone(),
                plane: check.plane,
                database: check.database,
                answer,
            });
        }
        Ok(())
    }
}

fn is_unknown_to(record: &Record, import: &Import) -> Result<(), ImportError> {
    let (id, name) = (import.id.clone(), record.name.clone());
    if record.held().any(|held| held.id == id) {
        return Err(ImportError::Held { id, name });
    }
    if record.revoked.iter().any(|revoked| revoked.id == id) {
        return Err(ImportError::WasRevoked { id, name });
    }
    if record.held().any(|held| *held.secret.secret() == import.secret) {
        return Err(ImportError::SameSecret { id, name });
    }
    Ok(())
}
