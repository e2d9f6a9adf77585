//! Every line that a person reads.
//!
//! - An error is `PROGRAM: error: what happened`, and the fix, where one is known, `PROGRAM: hint: what to do`.
//! - Lower case, no full stop, what a person typed in quotes, no words that only we use.
//! - Results go to stdout, everything else to stderr. A reader that has gone away is no error.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
};

use rustix::io::Errno;

use crate::hint::Hint;

/// Tells an error and what to do about it.
pub fn error(program: &str, error: &dyn Hint) {
    told(program, "error", error);
}

/// The same for something that did not stop us.
pub fn warning(program: &str, error: &dyn Hint) {
    told(program, "warning", error);
}

/// Tells a line that is no result.
pub fn note(program: &str, line: &str) {
    to_stderr(&format!("{program}: {line}\n"));
}

/// Prints a result.
///
/// # Errors
/// It cannot be written; not if nobody reads it any more.
pub fn print(text: &str) -> io::Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints a result as it is, to the byte.
///
/// # Errors
/// It cannot be written; not if nobody reads it any more.
pub fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    // Not through std's buffer: it would keep a copy of a secret that nothing wipes.
    let mut left = bytes;
    while !left.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = &left[written..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Prints a result for programs.
///
/// # Errors
/// It cannot be written; not if nobody reads it any more.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    print_bytes(&json)
}

/// `1 token`, `2 tokens`.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Whether a person sees what is printed.
#[must_use]
pub fn is_for_a_person() -> bool {
    rustix::stdio::stdout().is_terminal()
}

/// An empty table with these headings.
#[cfg(feature = "daemon")]
#[must_use]
pub fn table(headings: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(headings.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn told(program: &str, kind: &str, error: &dyn Hint) {
    let mut text = format!("{program}: {kind}: {error}");
    if let Some(source) = error.source().filter(|source| !is_in(error, *source)) {
        text += &format!(": {source}");
    }
    text.push('\n');
    if let Some(hint) = error.hint() {
        text += &format!("{program}: hint: {hint}\n");
    }
    to_stderr(&text);
}

/// Transparent errors show their source's text as their own.
fn is_in(error: &dyn Hint, source: &(dyn Error + 'static)) -> bool {
    error.to_string().contains(&source.to_string())
}

fn to_stderr(text: &str) {
    // Nowhere is left to tell about it.
    let _unread = io::stderr().lock().write_all(text.as_bytes());
}
