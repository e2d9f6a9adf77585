//! A store that is only looked at: beside a daemon that holds it, or where there is none yet.

use super::{
    Instances, RecordError, Records, Revision, SealError, Store, StoreError, Stored, age::AgeReader,
};
use crate::model::{Instance, Name, Record};

/// Reads, and refuses everything else.
#[derive(Debug)]
pub struct ReadOnly {
    reader: Option<AgeReader>,
    instances: Instances,
}

impl ReadOnly {
    /// Over what can be read; without a reader an empty store, as it will be made.
    #[must_use]
    pub fn new(reader: Option<AgeReader>, instances: Option<Instances>) -> Self {
        let none = || Instances { current: Instance::from_bits([0; 16]), former: vec![] };
        Self { reader, instances: instances.unwrap_or_else(none) }
    }

    fn refused(&self) -> StoreError {
        StoreError {
            path: self.reader.as_ref().map(AgeReader::path).unwrap_or_default(),
            what: "is only looked at".to_owned(),
            fix: None,
            source: None,
        }
    }
}

impl Store for ReadOnly {
    async fn load(&self) -> Result<Records, StoreError> {
        match self.reader.clone() {
            None => Ok(Records::new()),
            Some(reader) => tokio::task::spawn_blocking(move || reader.load())
                .await
                .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())),
        }
    }

    async fn read(&self, name: &Name) -> Result<Option<Stored>, RecordError> {
        self.reader.as_ref().map_or(Ok(None), |reader| reader.read(name))
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
