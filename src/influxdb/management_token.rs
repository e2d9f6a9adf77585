//! The management token, read or asked for no more often than needed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;

use super::{
    ErrorKind, ServerError,
    oauth::{Issued, Provider},
};
use crate::{
    config::{self, ServerConfig, TokenSource},
    model::{Secret, ServerName},
    source::read_token,
};

/// So long before its end one that was issued is used no more, or a quarter of its lifetime if that is less.
const MARGIN: Duration = Duration::from_secs(60);

/// What lets us in to the management API.
#[derive(Debug)]
pub(super) struct ManagementToken {
    origin: ManagementTokenOrigin,
    held: Mutex<Option<CachedToken>>,
}

#[derive(Debug)]
enum ManagementTokenOrigin {
    Kept(TokenSource),
    Issued(Box<Provider>),
}

#[derive(Debug)]
struct CachedToken {
    token: Secret,
    /// Since boot, time asleep included; `None`: for this pass only.
    good_until: Option<Duration>,
}

impl ManagementToken {
    /// One that is read where it is kept.
    pub(super) fn kept(source: TokenSource) -> Self {
        Self { origin: ManagementTokenOrigin::Kept(source), held: Mutex::new(None) }
    }

    /// Sets a client of the provider up, where one issues it; sends nothing.
    ///
    /// # Errors
    /// Certificates cannot be read, or the system has none and some are needed.
    pub(super) fn new(
        name: &ServerName,
        config: &ServerConfig,
        token: config::ManagementTokenConfig,
    ) -> Result<Self, ServerError> {
        let origin = match token {
            config::ManagementTokenConfig::Source(source) => return Ok(Self::kept(source)),
            config::ManagementTokenConfig::OAuth(client) => {
                ManagementTokenOrigin::Issued(Box::new(Provider::new(name, config, *client)?))
            }
        };
        Ok(Self { origin, held: Mutex::new(None) })
    }

    /// Locked while reading or asking: eight mints at once do it once.
    pub(super) async fn get(&self) -> Result<Secret, ErrorKind> {
        let mut held = self.held.lock().await;
        if let Some(CachedToken { token, good_until }) = &*held
            && good_until.is_none_or(|until| since_boot() < until)
        {
            return Ok(token.clone());
        }
        *held = None;
        let got = match &self.origin {
            ManagementTokenOrigin::Kept(source) => {
                let token = read_token(source).await.map_err(ErrorKind::ManagementToken)?;
                CachedToken { token, good_until: None }
            }
            ManagementTokenOrigin::Issued(provider) => {
                let asked = since_boot();
                let Issued { token, lifetime } = provider.issue().await?;
                CachedToken { token, good_until: lifetime.map(|lifetime| good_until(asked, lifetime)) }
            }
        };
        let token = got.token.clone();
        *held = Some(got);
        Ok(token)
    }

    /// A pass begins: what is kept somewhere may have been replaced there, and a source may be a program, which costs
    /// something. What was issued for longer stays.
    pub(super) async fn begin_pass(&self) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.good_until.is_none()) {
            *held = None;
        }
    }

    /// The server does not take it: the next request has another, if there is one.
    pub(super) async fn refused(&self) {
        *self.held.lock().await = None;
    }

    /// Who issued it, if anybody did.
    pub(super) fn issued_by(&self) -> Option<String> {
        match &self.origin {
            ManagementTokenOrigin::Kept(_) => None,
            ManagementTokenOrigin::Issued(provider) => Some(provider.address()),
        }
    }
}

/// Until when a token is used that was asked for at `asked`.
fn good_until(asked: Duration, lifetime: Duration) -> Duration {
    asked.saturating_add(lifetime.saturating_sub(MARGIN.min(lifetime / 4)))
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_is_asked_for_before_the_last_ends() {
        let good_for = |seconds: u64| good_until(Duration::ZERO, Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 4, 60, 240, 300, 3600].map(good_for), [0, 3, 45, 180, 240, 3540]);
        assert_eq!(good_until(Duration::MAX, Duration::MAX), Duration::MAX);
    }
}
