//! The two command lines. Nothing else prints.

pub mod secrets;
#[cfg(feature = "daemon")]
pub mod tokend;
pub mod ui;
