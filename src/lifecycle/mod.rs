//! What to do next, and doing it.

mod clock;

pub use clock::{Clock, SystemClock};
