//! Being told of the kernel's OOM killer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{Cgroup, error::about, stats::number_after, write_file};

/// Waits for processes of a cgroup to be killed for want of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    flags: PollFlags,
    counter: PathBuf,
    seen: u64,
}

impl OomWatch {
    /// Watches `cgroup` from now on.
    ///
    /// # Errors
    /// `Unsupported` without a memory controller, `NotFound` when the cgroup doesn't exist.
    pub fn new(cgroup: &Cgroup) -> io::Result<Self> {
        let dir = cgroup.directory("memory").ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "no memory cgroup controller")
        })?;
        let open = |path: &Path| File::open(path).map_err(|error| about(error, "open", path));
        let counter = dir.join(if cgroup.is_v2() { "memory.events" } else { "memory.oom_control" });
        let file = open(&counter)?;
        let (fd, flags) = if cgroup.is_v2() {
            (file.into(), PollFlags::PRI)
        } else {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let line = format!("{} {}", event.as_raw_fd(), file.as_raw_fd());
            write_file(&dir.join("cgroup.event_control"), &line)?;
            (event, PollFlags::IN)
        };
        let mut watch = Self { fd, flags, counter, seen: 0 };
        watch.seen = watch.kills()?;
        Ok(watch)
    }

    /// Waits for at most `timeout` and gives the number of processes killed since the last call.
    ///
    /// # Errors
    /// `NotFound` when the cgroup has been removed.
    pub fn wait(&mut self, timeout: std::time::Duration) -> io::Result<u64> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut fds = [PollFd::new(&self.fd, self.flags)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut text = [0; 8];
        if self.flags.contains(PollFlags::IN) {
            // Nothing to read is fine: the time was up.
            let _ = rustix::io::read(&self.fd, &mut text);
        } else {
            // The kernel reports a change until the file is read again from its start.
            let _ = rustix::io::pread(&self.fd, &mut text, 0);
        }
        let now = self.kills()?;
        let new = now.saturating_sub(self.seen);
        self.seen = now;
        Ok(new)
    }

    fn kills(&self) -> io::Result<u64> {
        Ok(number_after(&super::read(&self.counter)?, "oom_kill").unwrap_or(0))
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
