//! So that nobody confirms something else than what was shown.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::command::Refusal;

/// Of all that was shown, a piece after another.
pub(super) fn digest(shown: impl IntoIterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    shown.into_iter().for_each(|piece| hash.update(piece));
    HEXLOWER.encode(&hash.finalize()[..6])
}

/// Whether what would be done now is what a person has seen: `command` shows it.
///
/// # Errors
/// It is something else.
pub(super) fn must_be(now: &str, shown: &str, command: &str) -> Result<(), Refusal> {
    if now == shown {
        return Ok(());
    }
    let hint = format!("run `influx-tokend {command}` to see the changes and their digest");
    Err(Refusal::new(format!("digest {shown:?} does not match what would be done now"), hint))
}
