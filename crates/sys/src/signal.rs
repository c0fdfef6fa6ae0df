//! Signal dispositions and masks of this process, and `signalfd`.
//!
//! Ignored signals and the mask survive exec: whoever executes a container's program resets them with
//! [`crate::process::reset_signals`] before.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Ignores `signals` from now on.
///
/// # Errors
/// One of them can't be ignored (`SIGKILL`, `SIGSTOP`) or does not exist.
pub fn ignore(signals: &[i32]) -> io::Result<()> {
    signals.iter().try_for_each(|&signal| set_disposition(signal, libc::SIG_IGN))
}

/// Blocks `signals` and returns a non-blocking descriptor that is readable when one is pending.
///
/// # Errors
/// A number is no signal, or no descriptor is left.
pub fn descriptor(signals: &[i32]) -> io::Result<SignalFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is initialised by sigemptyset before any other use; the calls only read it.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            if libc::sigaddset(set.as_mut_ptr(), signal) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A `signalfd`.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// The next pending signal's number.
    pub fn next(&self) -> Option<i32> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // `ssi_signo` is the first field.
            Ok(count) if count == info.len() => {
                Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
            }
            _ => None,
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn set_disposition(signal: i32, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction (empty mask, no flags), and the handler is one of the two
    // constants, never a function that could break an invariant.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_from_the_descriptor() {
        // In its own thread's mask; the signal is directed at that thread.
        let signals = descriptor(&[libc::SIGUSR2]).expect("signalfd");
        assert_eq!(signals.next(), None);
        // SAFETY: raises a signal that this thread blocks.
        unsafe { libc::raise(libc::SIGUSR2) };
        assert_eq!(signals.next(), Some(libc::SIGUSR2));
        assert_eq!(signals.next(), None);
    }

    #[test]
    fn signals_that_cannot_be_ignored_are_an_error() {
        assert!(ignore(&[libc::SIGKILL]).is_err());
        ignore(&[libc::SIGUSR1]).expect("SIGUSR1 can be");
    }
}
