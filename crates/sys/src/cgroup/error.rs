//! Errors about a cgroup's file: what was done to it, and the kernel's number for why it failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed operation on a file or directory of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What was done: `write "0-7" to`.
    pub operation: String,
    /// To which file.
    pub path: PathBuf,
    /// The kernel's error number, 0 when it was not the kernel.
    pub errno: i32,
    why: String,
}

impl FileError {
    /// The one in `error`, if it is of this kind.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.path.display(), self.why)
    }
}

impl Error for FileError {}

/// Names the operation and the file, keeping kind and number.
pub(super) fn about(error: io::Error, operation: &str, path: &Path) -> io::Error {
    explained(error, operation, path, "")
}

/// [`about`] with a further reason behind the kernel's.
pub(super) fn explained(error: io::Error, operation: &str, path: &Path, hint: &str) -> io::Error {
    let text = error.to_string();
    let mut why = text.split(" (os error").next().unwrap_or_default().to_owned();
    if !hint.is_empty() {
        why = format!("{why} ({hint})");
    }
    let (operation, path) = (operation.to_owned(), path.to_owned());
    let errno = error.raw_os_error().unwrap_or(0);
    io::Error::new(error.kind(), FileError { operation, path, errno, why })
}
