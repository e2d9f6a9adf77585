//! Making secrets available to consumers.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    hint::Hint,
    model::{Allow, Credential, Name},
};

mod access;
mod acl;
mod files;
mod generations;
#[cfg(test)]
mod tests;

pub use access::Readers;
pub use files::Files;

use generations::Generations;

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
    /// No list has been read yet: a value that is newer than this one stays (rule 16).
    pub keep_newer: bool,
}

/// Every way in which secrets reach consumers.
pub trait Deliver: Send + Sync {
    /// Makes this the value that consumers get. Does nothing where it is already.
    fn deliver(&self, delivery: Delivery<'_>) -> impl Future<Output = Result<(), DeliverError>> + Send;
}

/// A value that could not be delivered.
#[derive(Debug, thiserror::Error)]
#[error("token {name}: {what}: {source}")]
pub struct DeliverError {
    /// Which token.
    pub name: Name,
    /// What could not be done, to which file.
    pub what: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Hint for DeliverError {
    fn hint(&self) -> Option<String> {
        fix_for(&self.source)
    }
}

/// A way that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path:?}: {source}")]
pub struct OpenError {
    /// Where.
    pub path: PathBuf,
    /// What could not be done.
    pub what: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Hint for OpenError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::NotFound => {
                Some("make the folder above it, as the shipped tmpfiles.d does".to_owned())
            }
            _ => fix_for(&self.source),
        }
    }
}

fn fix_for(error: &io::Error) -> Option<String> {
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => "make the folder belong to the user this runs as",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its file system",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable",
        io::ErrorKind::Unsupported => "deliver to a file system with POSIX ACLs, such as tmpfs",
        _ => return None,
    };
    Some(fix.to_owned())
}

/// The deliveries of this host.
#[derive(Clone, Debug)]
pub struct Deliveries {
    ways: Arc<Mutex<Ways>>,
}

#[derive(Debug)]
struct Ways {
    files: Option<Files>,
    generations: Generations,
}

impl Deliveries {
    /// Opens each way that the list asks for. `run` is the folder for the daemon's other run-time files.
    ///
    /// # Errors
    /// A folder cannot be made or used.
    pub async fn open(files: Option<PathBuf>, run: &Path) -> Result<Self, OpenError> {
        let daemon = run.join("daemon");
        let open = move || {
            let generations = Generations::open(&daemon)?;
            let files = files.as_deref().map(Files::open).transpose()?;
            Ok(Self { ways: Arc::new(Mutex::new(Ways { files, generations })) })
        };
        tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

impl Deliver for Deliveries {
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<(), DeliverError> {
        // A file on tmpfs is written in microseconds: handing it to another thread would take longer.
        self.ways.lock().unwrap_or_else(PoisonError::into_inner).deliver(delivery)
    }
}

impl Ways {
    fn deliver(&mut self, delivery: Delivery<'_>) -> Result<(), DeliverError> {
        let Delivery { name, generation, secret, allow, keep_newer } = delivery;
        if keep_newer && self.generations.of(name).is_some_and(|delivered| delivered > generation) {
            tracing::warn!(%name, "a newer value than the sealed one is delivered: it stays until the server was asked");
            return Ok(());
        }
        match (secret, &mut self.files) {
            (Some(secret), Some(files)) => {
                let readers = Readers::resolve(allow);
                for ignored in &readers.ignored {
                    tracing::debug!(%name, "allow: {ignored}");
                }
                files.put(name, generation, secret.secret(), readers)?;
            }
            (None, Some(files)) => files.withdraw(name)?,
            (_, None) => {}
        }
        self.generations.note(name, secret.map(|_| generation));
        self.generations.write().map_err(|source| DeliverError {
            name: name.clone(),
            what: "cannot note the generation".to_owned(),
            source,
        })
    }
}

/// Delivers nothing, for commands that only look.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Deliver for Nowhere {
    async fn deliver(&self, _: Delivery<'_>) -> Result<(), DeliverError> {
        Ok(())
    }
}
