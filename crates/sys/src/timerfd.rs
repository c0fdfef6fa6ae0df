//! `timerfd`: a single timer that can be waited for like any descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A one-shot timer on the monotonic clock; readable once it has run out.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Runs out after `delay`, whatever was set before.
    ///
    /// # Errors
    /// The delay is beyond what the kernel can count.
    pub fn set(&self, delay: Duration) -> io::Result<()> {
        // A value of zero would disarm it.
        let delay = delay.max(Duration::from_nanos(1));
        self.program(Timespec {
            tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        })
    }

    /// Forgets what was set.
    ///
    /// # Errors
    /// Never for a timer of ours, as far as the kernel is documented.
    pub fn clear(&self) -> io::Result<()> {
        self.program(Timespec { tv_sec: 0, tv_nsec: 0 })
    }

    /// Whether it has run out since it was set or last asked.
    pub fn expired(&self) -> bool {
        let mut count = [0; 8];
        matches!(rustix::io::read(&self.0, &mut count), Ok(8))
    }

    fn program(&self, value: Timespec) -> io::Result<()> {
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: interval, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_expires_once_and_can_be_cleared() {
        let timer = Timer::new().expect("timer");
        timer.set(Duration::ZERO).expect("set");
        std::thread::sleep(Duration::from_millis(2));
        assert!(timer.expired());
        assert!(!timer.expired());

        timer.set(Duration::from_millis(1)).expect("set");
        timer.clear().expect("clear");
        std::thread::sleep(Duration::from_millis(3));
        assert!(!timer.expired());
    }
}
