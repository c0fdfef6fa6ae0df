//! Making of [`Failure`]s: the failing step, its object, the text in Go's manner, and a hint.
//!
//! Docker's clients match on texts such as `permission denied` and `no such file or directory`, so an
//! errno is written as Go writes it: in lower case and without its number.

use std::fmt;
use std::io;

use davit_sys::cgroup::FileError;
use davit_sys::startsync::Failure;
use rustix::io::Errno;

/// A failure in `stage` on `object` with the message `object: error`.
pub(crate) fn io(stage: &str, object: &str, error: &io::Error) -> Failure {
    let told = error.get_ref().and_then(|inner| inner.downcast_ref::<Told>());
    let text = told.map_or_else(
        || errno_text(error),
        |told| errno_text(&io::Error::from_raw_os_error(told.errno)),
    );
    Failure {
        stage: stage.to_owned(),
        call: stage.to_owned(),
        errno: told
            .map(|told| told.errno)
            .or_else(|| error.raw_os_error())
            .or_else(|| FileError::of(error).map(|file| file.errno))
            .unwrap_or(0),
        object: object.to_owned(),
        message: format!("{stage} {object}: {text}"),
        hint: told.map(|told| told.hint.as_str().into()).unwrap_or_default(),
    }
}

/// An error of a system call about which more is known than its number.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) errno: i32,
    pub(crate) hint: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{} ({})", errno_text(&error), self.hint)
    }
}

impl std::error::Error for Told {}

/// A failure that is no system call's: the whole message is given.
pub(crate) fn text(stage: &str, object: &str, message: impl Into<String>) -> Failure {
    Failure {
        stage: stage.to_owned(),
        object: object.to_owned(),
        message: message.into(),
        ..Failure::default()
    }
}

/// `no such file or directory` for `No such file or directory (os error 2)`.
pub(crate) fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        // Not `RPC ...`: an acronym stays.
        Some(first) if !chars.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// Turns the error of a step's system call into a [`Failure`].
pub(crate) trait Step<T> {
    /// Names the step and its object.
    fn step(self, stage: &str, object: impl AsRef<str>) -> Result<T, Failure>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, stage: &str, object: impl AsRef<str>) -> Result<T, Failure> {
        self.map_err(|error| io(stage, object.as_ref(), &error))
    }
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, stage: &str, object: impl AsRef<str>) -> Result<T, Failure> {
        self.map_err(io::Error::from).step(stage, object)
    }
}

/// Adds to a failure what the caller knows.
pub(crate) trait Wrap<T> {
    /// Puts what was being done in front: `prefix: message`.
    fn wrap(self, prefix: impl FnOnce() -> String) -> Result<T, Failure>;
    /// Names the part of the set-up.
    fn at(self, stage: &str) -> Result<T, Failure>;
    /// Adds a hint to a failure with one of the `errnos` that has none yet.
    fn hint(self, errnos: &[i32], hint: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Wrap<T> for Result<T, Failure> {
    fn wrap(self, prefix: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|failure| Failure {
            message: format!("{}: {}", prefix(), failure.message),
            ..failure
        })
    }

    fn at(self, stage: &str) -> Result<T, Failure> {
        self.map_err(|failure| Failure { stage: stage.to_owned(), ..failure })
    }

    fn hint(self, errnos: &[i32], hint: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|failure| {
            if failure.hint.is_empty() && errnos.contains(&failure.errno) {
                return Failure { hint: hint().into(), ..failure };
            }
            failure
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_writes_them() {
        let cases = [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::ENOTDIR, "not a directory"),
            (libc::ENOEXEC, "exec format error"),
        ];
        for (errno, expected) in cases {
            assert_eq!(errno_text(&io::Error::from_raw_os_error(errno)), expected);
        }
    }
}
