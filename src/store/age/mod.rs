//! Records as age files, one per token, in one folder:
//!
//! | path | what |
//! |---|---|
//! | `identity.txt`, or `identity.age` | opens the records; `.age`: wrapped, by a passphrase or for another identity |
//! | `instance` | whose tokens are ours, and which machine this is |
//! | `list` | the last accepted list, sealed |
//! | `tokens/NAME.age` | one record |
//! | `lock` | held by the one process that writes |
//! | `retired` | its tokens are revoked, or are being revoked: nothing opens it any more |
//!
//! Files are 0600 and folders 0700 from the moment they exist.

mod identity;
pub(crate) mod plugin;
mod reader;
#[cfg(all(test, feature = "daemon"))]
mod tests;
#[cfg(feature = "daemon")]
mod writer;

pub use identity::{Identities, IdentitySource, Keys, Unwrap};
pub use plugin::{PLUGIN_TIME, Plugins};
pub use reader::AgeReader;
#[cfg(feature = "daemon")]
pub use writer::{AgeStore, OpenOptions, ResealError};

/// The largest sealed file: a record or a list at its bound, and age's own bytes.
const MAX_SEALED_BYTES: u64 = 24 << 20;
