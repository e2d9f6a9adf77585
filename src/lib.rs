//! InfluxDB tokens for one host: minted, sealed, probed, delivered and looked after.
//!
//! In the order data flows:
//!
//! | module | what it is for |
//! |---|---|
//! | [`model`] | the words of the domain as types |
//! | [`config`] | the TOML list and what it says |
//! | [`influxdb`] | the servers that mint, list and revoke tokens |
//! | [`store`] | where records are kept between runs |
//! | [`lifecycle`] | what to do next, and doing it |
//! | [`deliver`] | making secrets available to consumers |
//! | [`operate`] | what a person asks for, daemon or not |
//! | [`client`] | asking the daemon over its secrets socket |
//! | [`keys`] | keys in the kernel, and rings of them |
//! | [`mod@reference`] | `@{store:key}` in a text |
//! | [`cli`] | the two command lines |
//!
//! Dependencies point one way: `cli, daemon → operate → lifecycle, deliver → influxdb, store, config → model`,
//! and `cli → client → model`.

#[cfg(not(target_os = "linux"))]
compile_error!("influx-tokend runs on Linux only");

pub mod cli;
pub mod client;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod deliver;
mod duration;
pub mod harden;
pub mod hint;
#[cfg(feature = "daemon")]
pub mod influxdb;
pub mod keys;
#[cfg(feature = "daemon")]
pub mod lifecycle;
pub mod model;
mod nearest;
#[cfg(feature = "daemon")]
pub mod operate;
pub mod paths;
#[cfg(feature = "daemon")]
mod program;
pub mod reference;
mod replace;
#[cfg(feature = "daemon")]
pub mod source;
pub mod store;
pub mod supervisor;
#[cfg(feature = "daemon")]
pub mod sys;
#[cfg(feature = "daemon")]
pub mod systemctl;
pub mod telegraf;
#[cfg(feature = "daemon")]
pub mod watch;
