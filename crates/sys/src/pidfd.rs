//! `pidfd`: a process held so that its pid can't be mistaken for another's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

/// Opens the process `pid`; the descriptor becomes readable when it ends.
///
/// # Errors
/// There is no such process, or `pid` is not positive.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends `signal` to the process.
///
/// # Errors
/// It has ended, the signal does not exist, or the caller may not.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let signal = signal_from_number(signal).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_send_signal(pidfd, signal)?)
}

/// The exit status of a child that has ended, 128 + n for signal n, which frees its pid; `None`
/// while it lives.
///
/// # Errors
/// The process is not a child of the caller, or was waited for already.
pub fn reap(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(status.map(|status| {
        let signal = status.terminating_signal().map(|signal| 128 + signal);
        signal.or_else(|| status.exit_status()).unwrap_or(255)
    }))
}

fn signal_from_number(number: i32) -> Option<Signal> {
    /// Highest real-time signal of Linux.
    const LAST: i32 = 64;
    if !(1..=LAST).contains(&number) {
        return None;
    }
    // SAFETY: the kernel, not the C library, delivers it: every number in 1..=64 is a signal. The
    // reserved real-time ones (32 to 34) would be unsafe to handle or block in this process, which
    // sending them to another does not do.
    #[allow(unsafe_code)]
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn reap_tells_exit_status_and_signal() {
        let table = [("exit 0", None, 0), ("exit 7", None, 7), ("exec sleep 60", Some(9), 137)];
        for (script, signal, expected) in table {
            #[expect(clippy::zombie_processes, reason = "reap() does the waiting")]
            let child = Command::new("sh").args(["-c", script]).spawn().expect("spawn sh");
            let pidfd = open(child.id().cast_signed()).expect("pidfd");
            if let Some(signal) = signal {
                assert_eq!(reap(&pidfd).expect("reap"), None);
                send_signal(&pidfd, signal).expect("signal");
            }
            let code = loop {
                if let Some(code) = reap(&pidfd).expect("reap") {
                    break code;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            };
            assert_eq!(code, expected, "{script}");
        }
    }

    #[test]
    fn numbers_that_are_no_signal_are_refused() {
        let pidfd = open(std::process::id().cast_signed()).expect("own pidfd");
        for number in [-1, 0, 65, i32::MAX] {
            let error = send_signal(&pidfd, number).expect_err("no signal");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
