//! The TOML list: text in, a checked [`Config`] out, or all faults at once.
//!
//! Each file imports from those above it only:
//!
//! | files | what they are for |
//! |---|---|
//! | `error`, `faults`, `load` | what is refused and why; a file to its text |
//! | `excerpt`, `suggestion`, `context` | quoting values, hints for unknown words, what a list depends on |
//! | `document`, `section` | text to tree; typed access to one table |
//! | `bounds`, `path`, `address`, `probe` | values: numbers and durations, paths, URLs, probes |
//! | `source`, `oauth`, `management_token`, `influxctl`, `via` | how a server is managed, and with which secret |
//! | `server`, `store`, `deliver`, `lifecycle`, `token` | the tables of a list, in the order they are read |
//! | `list`, `hook` | the whole list; a hook's file |

mod address;
mod bounds;
mod context;
mod deliver;
mod document;
mod error;
mod excerpt;
mod faults;
mod hook;
mod influxctl;
mod lifecycle;
mod list;
mod load;
mod management_token;
mod oauth;
mod path;
mod probe;
mod section;
mod server;
mod source;
mod store;
mod suggestion;
#[cfg(test)]
mod tests;
mod token;
mod via;

pub use context::{DefaultPaths, ListContext};
pub use error::{ConfigError, ConfigFault, ReadError};
pub use hook::{MAX_HOOK_BYTES, parse_hook, render_hook};
pub use influxctl::{InfluxctlConfig, Login};
pub use list::Config;
pub use load::{read, read_lossy};
pub use management_token::ManagementTokenConfig;
pub use oauth::{OAuthAuthentication, OAuthClient};
pub use server::{ClientCertificate, ServerConfig};
pub use source::TokenSource;
pub use store::{AgeConfig, StoreConfig, StoreKind};
pub use via::Via;
