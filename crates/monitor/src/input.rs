//! Standard input of the process: what clients send goes in as fast as the process takes it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// The write end of the pipe, or the terminal's master. Without one, input is thrown away.
#[derive(Debug, Default)]
pub(crate) struct Input {
    fd: Option<OwnedFd>,
    /// Taken from a client, not yet by the process. At most one read long: clients are not read
    /// while there is a backlog.
    backlog: Vec<u8>,
    close_when_empty: bool,
}

impl Input {
    /// Feeds `fd`, which must be non-blocking.
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, backlog: Vec::new(), close_when_empty: false }
    }

    /// The descriptor to wait for until it can be written.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Whether the process does not take what it was sent.
    pub(crate) fn is_backed_up(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends `bytes` to the process.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.close_when_empty {
            self.backlog.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Closes it once everything before has been taken.
    pub(crate) fn close(&mut self) {
        self.close_when_empty = true;
        self.flush();
    }

    /// Goes on with the backlog.
    pub(crate) fn flush(&mut self) {
        let Some(fd) = &self.fd else { return };
        let mut sent = 0;
        let mut open = true;
        while sent < self.backlog.len() {
            match rustix::io::write(fd, &self.backlog[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The process has closed its end: nothing will ever read this.
                Err(_) => {
                    open = false;
                    break;
                }
            }
        }
        self.backlog.drain(..sent);
        if !open || (self.backlog.is_empty() && self.close_when_empty) {
            self.fd = None;
        }
        if self.fd.is_none() || self.backlog.is_empty() {
            self.backlog = Vec::new();
        }
    }
}
