//! Making secrets available to consumers.

use std::future::Future;

use crate::model::{Allow, Credential, Name};

/// One value on its way to its consumers.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Which token.
    pub name: &'a Name,
    /// Which value of it.
    pub generation: u64,
    /// The value; `None` while there is none to be had: consumers then get an error, never an empty secret.
    pub secret: Option<&'a Credential>,
    /// Who may read it.
    pub allow: &'a Allow,
}

/// Every way in which secrets reach consumers.
pub trait Deliver: Send + Sync {
    /// Makes this the value that consumers get. Does nothing where it is already.
    fn deliver(&self, delivery: Delivery<'_>) -> impl Future<Output = Result<(), DeliverError>> + Send;
}

/// A value that could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("token {name}: {what}")]
pub struct DeliverError {
    /// Which token.
    pub name: Name,
    /// What could not be done, to which file.
    pub what: String,
    /// Why.
    #[source]
    pub source: std::io::Error,
}
