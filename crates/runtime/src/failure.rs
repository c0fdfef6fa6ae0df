//! Making of [`Failure`]s: the failing step, its object, and the text in Go's manner.
//!
//! Docker's clients match on texts such as `permission denied` and `no such file or directory`, so an
//! errno is written as Go writes it: in lower case and without its number.

use std::io;

use davit_sys::cgroup::FileError;
use davit_sys::startsync::Failure;
use rustix::io::Errno;

/// A failure in `stage` on `object` with the message `object: error`.
pub(crate) fn io(stage: &str, object: &str, error: &io::Error) -> Failure {
    Failure {
        stage: stage.to_owned(),
        errno: error
            .raw_os_error()
            .or_else(|| FileError::of(error).map(|file| file.errno))
            .unwrap_or(0),
        object: object.to_owned(),
        message: format!("{stage} {object}: {}", errno_text(error)),
    }
}

/// A failure that is no system call's: the whole message is given.
pub(crate) fn text(stage: &str, object: &str, message: impl Into<String>) -> Failure {
    Failure {
        stage: stage.to_owned(),
        errno: 0,
        object: object.to_owned(),
        message: message.into(),
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

/// Puts what was being done in front of a failure's message.
pub(crate) trait Wrap<T> {
    /// `prefix: message`.
    fn wrap(self, prefix: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Wrap<T> for Result<T, Failure> {
    fn wrap(self, prefix: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|failure| Failure {
            message: format!("{}: {}", prefix(), failure.message),
            ..failure
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
