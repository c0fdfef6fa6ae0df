//! `clone3`: a new process in new namespaces and in its cgroup, with a pidfd.
//!
//! The child gets a copy of the caller's memory, as after `fork`, and runs a closure that never
//! returns. Locks held by other threads at that moment stay held in the child for ever, so the
//! calling process must be single-threaded (the shim is) or its other threads asleep (tests).

#![allow(unsafe_code, reason = "kernel calls; see the crate documentation")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `CLONE_PIDFD`.
const PIDFD: u64 = 0x1000;
/// `CLONE_PARENT`.
const PARENT: u64 = 0x8000;
/// `CLONE_INTO_CGROUP`, Linux 5.7.
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// Exit status of a child whose body panicked.
const PANICKED: i32 = 101;

/// A child of [`clone3`].
#[derive(Debug)]
pub struct Child {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// `struct clone_args` up to the field of Linux 5.7.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child with `flags` (`CLONE_NEW*`) that runs `body` and exits with what it returns, directly in `cgroup` when one is given
/// (a directory of the unified hierarchy).
///
/// # Errors
/// What `clone3` says, e.g. `EAGAIN` at the cgroup's pids limit.
pub fn clone3(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let exit_signal = libc::SIGCHLD as u64;
    clone(CloneArgs { flags, exit_signal, ..CloneArgs::default() }, cgroup, body)
}

/// As [`clone3`], but the child is one of the caller's parent, and its end is told as the caller's.
///
/// # Errors
/// As [`clone3`].
pub fn clone3_sibling(flags: u64, body: impl FnOnce() -> i32) -> io::Result<Child> {
    clone(CloneArgs { flags: flags | PARENT, ..CloneArgs::default() }, None, body)
}

fn clone(
    mut args: CloneArgs,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> i32,
) -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    args.flags |= PIDFD;
    args.pidfd = &raw mut pidfd as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid `clone_args` of the size given and outlives the call. Without
    // CLONE_VM the child works on its own copy of all memory and of this stack, and `body` does not
    // return, so no frame is left twice. The pidfd is written into `pidfd` of the parent.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the copy of the caller's stack.
            let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            crate::process::exit_now(status.unwrap_or(PANICKED))
        }
        pid => {
            // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: i32::try_from(pid).expect("a pid fits"), pidfd })
        }
    }
}
