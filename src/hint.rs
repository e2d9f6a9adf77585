//! Errors that know how a person can fix them.

/// An error with, where there is one, the fix. [`std::fmt::Display`] says what happened; the hint goes on a
/// line of its own.
pub trait Hint: std::error::Error {
    /// What to do about it: one sentence, lower case, no full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}
