//! Entering and making namespaces.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `CLONE_NEWTIME`; only `clone3` and `unshare` take it.
pub const TIME: u64 = 0x80;
/// `CLONE_NEWNS`.
pub const MOUNT: u64 = 0x2_0000;
/// `CLONE_NEWCGROUP`.
pub const CGROUP: u64 = 0x200_0000;
/// `CLONE_NEWUTS`.
pub const UTS: u64 = 0x400_0000;
/// `CLONE_NEWIPC`.
pub const IPC: u64 = 0x800_0000;
/// `CLONE_NEWUSER`.
pub const USER: u64 = 0x1000_0000;
/// `CLONE_NEWPID`.
pub const PID: u64 = 0x2000_0000;
/// `CLONE_NEWNET`.
pub const NETWORK: u64 = 0x4000_0000;

/// Moves the calling thread into the namespace behind `fd`, which must be of one of the `kinds`; or
/// into those `kinds` of the process behind a pidfd. A pid namespace is entered by later children.
///
/// # Errors
/// What `setns` says.
pub fn setns(fd: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    let kinds = libc::c_int::try_from(kinds).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: changes what later system calls of this thread refer to; no memory is involved.
    let result = unsafe { libc::setns(fd.as_raw_fd(), kinds) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves the calling thread into new namespaces of these `kinds`.
///
/// # Errors
/// What `unshare` says; `EINVAL` for anything but namespaces.
pub fn unshare(kinds: u64) -> io::Result<()> {
    const ALL: u64 = TIME | MOUNT | CGROUP | UTS | IPC | USER | PID | NETWORK;
    if kinds & !ALL != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let kinds = libc::c_int::try_from(kinds).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: limited to namespaces, so descriptors and memory stay shared as they are.
    let result = unsafe { libc::unshare(kinds) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
