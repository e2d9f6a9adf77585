//! kill -9 and SIGTERM at drawn moments: afterwards every name has the token that it should have, and nothing else was
//! touched.

mod changes;
mod consumer;
mod first_run;
mod history;
mod operation;
mod strike;

/// So many kills as asked for, else `usual`, and what all else is drawn from.
fn asked_for(usual: usize) -> (usize, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let kills = number("INFLUX_TOKEND_KILLS").and_then(|kills| usize::try_from(kills).ok());
    (kills.unwrap_or(usual), number("INFLUX_TOKEND_SEED").unwrap_or_else(|| fastrand::u64(..)))
}

/// Each step is struck so often at least, where there are kills enough.
fn least(kills: usize, steps: usize) -> usize {
    5.min(kills / steps)
}
