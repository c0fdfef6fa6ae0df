//! The user's terminal: its size, and raw mode that is always undone.

use std::io;

use rustix::termios::{self, OptionalActions, Termios};

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Height in characters.
    pub(crate) rows: u16,
    /// Width in characters.
    pub(crate) columns: u16,
}

/// Whether standard input is a terminal.
pub(crate) fn is_stdin() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn is_stdout() -> bool {
    termios::isatty(rustix::stdio::stdout())
}

/// Whether standard error is a terminal.
pub(crate) fn is_stderr() -> bool {
    termios::isatty(rustix::stdio::stderr())
}

/// The size of the terminal on standard output, if it is one.
pub(crate) fn size() -> Option<Size> {
    let size = termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row != 0 || size.ws_col != 0)
        .then_some(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Raw mode of the terminal on standard input; dropping it restores what was there before.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode; nothing happens if standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !is_stdin() {
            return Ok(None);
        }
        let before = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Fails only when the terminal is gone, and then there is nothing to restore.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
