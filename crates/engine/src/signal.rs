//! Signals as clients ask for them.

use davit_sys::signal_names;
use davit_types::{Error, Result};

/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;
/// `SIGTERM`, what stops a container that says nothing else.
pub(crate) const TERM: i32 = 15;

/// The number of `text`, a number or a name.
///
/// # Errors
/// Anything else is invalid.
pub(crate) fn parse(text: &str) -> Result<i32> {
    signal_names::number(text).ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_signal_is_named() {
        assert_eq!(parse("SIGTERM").expect("known"), TERM);
        for bad in ["", "0", "65", "NOSUCH", "SIG", "RTMIN+99", "-9"] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.to_string(), format!("invalid signal: {bad}"));
        }
    }
}
