//! What to do next, and doing it.

mod allowance;
mod claims;
mod clock;
mod keeper;
mod ledger;
mod now;
pub mod plan;
mod probe;
mod schedule;
#[cfg(test)]
mod simulation;
mod state;

pub use clock::{Clock, SystemClock};
pub use keeper::{
    Import, ImportError, Imported, Keeper, Mode, Report, RevokeError, RotateError, Settings, Shared, Signals,
    Turn, Unanswered, UndoError, clocks, keepers_of, may_all_rotate, rotate,
};
pub use ledger::{ChangeError, DisownError, Ledger};
pub use now::{NoTime, judging_time};
pub use state::{Clocks, State, Status, ready, statuses};
