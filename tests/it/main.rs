//! The whole programs, run as a user runs them, against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]
#![expect(clippy::print_stdout, reason = "a test says what it has counted, and what it could not show")]

mod admin;
mod agent;
mod apply;
mod backend;
mod behind_one_host;
mod claims;
mod credentials;
mod daemon;
mod dedicated;
mod exec;
mod exec_agents;
mod exec_telegraf;
mod expiry;
mod faults;
mod foreign;
mod gateway;
mod hooks;
mod host;
mod hostile;
mod import;
mod influxctl;
mod install_exec;
mod kernel_keyring;
mod keyring;
mod kills;
mod kind;
mod lifecycle;
mod local_clock;
mod migrate;
mod oauth;
mod outages;
mod peers;
mod pickup;
mod promises;
mod recipes;
mod refused;
mod reload;
mod retire;
mod rings;
mod rotate;
mod scripted;
mod seals;
mod secrets;
mod secrets_socket;
mod secrets_wait;
mod secrets_watch;
mod servers;
mod slips;
mod stand_in;
mod stores;
mod systemd;
mod telegraf;
mod telegraf_versions;
