//! Copying the process' output to the log and to the clients.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::epoll::Interest;
use rustix::io::Errno;

use super::{Backend, State, Supervisor, Token};
use crate::attached::READ;
use crate::frame::Stream;

/// More than this is not read after the process' end: somebody else holds the pipe and keeps writing.
const MAX_REST: usize = 8 * 1024 * 1024;

/// The read end of an output pipe, or the terminal's master.
#[derive(Debug)]
pub(super) struct Output {
    fd: OwnedFd,
    watched: bool,
}

impl Output {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, watched: false }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<B: Backend> Supervisor<B> {
    pub(super) fn output_ready(&mut self, stream: Stream) {
        self.pump(stream);
        self.watch_outputs();
    }

    /// Reads what has come since the last read, everything, and closes the outputs.
    pub(super) fn drain_outputs(&mut self) {
        for stream in Stream::ALL {
            let mut rest = 0;
            while rest < MAX_REST {
                match self.pump(stream) {
                    0 => break,
                    count => rest += count,
                }
            }
            self.close_output(stream);
        }
        self.watch_outputs();
    }

    /// Waits for output of each stream, unless a client has too much of it still to read, or none has
    /// come yet to a process that did not wait for them. A stream that is not waited for is taken out:
    /// epoll would report a hang-up all the same.
    pub(super) fn watch_outputs(&mut self) {
        let early = self.runs_already && matches!(self.state, State::Created);
        for stream in Stream::ALL {
            let held = early || self.clients.iter().flatten().any(|client| client.holds_up(stream));
            let Some(output) = &mut self.outputs[stream.index()] else { continue };
            let token = Token::Output(stream).number();
            let done = match (output.watched, !held) {
                (false, true) => self.epoll.add(&output.fd, token, Interest::READ),
                (true, false) => self.epoll.remove(&output.fd),
                _ => continue,
            };
            if done.is_ok() {
                output.watched = !held;
            }
        }
    }

    /// One read of `stream`, to the log and the clients. Returns its length; 0: nothing now, or the
    /// end, at which the stream is closed.
    fn pump(&mut self, stream: Stream) -> usize {
        let Some(output) = &self.outputs[stream.index()] else { return 0 };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ, 0);
        let count = match rustix::io::retry_on_intr(|| rustix::io::read(output, &mut buffer)) {
            Err(Errno::AGAIN) => 0,
            Ok(count) if count > 0 => count,
            // The end; a terminal without a slave says EIO.
            Ok(_) | Err(_) => {
                self.close_output(stream);
                0
            }
        };
        if count > 0 {
            self.copy(stream, &buffer[..count]);
        }
        self.buffer = buffer;
        count
    }

    fn copy(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
        for index in 0..self.clients.len() {
            let Some(client) = &mut self.clients[index] else { continue };
            if client.output(stream, bytes) {
                self.watch_client(index);
            } else {
                self.client_vanished(index);
            }
        }
    }

    fn close_output(&mut self, stream: Stream) {
        let Some(output) = self.outputs[stream.index()].take() else { return };
        if output.watched {
            // A terminal's description lives on in its duplicates, which would keep it in epoll.
            let _ = self.epoll.remove(&output.fd);
        }
        if let Some(log) = &mut self.log {
            log.finish(stream);
        }
    }
}
