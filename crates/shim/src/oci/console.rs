//! Handing a descriptor to whoever listens at a socket.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;

use davit_types::{Context, Result};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// Sends `fd` to the listening stream socket `path`, with `name` as the message.
pub(crate) fn send(path: &Path, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let send = || -> rustix::io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let data = [IoSlice::new(name.as_bytes())];
        rustix::net::sendmsg(&socket, &data, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    send().context(|| format!("send to socket {}", path.display()))
}
