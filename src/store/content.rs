//! What is sealed of a record: its JSON.

use serde::Deserialize;

use super::RecordFault;
use crate::model::{Record, RecordVersion};

/// What another version says may not even parse as this one's; its version is then what a person has to know.
pub(super) fn parse(json: &[u8]) -> Result<Record, RecordFault> {
    #[derive(Deserialize)]
    struct Versioned {
        version: RecordVersion,
    }
    let is_ours = |version: RecordVersion| version.major == RecordVersion::CURRENT.major;
    match serde_json::from_slice::<Record>(json) {
        Ok(record) if is_ours(record.version) => Ok(record),
        Ok(record) => Err(RecordFault::Version { found: record.version }),
        Err(error) => match serde_json::from_slice(json) {
            Ok(Versioned { version: found }) if !is_ours(found) => Err(RecordFault::Version { found }),
            // Told by place alone: the text around it may hold a secret.
            _ => Err(RecordFault::Damaged(format!(
                "its content is no record (line {}, column {})",
                error.line(),
                error.column()
            ))),
        },
    }
}
