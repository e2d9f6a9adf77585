//! A store that is only looked at: beside a daemon that holds it, or where there is none yet.

use super::{HostReader, Instances, RecordError, Records, Revision, SealError, Store, StoreError, Stored};
use crate::model::{Instance, Name, Record};

/// Reads, and refuses everything else.
#[derive(Debug)]
pub struct ReadOnly {
    reader: Option<HostReader>,
    instances: Instances,
}

impl ReadOnly {
    /// Over what can be read; without a reader an empty store, as it will be made.
    #[must_use]
    pub fn new(reader: Option<HostReader>, instances: Option<Instances>) -> Self {
        let none = || Instances { current: Instance::from_bits([0; 16]), former: vec![] };
        Self { reader, instances: instances.unwrap_or_else(none) }
    }

    fn refused(&self) -> StoreError {
        StoreError {
            path: self.reader.as_ref().map(HostReader::path).unwrap_or_default(),
            what: "is only looked at".to_owned(),
            fix: None,
            source: None,
        }
    }
}

impl Store for ReadOnly {
    async fn load(&self) -> Result<Records, StoreError> {
        match &self.reader {
            None => Ok(Records::new()),
            Some(reader) => reader.load().await,
        }
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        match &self.reader {
            None => Ok(None),
            Some(reader) => reader.read(name).await,
        }
    }

    async fn seal(&self, _: &Record, _: Option<Revision>) -> Result<Revision, SealError> {
        Err(self.refused().into())
    }

    async fn remove(&self, _: &Name, _: Revision) -> Result<(), SealError> {
        Err(self.refused().into())
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        Ok(self.instances.clone())
    }

    async fn renew_instance(&self) -> Result<Instances, StoreError> {
        Err(self.refused())
    }
}
