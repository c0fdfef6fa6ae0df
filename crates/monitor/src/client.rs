//! The daemon's side of the conversation with a monitor.
//!
//! [`Connection`] blocks and is what tools and tests use. A daemon with its own event loop keeps the
//! socket to itself and uses [`encode`], [`decode`] and [`davit_sys::fdpass`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use davit_sys::fdpass;
use davit_types::{Context, Error, Result};

use crate::protocol::{Event, MAX_MESSAGE, Request, RequestMessage};

/// Name of the socket in the task's directory.
pub const SOCKET: &str = "monitor.sock";

/// The packet of a request.
///
/// # Panics
/// Never: requests have nothing that JSON can't express.
pub fn encode(message: &RequestMessage) -> Vec<u8> {
    serde_json::to_vec(message).expect("requests have string keys only")
}

/// The event in a packet.
///
/// # Errors
/// It is none that this version knows.
pub fn decode(packet: &[u8]) -> Result<Event> {
    serde_json::from_slice(packet).context(|| "decode an event of the monitor")
}

/// A blocking connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    next: u32,
}

impl Connection {
    /// Uses a connected socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, next: 1 }
    }

    /// Connects to the monitor of a task that runs already; its first event is [`Event::Hello`].
    ///
    /// # Errors
    /// There is no monitor.
    pub fn connect(task_dir: &Path) -> Result<Self> {
        let socket = fdpass::connect(task_dir, SOCKET);
        let socket = socket.context(|| format!("connect to monitor of {}", task_dir.display()))?;
        Ok(Self::new(socket))
    }

    /// Sends a request and returns its number.
    ///
    /// # Errors
    /// The monitor is gone.
    pub fn send(&mut self, request: Request, fd: Option<BorrowedFd<'_>>) -> Result<u32> {
        let number = self.next;
        self.next += 1;
        let message = encode(&RequestMessage { number, request });
        let fds = fd.as_slice();
        fdpass::send(&self.socket, &message, fds).context(|| "send a request to the monitor")?;
        Ok(number)
    }

    /// The next event; `None` when the monitor has ended.
    ///
    /// # Errors
    /// The socket is broken or speaks something else.
    pub fn receive(&self) -> Result<Option<Event>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        match fdpass::recv(&self.socket, &mut buffer) {
            Ok((0, _)) => Ok(None),
            Ok((length, _)) => decode(&buffer[..length]).map(Some),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error).context(|| "receive an event of the monitor"),
        }
    }

    /// Sends a request and waits for its reply; events that come before it go to `on_event`.
    ///
    /// # Errors
    /// The monitor is gone or refuses.
    pub fn request(
        &mut self,
        request: Request,
        fd: Option<BorrowedFd<'_>>,
        mut on_event: impl FnMut(Event),
    ) -> Result<()> {
        let asked = self.send(request, fd)?;
        while let Some(event) = self.receive()? {
            match event {
                Event::Reply { number, error: None } if number == asked => return Ok(()),
                Event::Reply { number, error: Some(error) } if number == asked => {
                    return Err(Error::internal(error));
                }
                event => on_event(event),
            }
        }
        Err(Error::internal("the monitor ended without a reply"))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
