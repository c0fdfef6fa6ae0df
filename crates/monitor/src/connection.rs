//! The monitor's end of a control connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::fdpass;

use crate::protocol::{Event, MAX_MESSAGE, RequestMessage};

/// A connected, non-blocking `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

/// What came over a connection.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request, with the descriptor that came with it.
    Request(RequestMessage, Option<OwnedFd>),
    /// Nothing more for now.
    Nothing,
    /// The other side is gone, or does not speak the protocol.
    Gone,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        fdpass::set_nonblocking(&socket, true)?;
        Ok(Self(socket))
    }

    /// Takes the next message. The buffer lives only here: connections are idle nearly always.
    pub(crate) fn receive(&self) -> Incoming {
        let mut buffer = vec![0; MAX_MESSAGE];
        match fdpass::recv(&self.0, &mut buffer) {
            Ok((0, _)) => Incoming::Gone,
            Ok((length, fds)) => match serde_json::from_slice(&buffer[..length]) {
                Ok(message) => Incoming::Request(message, fds.into_iter().next()),
                Err(_) => Incoming::Gone,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Incoming::Nothing,
            Err(_) => Incoming::Gone,
        }
    }

    /// Sends an event; false: the connection is of no use any more. One whose buffer is full belongs
    /// to a daemon that hangs: it is given up, and the daemon asks again when it is back.
    #[must_use]
    pub(crate) fn send(&self, event: &Event) -> bool {
        let message = serde_json::to_vec(event).expect("events have string keys only");
        fdpass::send(&self.0, &message, &[]).is_ok()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
