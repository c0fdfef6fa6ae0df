//! How a command ends when it doesn't end well: a text for stderr and an exit status.

use std::fmt;

/// The status with which Docker's CLI reports that it, and not the container, failed.
pub(crate) const CLI_ERROR: u8 = 125;

/// A failed command: printed once, at the very end, by [`crate::run`].
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) code: u8,
    /// What goes to stderr; nothing when empty.
    pub(crate) text: String,
    /// The HTTP status, when a daemon's answer is the cause.
    pub(crate) status: Option<u16>,
}

/// What a command returns: its exit status, or why it failed.
pub(crate) type Outcome<T = u8> = Result<T, Failure>;

impl Failure {
    /// A failure with exit status 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into(), status: None }
    }

    /// An exit status that needs no words, because all has been said already.
    pub(crate) fn quiet(code: u8) -> Self {
        Self { code, text: String::new(), status: None }
    }

    /// The same failure under another exit status.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Whether a daemon answered with this HTTP status.
    pub(crate) fn is_status(&self, status: u16) -> bool {
        self.status == Some(status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Nobody reads our output any more; a C program would have died of SIGPIPE.
            return Self::quiet(141);
        }
        Self::new(go_io_error(&error))
    }
}

/// The text of a system error as Go prints it: lower-case, without the number.
pub(crate) fn go_io_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
