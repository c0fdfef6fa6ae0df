//! Messages with file descriptors over `SOCK_SEQPACKET` Unix sockets, and descriptors that cross exec.
//!
//! A socket's address holds 107 bytes at most; directories are longer in practice. [`listen`] and
//! [`connect`] therefore go through `/proc/self/fd/<directory>/<name>`.
//!
//! Everything Davit opens is close-on-exec. That makes [`take_inherited`] safe: a descriptor without
//! the flag came through exec and belongs to nobody yet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Most descriptors in one message.
pub const MAX_FDS: usize = 4;

/// A pair of connected sockets.
///
/// # Errors
/// No descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A non-blocking socket that listens as `name` in `directory`; a dead predecessor is replaced.
///
/// # Errors
/// The directory does not exist or can't be written.
pub fn listen(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let directory = open_directory(directory)?;
    match rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = new_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &address(&directory, name)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// The next connection of a listening socket, non-blocking.
///
/// # Errors
/// `WouldBlock` when there is none.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::accept_with(listener, flags)?)
}

/// A blocking connection to the socket `name` in `directory`.
///
/// # Errors
/// There is no such socket or nobody listens.
pub fn connect(directory: &Path, name: &str) -> io::Result<OwnedFd> {
    let directory = open_directory(directory)?;
    let socket = new_socket(SocketFlags::CLOEXEC)?;
    rustix::net::connect(&socket, &address(&directory, name)?)?;
    Ok(socket)
}

/// Sends one message with `fds` (at most [`MAX_FDS`]).
///
/// # Errors
/// `WouldBlock` on a non-blocking socket whose buffer is full; `BrokenPipe` when the other side is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message into `buffer`: its length and its descriptors, which are close-on-exec. A
/// length of 0 is the end: the other side is gone.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket without a message; `InvalidData` when the message or its
/// descriptors do not fit.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = received {
            fds.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((message.bytes, fds))
}

/// Makes reads and writes on `fd`'s open file description return at once, or not.
///
/// # Errors
/// Never for an open descriptor.
pub fn set_nonblocking(fd: impl AsFd, nonblocking: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(&fd)?;
    flags.set(OFlags::NONBLOCK, nonblocking);
    Ok(rustix::fs::fcntl_setfl(&fd, flags)?)
}

/// Lets `fd` survive the next exec.
///
/// # Errors
/// Never for an open descriptor.
pub fn make_inheritable(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}

/// Takes over the descriptor `number` that came through exec and makes it close-on-exec.
///
/// # Errors
/// It is not open, or is close-on-exec: then something in this process owns it already.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only borrowed for the flag; a descriptor that is not open yields EBADF. Ownership is
    // taken only of one without close-on-exec, which nothing in Davit opens: it has no owner yet,
    // and the flag set below keeps a second call from taking it again.
    #[allow(unsafe_code)]
    unsafe {
        let borrowed = BorrowedFd::borrow_raw(number);
        if rustix::io::fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an inherited descriptor"));
        }
        rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        Ok(<OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number))
    }
}

fn new_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn address(directory: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together_and_the_end_is_empty() {
        let (left, right) = pair().expect("pair");
        let (reader, writer) = io::pipe().expect("pipe");
        send(&left, b"take this", &[writer.as_fd()]).expect("send");
        drop(writer);

        let mut buffer = [0; 64];
        let (count, fds) = recv(&right, &mut buffer).expect("recv");
        assert_eq!((&buffer[..count], fds.len()), (&b"take this"[..], 1));
        rustix::io::write(&fds[0], b"!").expect("write through the copy");
        drop(fds);
        assert_eq!(io::read_to_string(reader).expect("read"), "!");

        drop(left);
        assert_eq!(recv(&right, &mut buffer).expect("end").0, 0);
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error() {
        let (left, right) = pair().expect("pair");
        send(&left, &[1; 100], &[]).expect("send");
        let error = recv(&right, &mut [0; 10]).expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_socket_below_a_long_path_can_be_reached() {
        let top = std::env::temp_dir().join(format!("davit-fdpass-{}", std::process::id()));
        let directory = top.join("d".repeat(120));
        std::fs::create_dir_all(&directory).expect("directory");
        for _ in 0..2 {
            let listener = listen(&directory, "monitor.sock").expect("listen");
            assert_eq!(accept(&listener).expect_err("nobody").kind(), io::ErrorKind::WouldBlock);
            let client = connect(&directory, "monitor.sock").expect("connect");
            let server = accept(&listener).expect("accept");
            send(&client, b"x", &[]).expect("send");
            assert_eq!(recv(&server, &mut [0; 4]).expect("recv").0, 1);
        }
        std::fs::remove_dir_all(&top).expect("remove");
    }

    #[test]
    fn only_a_descriptor_without_close_on_exec_can_be_taken_and_only_once() {
        let (reader, _writer) = io::pipe().expect("pipe");
        assert!(take_inherited(reader.as_raw_fd()).is_err());
        make_inheritable(&reader).expect("flag");
        let taken = take_inherited(std::os::fd::IntoRawFd::into_raw_fd(reader)).expect("taken");
        assert!(take_inherited(taken.as_raw_fd()).is_err());
    }
}
