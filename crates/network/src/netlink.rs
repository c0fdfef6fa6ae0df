//! Netlink in batches: many requests in one `sendmsg`, one answer for each.
//!
//! Both families used here (route and netfilter) share this. A [`Connection`] stays in the network
//! namespace of the thread that opened it, wherever it is used later.

use std::io;

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
pub(crate) use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rustix::net::sockopt;

/// `struct nlmsghdr`.
const HEADER_LENGTH: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`, of a request that makes something.
pub(crate) const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const APPEND: u16 = 0x800;

const RECEIVE_LENGTH: usize = 64 * 1024;
/// The kernel's default for a socket's buffers; larger batches need more.
const USUAL_BUFFER: usize = 128 * 1024;

/// Requests that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    requests: u32,
    acknowledged: u32,
}

/// An answer of the kernel: to which request, and its errno (0 is success).
struct Answer {
    request: u32,
    errno: i32,
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
}

impl Batch {
    /// Adds a request that is to be answered and returns its number.
    pub(crate) fn push(&mut self, kind: u16, flags: u16, payload: &[u8]) -> u32 {
        self.acknowledged += 1;
        self.push_silent(kind, flags | FLAG_ACK, payload)
    }

    /// Adds a request without an answer.
    pub(crate) fn push_silent(&mut self, kind: u16, flags: u16, payload: &[u8]) -> u32 {
        let number = self.requests;
        let length = HEADER_LENGTH + payload.len();
        let length_field = u32::try_from(length).expect("a message is far below 4 GiB");
        self.bytes.extend_from_slice(&length_field.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | FLAG_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.requests += 1;
        number
    }

    /// Adds a request of the route family.
    pub(crate) fn push_route(&mut self, flags: u16, message: &RouteNetlinkMessage) -> u32 {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        self.push(message.message_type(), flags, &payload)
    }
}

impl Connection {
    /// A socket of `protocol` in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        // Otherwise it has no number before it has sent something.
        socket.bind_auto()?;
        // Only the header of a refused request comes back, not all of it.
        socket.set_cap_ack(true)?;
        Ok(Self { socket })
    }

    /// Sends the batch and waits for all its answers. Returns the requests that failed, in the
    /// order of their numbers; the others were carried out unless the family is transactional.
    ///
    /// # Errors
    /// The socket itself failed.
    pub(crate) fn send(&self, batch: &Batch) -> io::Result<Vec<(u32, io::Error)>> {
        self.transmit(&batch.bytes, batch.acknowledged as usize)?;
        let mut failed = Vec::new();
        let mut seen = 0;
        while seen < batch.acknowledged {
            for message in self.receive()? {
                let Some(answer) = message.answer() else { continue };
                if answer.errno == 0 {
                    seen += 1;
                    continue;
                }
                seen += 1;
                let error = io::Error::from_raw_os_error(answer.errno);
                // A batch refused as a whole gets one answer only (its first request's).
                let whole = answer.request == 0 && batch.acknowledged < batch.requests;
                failed.push((answer.request, error));
                if whole {
                    return Ok(failed);
                }
            }
        }
        failed.sort_by_key(|(request, _)| *request);
        Ok(failed)
    }

    /// Like [`Connection::send`]; the first request that failed is the error.
    pub(crate) fn send_all(&self, batch: &Batch) -> io::Result<()> {
        match self.send(batch)?.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// The payloads of all answers to a dump request of the route family.
    pub(crate) fn dump_route(&self, message: &RouteNetlinkMessage) -> io::Result<Vec<Vec<u8>>> {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        self.dump(message.message_type(), &payload)
    }

    /// The payloads of all answers to a dump request.
    pub(crate) fn dump(&self, kind: u16, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.request(kind, FLAG_DUMP, payload)
    }

    /// The payload of the answer to a request for one thing.
    pub(crate) fn get(&self, kind: u16, payload: &[u8]) -> io::Result<Vec<u8>> {
        let found = self.request(kind, 0, payload)?;
        found.into_iter().next().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn request(&self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut batch = Batch::default();
        batch.push_silent(kind, flags, payload);
        self.transmit(&batch.bytes, 1)?;
        let mut found = Vec::new();
        loop {
            for message in self.receive()? {
                if message.kind == DONE {
                    return Ok(found);
                }
                if let Some(answer) = message.answer() {
                    return Err(io::Error::from_raw_os_error(answer.errno));
                }
                found.push(message.payload);
            }
            if flags & FLAG_DUMP == 0 {
                return Ok(found);
            }
        }
    }

    /// Also receives what the kernel tells `group`, with a buffer of that many bytes.
    pub(crate) fn join(&self, group: u32, buffer: usize) -> io::Result<()> {
        sockopt::set_socket_recv_buffer_size_force(&self.socket, buffer)?;
        self.socket.add_membership(group)
    }

    /// What has been told; waits for it.
    pub(crate) fn notices(&self) -> io::Result<Vec<Message>> {
        self.receive()
    }

    /// The number that the kernel knows this socket by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = netlink_sys::SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    fn transmit(&self, bytes: &[u8], answers: usize) -> io::Result<()> {
        if bytes.len() > USUAL_BUFFER {
            sockopt::set_socket_send_buffer_size_force(&self.socket, bytes.len() * 2)?;
        }
        // Each answer is queued as a buffer of its own, of about one KiB with the kernel's overhead.
        if answers * 1024 > USUAL_BUFFER {
            sockopt::set_socket_recv_buffer_size_force(&self.socket, answers * 1024)?;
        }
        let sent = self.socket.send(bytes, 0)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut buffer = Vec::with_capacity(RECEIVE_LENGTH);
        loop {
            match self.socket.recv(&mut buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    result?;
                    return Ok(split(&buffer));
                }
            }
        }
    }
}

impl std::os::fd::AsFd for Connection {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One received message.
pub(crate) struct Message {
    pub(crate) kind: u16,
    number: u32,
    /// Of a notice: who did it.
    pub(crate) sender: u32,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// What an `NLMSG_ERROR` says.
    fn answer(&self) -> Option<Answer> {
        if self.kind != ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?);
        Some(Answer { request: self.number, errno: -errno })
    }
}

/// The messages of one datagram.
fn split(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER_LENGTH>() {
        let [l0, l1, l2, l3, k0, k1, _, _, n0, n1, n2, n3, s0, s1, s2, s3] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(payload) = bytes.get(HEADER_LENGTH..length) else { break };
        messages.push(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            number: u32::from_ne_bytes([n0, n1, n2, n3]),
            sender: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload: payload.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}
