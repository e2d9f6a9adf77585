//! The whole programs, run as a user runs them, against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod apply;
mod daemon;
mod host;
mod kills;
mod peers;
mod seals;
mod secrets;
mod servers;
mod stores;
