//! What a person asks of this host's tokens, daemon or not. One file per command: each asks servers and store, and gives
//! a result that is printed here or sent over the admin socket.

pub mod applied;
pub mod check;
pub mod command;
pub mod confirm;
mod digest;
pub mod forget;
pub mod hook;
pub mod import;
pub mod plan;
pub mod retire;
pub mod status;
pub mod strays;
pub mod undo;

use crate::{
    influxdb::Server,
    lifecycle::{Keeper, SystemClock},
};

/// The keeper of one of this host's servers, whether it may change anything or only looks.
pub type HostKeeper<T, D> = Keeper<Box<dyn Server>, T, D, SystemClock>;
/// All of them.
pub type Keepers<'a, T, D> = &'a [&'a HostKeeper<T, D>];
