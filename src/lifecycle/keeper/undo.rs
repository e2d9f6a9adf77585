//! What a person undoes: a rotation, or a token altogether.

use std::collections::BTreeSet;

use super::{Keeper, Report, RotateError, probes::Works};
use crate::{
    deliver::{Deliver, DeliverError, NoteError},
    hint::Hint,
    influxdb::{Server, ServerError},
    lifecycle::{Clock, ledger::ChangeError},
    model::{Event, Known, Name, Origin, Record, RetiringState, Time, TokenId},
    store::Store,
};

/// Why a rotation is not undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The name as such.
    #[error(transparent)]
    Name(#[from] RotateError),
    /// There is nothing to go back to.
    #[error("token {0}: has no former token that still works")]
    NoFormer(Name),
    /// The server does not take it.
    #[error("token {name}: its former token {id} is not accepted any more")]
    NotAccepted {
        /// Which.
        name: Name,
        /// The former token.
        id: TokenId,
    },
    /// It could not be sealed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// It is current again and could not be delivered yet.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// The same; consumers have it, and hooks have not been told.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl Hint for UndoError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Name(error) => error.hint(),
            Self::NoFormer(_) => Some("run `influx-tokend rotate` for another new value".to_owned()),
            Self::NotAccepted { .. } => {
                Some("run `influx-tokend status` to see what the server says of it".to_owned())
            }
            Self::Change(error) => error.hint(),
            Self::Deliver(error) => error.hint(),
            Self::Note(error) => error.hint(),
        }
    }
}

/// Why a token is not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is none, or it lives on a server that is not looked after here.
    #[error("token {0}: has no current token on a server that is managed here")]
    NoCurrent(Name),
    /// Its record is a later program's: that it is revoked could not be sealed.
    #[error(transparent)]
    Name(#[from] RotateError),
    /// Rule 8.
    #[error("token {name}: {id} is not revoked here, others may use it")]
    NotOurs {
        /// Which.
        name: Name,
        /// The token.
        id: TokenId,
    },
    /// The server did not revoke it, as far as is known.
    #[error("token {name}: {error}")]
    Server {
        /// Which.
        name: Name,
        /// What it answered.
        error: Box<ServerError>,
    },
}

impl Hint for RevokeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoCurrent(_) => Some("run `influx-tokend status` to see what there is".to_owned()),
            Self::Name(error) => error.hint(),
            Self::NotOurs { .. } => Some(
                "run `influx-tokend rotate` to replace it, then revoke the old one on the server yourself"
                    .to_owned(),
            ),
            Self::Server { error, .. } => error.hint(),
        }
    }
}

impl<S: Server, T: Store, D: Deliver, C: Clock> Keeper<S, T, D, C> {
    /// A person wants the value before the current one back: it becomes current, if it still lives, and the name's
    /// schedule is suspended until somebody asks for a new value. Returns the token that is current now.
    ///
    /// # Errors
    /// Nothing has changed, but for [`UndoError::Deliver`] and [`UndoError::Note`].
    pub async fn undo(&self, name: &Name) -> Result<TokenId, UndoError> {
        self.may_rotate(name)?;
        let none = || UndoError::NoFormer(name.clone());
        let record = self.shared.ledger.record(name).ok_or_else(none)?;
        let id = self.former(&record).ok_or_else(none)?;
        if self.verify(name, &id).await != Works::Wholly {
            return Err(UndoError::NotAccepted { name: name.clone(), id });
        }
        match self.apply(name, vec![Event::Undone(id.clone())]).await {
            Ok(Some(_)) => {}
            // It is being revoked, or gone.
            Ok(None) | Err(ChangeError::NotAllowed(_)) => return Err(none()),
            Err(error) => return Err(error.into()),
        }
        self.state().evidence.asked.remove(name);
        tracing::warn!(%name, %id, server = %self.name, "a person undid a rotation, its schedule is suspended");
        self.shared.deliver(name).await?;
        self.shared.note().await?;
        self.wake();
        Ok(id)
    }

    /// The value before the current one, as far as it may still live.
    fn former(&self, record: &Record) -> Option<TokenId> {
        let now = self.now();
        let lives = |expires_at: Option<Time>| expires_at.is_none_or(|at| at > now);
        record
            .retiring
            .iter()
            .filter(|retiring| retiring.state == RetiringState::Overlap && retiring.generation > 0)
            .filter(|retiring| retiring.held.server == self.key && retiring.held.origin != Origin::Inherited)
            .filter(|retiring| lives(retiring.held.expires_at))
            .max_by_key(|retiring| retiring.generation)
            .map(|retiring| retiring.held.id.clone())
    }

    /// Which token of a name a person may revoke now.
    ///
    /// # Errors
    /// There is none that is ours to revoke.
    pub fn revocable(&self, name: &Name) -> Result<TokenId, RevokeError> {
        if let Some(Known::Later(_)) = self.shared.ledger.known().get(name) {
            return Err(RotateError::Later(name.clone()).into());
        }
        let record = self.shared.ledger.record(name);
        let current = record.as_ref().and_then(|record| record.current.as_ref());
        let Some(current) = current.filter(|current| current.server == self.key) else {
            return Err(RevokeError::NoCurrent(name.clone()));
        };
        if !current.origin.is_ours() || self.shared.ledger.is_shared() {
            return Err(RevokeError::NotOurs { name: name.clone(), id: current.id.clone() });
        }
        Ok(current.id.clone())
    }

    /// Revokes the current token of a name at once, as a person asked, and cuts off its users. If the list asks for the name,
    /// another is minted at once; until then the name is not ready, unless a former token still works.
    ///
    /// # Errors
    /// There is none that is ours to revoke, or the server did not revoke it. What could not be sealed or delivered after
    /// that is returned, and made up for by the next pass.
    pub async fn revoke_now(&self, name: &Name) -> Result<Vec<String>, RevokeError> {
        let id = self.revocable(name)?;
        let mut report = Report::default();
        let revoked = self.revoke_as_asked(name, &id, &mut report).await;
        revoked.map_err(|error| RevokeError::Server { name: name.clone(), error: error.into() })?;
        self.note_delivered(&mut report).await;
        if self.shared.specs().contains_key(name) {
            self.ask_for(name);
        }
        Ok(report.errors)
    }

    /// The same for any token of a record, and nothing takes its place: the host is retired.
    ///
    /// # Errors
    /// The server did not revoke it.
    pub async fn retire(&self, name: &Name, id: &TokenId) -> Result<Vec<String>, ServerError> {
        let mut report = Report::default();
        self.revoke_as_asked(name, id, &mut report).await?;
        Ok(report.errors)
    }

    async fn revoke_as_asked(
        &self,
        name: &Name,
        id: &TokenId,
        report: &mut Report,
    ) -> Result<(), ServerError> {
        self.server.revoke(id).await?;
        tracing::warn!(%name, %id, server = %self.name, "a person revoked a token");
        self.note_revoked(name, id, report).await;
        Ok(())
    }

    /// Who is known to have read the current value of a name, or one before it.
    pub async fn readers(&self, name: &Name) -> BTreeSet<String> {
        let generation = self.shared.ledger.generation(name);
        self.shared.deliver.holders(name, generation + 1).await.known
    }
}
