//! The management token, read where it is kept and no more often than needed.

use tokio::sync::Mutex;

use crate::{
    config::TokenSource,
    model::Secret,
    source::{SourceError, read_token},
};

/// Read at the first request of a pass and kept for its others: a source may be a program, which costs something.
/// Forgotten when a pass begins and after a 401, so that one that was replaced is seen.
#[derive(Debug)]
pub(super) struct ManagementToken {
    source: TokenSource,
    read: Mutex<Option<Secret>>,
}

impl ManagementToken {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, read: Mutex::new(None) }
    }

    /// Held while reading: eight mints at once read it once.
    pub(super) async fn get(&self) -> Result<Secret, SourceError> {
        let mut read = self.read.lock().await;
        if let Some(token) = &*read {
            return Ok(token.clone());
        }
        let token = read_token(&self.source).await?;
        *read = Some(token.clone());
        Ok(token)
    }

    pub(super) async fn forget(&self) {
        *self.read.lock().await = None;
    }
}
