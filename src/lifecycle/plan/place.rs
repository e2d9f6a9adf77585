//! What a record has in the place of its current or next token.

use super::step::MintReason;

/// What is in the place of a record's current or next token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing, or nothing any more, and why a mint would then be made.
    Free(Option<MintReason>),
    /// A token that works and is due for replacement, and why.
    ToReplace(MintReason),
    /// A token.
    Taken,
}
