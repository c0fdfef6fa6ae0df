//! Installing a seccomp filter.

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One classic BPF instruction, `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it doesn't.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Log every action but allow (`SECCOMP_FILTER_FLAG_LOG`).
pub const FLAG_LOG: u32 = 2;
/// Don't disable speculative store bypass (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// Apply to all threads (`SECCOMP_FILTER_FLAG_TSYNC`).
pub const FLAG_TSYNC: u32 = 1;

/// A signal that kills only interrupts a call that a listener has taken, Linux 5.19
/// (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 32;
/// Make a listener for calls that somebody else decides on (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
const FLAG_NEW_LISTENER: u32 = 8;
/// A thread that can't follow is an error and no number (`SECCOMP_FILTER_FLAG_TSYNC_ESRCH`).
const FLAG_TSYNC_ESRCH: u32 = 16;

/// Puts the calling process under `filter`, for good.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` and without `no_new_privs`; `EINVAL` for a bad program or flag.
pub fn install(filter: &[Instruction], flags: u32) -> io::Result<()> {
    set_filter(filter, flags).map(drop)
}

/// As [`install`], with a listener that is told of the calls that somebody else decides on.
///
/// # Errors
/// As [`install`]; `EBUSY` when the process has a listener already.
pub fn install_with_listener(filter: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let esrch = if flags & FLAG_TSYNC == 0 { 0 } else { FLAG_TSYNC_ESRCH };
    let listener = set_filter(filter, flags | FLAG_NEW_LISTENER | esrch)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

fn set_filter(filter: &[Instruction], flags: u32) -> io::Result<i32> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut().cast::<libc::sock_filter>(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies the `length`
    // instructions and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).expect("a descriptor or a thread id"))
}
