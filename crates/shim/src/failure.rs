//! Failures of the set-up on their way to the daemon.

use davit_monitor::protocol::Failure;
use davit_types::Error;

/// The runtime's failure as the protocol has it: the message says all, with the hint behind it.
pub(crate) fn from_runtime(failure: davit_runtime::Failure) -> Failure {
    let message = failure.to_string();
    Failure { stage: failure.stage, errno: failure.errno, message }
}

/// An error of one of the shim's own steps.
pub(crate) fn from_error(stage: &str, error: &Error) -> Failure {
    let mut errno = 0;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            errno = error.raw_os_error().unwrap_or(0);
        }
        cause = error.source();
    }
    Failure { stage: stage.to_owned(), errno, message: format!("{error:#}") }
}

/// Names the step in which an error happened.
pub(crate) trait Stage<T> {
    /// Turns the error into a [`Failure`] of `stage`.
    fn stage(self, stage: &str) -> Result<T, Failure>;
}

impl<T> Stage<T> for davit_types::Result<T> {
    fn stage(self, stage: &str) -> Result<T, Failure> {
        self.map_err(|error| from_error(stage, &error))
    }
}
