//! What commands print: tables, templates, JSON, sizes and times as Docker writes them.

pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod template;
pub(crate) mod units;

use std::io::Write as _;

use crate::failure::Outcome;

/// Prints a line to stdout.
pub(crate) fn line(text: &str) -> Outcome {
    text_out(&format!("{text}\n"))
}

/// Prints text to stdout as it is.
pub(crate) fn text(text: &str) -> Outcome {
    text_out(text)
}

fn text_out(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(0)
}

/// Prints a line to stderr. There is nobody to tell if that fails.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
