//! One query to one server, over UDP or TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::epoll::{Interest, Ready};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Watch;
use super::health::Server;

const PORT: u16 = 53;

#[derive(Debug)]
pub(super) struct Attempt {
    /// The query it is for.
    pub(super) query: u64,
    pub(super) server: Server,
    number: [u8; 2],
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, output: Vec<u8>, input: Vec<u8> },
}

impl Attempt {
    /// Sends a query to a server, from the present namespace.
    pub(super) fn start(
        query: u64,
        bytes: &[u8],
        server: Server,
        is_udp: bool,
    ) -> io::Result<Self> {
        let mut number = [0; 2];
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
        let mut bytes = bytes.to_vec();
        if let Some(start) = bytes.get_mut(..2) {
            start.copy_from_slice(&number);
        }
        let address = SocketAddr::new(server.1, PORT);
        let socket = if is_udp {
            let socket = UdpSocket::from(connect(address, SocketType::DGRAM)?);
            socket.send(&bytes)?;
            Socket::Udp(socket)
        } else {
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            let output = [&length.to_be_bytes()[..], &bytes].concat();
            let stream = TcpStream::from(connect(address, SocketType::STREAM)?);
            Socket::Tcp { stream, output, input: Vec::new() }
        };
        Ok(Self { query, server, number, socket })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    /// What to wait for at first.
    pub(super) fn interest(&self) -> Interest {
        match self.socket {
            Socket::Udp(_) => Interest::READ,
            Socket::Tcp { .. } => Interest::WRITE,
        }
    }

    /// Whether `bytes` answer `query`, as it was sent here.
    pub(super) fn is_answered_by(&self, query: &[u8], bytes: &[u8]) -> bool {
        answers(query, self.number, bytes)
    }

    /// Goes on; returns the answer when it is complete.
    pub(super) fn go_on(
        &mut self,
        event: Ready,
        watch: &Watch,
        token: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 65_535];
        match &mut self.socket {
            Socket::Udp(socket) => match socket.recv(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    Ok(Some(buffer))
                }
                Err(error) if is_not_yet(&error) => Ok(None),
                Err(error) => Err(error),
            },
            Socket::Tcp { stream, output, input } => {
                if event.writable && !output.is_empty() {
                    match stream.write(output) {
                        Ok(written) => drop(output.drain(..written)),
                        Err(error) if is_not_yet(&error) => {}
                        Err(error) => return Err(error),
                    }
                    if output.is_empty() {
                        watch.epoll.modify(&*stream, token, Interest::READ)?;
                    }
                    return Ok(None);
                }
                match stream.read(&mut buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(length) => input.extend_from_slice(&buffer[..length]),
                    Err(error) if is_not_yet(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
                let [high, low, rest @ ..] = input.as_slice() else { return Ok(None) };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                Ok(rest.get(..length).map(<[u8]>::to_vec))
            }
        }
    }
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A socket in the present namespace, connected or about to be.
fn connect(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether `answer` is one to `query`, sent under `number`: same number, same question.
fn answers(query: &[u8], number: [u8; 2], answer: &[u8]) -> bool {
    let Some(length) = question_length(query) else { return false };
    let is_answer = answer.len() >= 12 + length && answer[..2] == number && answer[2] & 0x80 != 0;
    is_answer && answer[12..12 + length].eq_ignore_ascii_case(&query[12..12 + length])
}

/// Bytes of the first question: labels, type, class.
fn question_length(query: &[u8]) -> Option<usize> {
    let mut at = 12;
    loop {
        match query.get(at)? {
            0 => break,
            length => at += 1 + usize::from(*length),
        }
    }
    let length = at + 1 + 4 - 12;
    (query.len() >= 12 + length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_is_taken() {
        let query = [
            &[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
            b"\x01a\x02bc\x00\x00\x01\x00\x01",
            b"extra",
        ]
        .concat();
        let answer = |number: [u8; 2], flags: u8, question: &[u8]| {
            [&number[..], &[flags, 0, 0, 1, 0, 0, 0, 0, 0, 0], question].concat()
        };
        let question = b"\x01A\x02BC\x00\x00\x01\x00\x01";
        assert!(answers(&query, [1, 2], &answer([1, 2], 0x80, question)));
        assert!(!answers(&query, [1, 3], &answer([1, 2], 0x80, question)), "the number");
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0, question)), "a query");
        let other = b"\x01X\x02BC\x00\x00\x01\x00\x01";
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0x80, other)), "the question");
        assert!(!answers(&query, [1, 2], &answer([1, 2], 0x80, &question[..4])), "cut");
    }
}
