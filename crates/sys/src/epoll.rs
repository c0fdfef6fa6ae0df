//! `epoll`: waiting for many descriptors, level-triggered, each known by a number of the caller's.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// How many events one wait takes at most.
const BATCH: usize = 16;

/// What to wait for on a descriptor. An error or a hang-up is always reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// It can be read.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// It has an exceptional condition (`EPOLLPRI`), as the files of a cgroup that changed have.
    pub priority: bool,
}

impl Interest {
    /// Nothing but errors and hang-ups.
    pub const NONE: Self = Self { readable: false, writable: false, priority: false };
    /// Reading only.
    pub const READ: Self = Self { readable: true, writable: false, priority: false };
    /// Writing only.
    pub const WRITE: Self = Self { readable: false, writable: true, priority: false };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.readable);
        flags.set(epoll::EventFlags::OUT, self.writable);
        flags.set(epoll::EventFlags::PRI, self.priority);
        flags
    }
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The number it was added with.
    pub token: u64,
    /// It can be read, or is at its end.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// The other side is gone altogether, or the descriptor is in error.
    pub hung_up: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// A new instance.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches `fd`. It must be removed before it is closed while a copy of it lives elsewhere.
    ///
    /// # Errors
    /// `fd` is watched already or is of a kind that can't be (a regular file).
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.0, fd, data, interest.flags())?)
    }

    /// Changes what is waited for on `fd`.
    ///
    /// # Errors
    /// `fd` is not watched.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.0, fd, data, interest.flags())?)
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// `fd` is not watched.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, fd)?)
    }

    /// Waits for the next events, at most for `timeout`, and calls `each` for every one of them. A
    /// signal ends the wait without an event.
    ///
    /// # Errors
    /// The kernel refused the call.
    pub fn wait(
        &self,
        timeout: Option<Duration>,
        mut each: impl FnMut(Ready),
    ) -> io::Result<usize> {
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        let timeout = timeout.map(|duration| Timespec {
            tv_sec: duration.as_secs().cast_signed(),
            tv_nsec: duration.subsec_nanos().into(),
        });
        let events = match epoll::wait(&self.0, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        for event in events.iter() {
            // Copied out: the kernel's structure is packed.
            let (flags, data) = (event.flags, event.data);
            each(Ready {
                token: data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::PRI),
                writable: flags.contains(epoll::EventFlags::OUT),
                hung_up: flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR),
            });
        }
        Ok(events.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(epoll: &Epoll) -> Vec<Ready> {
        let mut ready = Vec::new();
        epoll.wait(Some(Duration::from_millis(5)), |event| ready.push(event)).expect("wait");
        ready
    }

    #[test]
    fn a_pipe_is_readable_with_data_and_hung_up_without_a_writer() {
        let (reader, writer) = io::pipe().expect("pipe");
        let epoll = Epoll::new().expect("epoll");
        epoll.add(&reader, 7, Interest::READ).expect("add");
        assert!(collect(&epoll).is_empty());

        rustix::io::write(&writer, b"x").expect("write");
        let expected = Ready { token: 7, readable: true, writable: false, hung_up: false };
        assert_eq!(collect(&epoll), [expected]);

        drop(writer);
        assert_eq!(collect(&epoll), [Ready { hung_up: true, ..expected }]);

        epoll.remove(&reader).expect("remove");
        assert!(collect(&epoll).is_empty());
    }
}
