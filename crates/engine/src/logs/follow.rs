//! Waiting for more of a log: inotify on its directory, the container's end, or `until`.

use std::path::Path;
use std::time::Duration;

use davit_types::{Context, Error, Result};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Wakes a reader when there may be more to read.
pub(super) struct Follower {
    /// tokio's pipe reader takes any fd that epoll can watch.
    inotify: pipe::Receiver,
    ended: watch::Receiver<bool>,
    until: Option<i64>,
}

impl Follower {
    /// Watches the log's directory, so that a file that is rotated away and made anew is seen.
    pub(super) fn new(
        path: &Path,
        ended: watch::Receiver<bool>,
        until: Option<i64>,
    ) -> Result<Self> {
        let context = || format!("follow log {}", path.display());
        let directory =
            path.parent().ok_or_else(|| Error::internal("a log file has no directory"))?;
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context(context)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, directory, events).context(context)?;
        let inotify = pipe::Receiver::from_owned_fd_unchecked(fd).context(context)?;
        Ok(Self { inotify, ended, until })
    }

    /// Whether nothing more will be written, or nothing more is wanted.
    pub(super) fn has_ended(&mut self) -> bool {
        // The sender's disappearance means that the container is gone.
        *self.ended.borrow_and_update()
            || self.ended.has_changed().is_err()
            || self.until.is_some_and(|until| remaining(until).is_zero())
    }

    /// Waits for a change.
    pub(super) async fn wait(&mut self) -> Result<()> {
        let until = self.until;
        let time_is_up = async {
            match until {
                Some(until) => tokio::time::sleep(remaining(until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.inotify.readable() => {
                ready.context(|| "follow log")?;
                // Which events they were does not matter.
                let mut events = [0; 4096];
                while self.inotify.try_read(&mut events).is_ok_and(|length| length > 0) {}
            }
            // Ended, or the sender is gone: has_ended() tells.
            _ = self.ended.changed() => {}
            () = time_is_up => {}
        }
        Ok(())
    }
}

fn remaining(until: i64) -> Duration {
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    Duration::from_nanos(u64::try_from(until - now).unwrap_or(0))
}
