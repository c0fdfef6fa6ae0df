//! Network namespaces of single threads.

#![allow(unsafe_code)]

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new network namespace (`unshare(2)`).
///
/// The rest of the process stays where it is, so this belongs on a thread that soon ends.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: only unsharing the file descriptor table can break another thread's expectations,
    // and CLONE_NEWNET alone leaves it shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Moves the calling thread into new network and mount namespaces (`unshare(2)`).
///
/// # Errors
/// As [`unshare_network`].
pub fn unshare_network_and_mounts() -> io::Result<()> {
    // SAFETY: as above; CLONE_NEWNS unshares the thread's root and working directory with it, not
    // the file descriptor table.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
    Ok(())
}
