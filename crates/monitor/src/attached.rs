//! One attached client: a stream socket that gets output and may give input.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use davit_sys::epoll::Interest;
use davit_types::{Context, Result};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::detach::DetachKeys;
use crate::frame::{self, Stream};
use crate::protocol::Attach;

/// Output that waits for a client at most; a client that is nearer to it than one read is full.
const MAX_QUEUE: usize = 64 * 1024;
/// Longest read from the process.
pub(crate) const READ: usize = 16 * 1024;

/// A client.
#[derive(Debug)]
pub(crate) struct Attached {
    socket: OwnedFd,
    wants: [bool; 2],
    multiplexed: bool,
    /// May still send input.
    pub(crate) input_open: bool,
    pub(crate) keys: DetachKeys,
    /// Input that came before the socket did.
    pub(crate) early: Vec<u8>,
    queue: Vec<u8>,
    /// No more output is to come: the end follows the queue.
    closing: bool,
    /// The other side is gone; only input that it left is still of interest.
    gone: bool,
    /// What epoll was told; `None`: it does not know the socket.
    pub(crate) watched: Option<Interest>,
}

/// What a client sent.
pub(crate) enum Sent<'a> {
    Bytes(&'a [u8]),
    Nothing,
    End,
}

impl Attached {
    /// Takes over `socket` as `attach` asks. Detach keys only count for a terminal's input.
    pub(crate) fn new(attach: Attach, socket: OwnedFd, terminal: bool) -> Result<Self> {
        let early = STANDARD.decode(&attach.early_input).context(|| "decode early input")?;
        let keys = if terminal && attach.stdin { attach.detach_keys } else { Vec::new() };
        Ok(Self {
            socket,
            wants: [attach.stdout, attach.stderr],
            multiplexed: attach.multiplexed,
            input_open: attach.stdin,
            keys: DetachKeys::new(keys),
            early: if attach.stdin { early } else { Vec::new() },
            queue: Vec::new(),
            closing: false,
            gone: false,
            watched: None,
        })
    }

    /// What to wait for. `None`: take it out of epoll, which would report the hang-up for ever.
    pub(crate) fn interest(&self, input_backed_up: bool) -> Option<Interest> {
        (!self.gone).then_some(Interest {
            readable: self.input_open && !input_backed_up,
            writable: !self.queue.is_empty(),
            priority: false,
        })
    }

    /// Whether another read's worth of `stream` must wait for this client.
    pub(crate) fn holds_up(&self, stream: Stream) -> bool {
        let room = MAX_QUEUE.saturating_sub(self.queue.len());
        !self.gone && self.wants[stream.index()] && room < READ + frame::HEADER
    }

    /// Passes output on. False: the client is gone.
    #[must_use]
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        if self.gone || !self.wants[stream.index()] {
            return true;
        }
        if self.multiplexed {
            let header = frame::header(stream, bytes.len());
            if !self.queue.is_empty() {
                self.queue.extend_from_slice(&header);
            } else if !self.send_or_queue(&header, SendFlags::MORE) {
                return false;
            }
        }
        if self.queue.is_empty() {
            return self.send_or_queue(bytes, SendFlags::empty());
        }
        self.queue.extend_from_slice(bytes);
        true
    }

    fn send_or_queue(&mut self, bytes: &[u8], flags: SendFlags) -> bool {
        match send(&self.socket, bytes, flags) {
            Ok(sent) => {
                self.queue.extend_from_slice(&bytes[sent..]);
                true
            }
            Err(_) => false,
        }
    }

    /// Goes on with the queue. False: the client is gone.
    #[must_use]
    pub(crate) fn flush(&mut self) -> bool {
        let Ok(sent) = send(&self.socket, &self.queue, SendFlags::empty()) else { return false };
        self.queue.drain(..sent);
        if self.queue.is_empty() {
            self.queue = Vec::new();
        }
        true
    }

    /// Reads input.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8]) -> Sent<'a> {
        loop {
            return match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => Sent::End,
                Ok((count, _)) => Sent::Bytes(&buffer[..count]),
                Err(Errno::AGAIN) => Sent::Nothing,
                Err(Errno::INTR) => continue,
                Err(_) => Sent::End,
            };
        }
    }

    /// The other side is gone: what waits for it is dropped.
    pub(crate) fn vanish(&mut self) {
        self.gone = true;
        self.queue = Vec::new();
    }

    /// Whether the other side is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// No more output will come.
    pub(crate) fn finish(&mut self) {
        self.closing = true;
        self.input_open = false;
    }

    /// Everything was sent and nothing will follow.
    pub(crate) fn is_done(&self) -> bool {
        self.gone || (self.closing && self.queue.is_empty())
    }

    /// Ends the stream so that the client reads all that was sent and then the end. A socket closed
    /// with input unread would be reset instead.
    pub(crate) fn shut_down(self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        let mut rest = [0; 512];
        while let Sent::Bytes(_) = self.read(&mut rest) {}
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How much of `bytes` the socket takes now.
fn send(socket: &OwnedFd, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
    let flags = flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut sent = 0;
    while sent < bytes.len() {
        match rustix::net::send(socket, &bytes[sent..], flags) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
