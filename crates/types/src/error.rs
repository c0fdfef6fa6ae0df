//! The one error type of Davit's library crates: a kind, a message and the cause.
//!
//! The kind decides the HTTP status, in one place (`davit-daemon`). The message names the operation
//! and the object and never repeats its cause; the edge prints the whole chain once, with `{:#}`.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller has to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The named object does not exist (404).
    NotFound,
    /// The request is malformed or asks for something impossible (400).
    InvalidParameter,
    /// The object's present state forbids the operation (409).
    Conflict,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// The operation is not allowed on this object (403).
    Forbidden,
    /// The service needed for this is not there (503).
    Unavailable,
    /// The object already is in the wanted state (304).
    NotModified,
    /// Davit does not do this (501).
    NotImplemented,
    /// Everything else (500).
    Internal,
}

/// An error with its chain of causes.
///
/// `Display` prints the message alone, `{:#}` the whole chain joined with `": "`, system errors in
/// the words that Docker's clients match on.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A result with Davit's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` without a cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An [`Kind::Internal`] error without a cause.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// A [`Kind::NotFound`] error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// A [`Kind::InvalidParameter`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, message)
    }

    /// A [`Kind::Conflict`] error.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `message` in front of this error and keeps its kind.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self { kind: self.kind, message: message.into(), source: Some(Box::new(self)) }
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What a caller may branch on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The outermost message, without the causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            let mut cause = self.source();
            while let Some(error) = cause {
                write!(f, ": {}", system_text(&error.to_string()))?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

/// A system error's text as Docker's clients know it (`no such file or directory`), whatever the
/// library that reported it (`No such file or directory (os error 2)`); other texts as they are.
fn system_text(text: &str) -> String {
    let Some(end) = text.rfind(" (os error ") else { return text.to_owned() };
    let mut letters = text[..end].chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Adds what was being done, and to what, to a failure.
pub trait Context<T> {
    /// Wraps the error under the message that `message` makes. A foreign error becomes
    /// [`Kind::Internal`], a Davit error keeps its kind.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: StdError + Send + Sync + 'static> Context<T> for std::result::Result<T, E> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| {
            let boxed: Box<dyn StdError + Send + Sync> = Box::new(error);
            let kind = boxed.downcast_ref::<Error>().map_or(Kind::Internal, Error::kind);
            Error { kind, message: message().into(), source: Some(boxed) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternate_display_prints_the_chain_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = Err::<(), _>(cause).context(|| "open /x").context(|| "start c1");
        let error = error.expect_err("made from an Err");
        assert_eq!(error.to_string(), "start c1");
        assert_eq!(format!("{error:#}"), "start c1: open /x: no such file or directory");
    }

    #[test]
    fn context_keeps_the_kind_of_a_davit_error() {
        let error = Err::<(), _>(Error::not_found("No such container: x")).context(|| "stop");
        assert_eq!(error.expect_err("made from an Err").kind(), Kind::NotFound);
    }
}
