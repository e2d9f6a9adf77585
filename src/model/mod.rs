//! The words of the domain as types. Pure: no I/O, no clock, no randomness.

mod allow;
mod attempt;
mod boot;
mod credential;
mod evidence;
mod grant;
mod hook;
mod label;
mod listed;
mod name;
mod product;
mod record;
mod server;
mod share;
mod spec;
mod time;
mod unit;

pub use allow::Allow;
pub use attempt::{AttemptKind, MINT_MEMORY, MintAttempt, remember_mint};
pub use boot::{BootTime, Moment};
#[cfg(feature = "daemon")]
pub(crate) use credential::sealed;
pub use credential::{Credential, Secret, wiped_json};
pub use evidence::{Anchor, Evidence, FailedMint, Holders, Known, Probed, Word};
pub use grant::{Action, Database, Grant, Grants, InvalidDatabase};
pub use hook::{Behind, Generations, Hook, HookAction};
pub use label::{Instance, Label, Marker};
pub use listed::{Databases, Listed, Listing, RowFault, ServerDate};
pub use name::{InvalidName, Name};
pub use product::{
    Address, DatabaseNames, Descriptor, Expiry, GrantSupport, Hints, LabelPlace, ListScope, Product,
};
pub use record::{
    CommonValues, Conflict, Contents, Event, Gone, Held, Intent, MAX_RECORD_BYTES, NotAllowed, Origin,
    Record, RecordVersion, Retiring, RetiringState, Revoked,
};
pub use server::{ClusterIds, NotUuid, ServerKey, ServerName, TokenId, Uuid};
pub use share::share;
pub use spec::{Lifecycle, Pickup, Probe, Spec, due_age, room};
pub use time::{Time, after, before, since};
pub use unit::{InvalidUnit, Unit};
