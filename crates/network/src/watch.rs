//! Watches the firewall tables: what somebody else takes out of them is put back at once.
//!
//! The kernel tells every change of nf_tables, and by which socket it was made. On a deletion in one
//! of our tables that isn't our own doing the tables are brought back to what they should be, in one
//! transaction each. Connections that are established go on: the kernel remembers their rewriting.

use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use davit_types::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};

use crate::firewall::Firewall;
use crate::netlink::{Connection, NETLINK_NETFILTER};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
/// Room for what a large change tells.
const BUFFER: usize = 8 << 20;

/// The thread; it ends with this.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Absent: it is ending.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread, in the caller's network namespace.
    pub(crate) fn start(firewall: Arc<Firewall>) -> Result<Self> {
        let connection = Connection::open(NETLINK_NETFILTER)
            .and_then(|connection| connection.join(GROUP, BUFFER).map(|()| connection))
            .context(|| "listen to changes of nftables")?;
        let (stopped, stop) = io::pipe().context(|| "create a pipe")?;
        let run = move || {
            while wait(&connection, &stopped) {
                look(&connection, &firewall);
            }
        };
        let builder = thread::Builder::new().name("net-watch".to_owned());
        let thread = builder.stack_size(256 * 1024).spawn(run).context(|| "start a thread")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by itself.
            let _ = thread.join();
        }
    }
}

/// Waits for something to read; `false` when the thread is to end.
fn wait(connection: &Connection, stopped: &impl AsFd) -> bool {
    let mut polled =
        [PollFd::new(connection, PollFlags::IN), PollFd::new(stopped, PollFlags::empty())];
    match poll(&mut polled, None) {
        Ok(_) => !polled[1].revents().contains(PollFlags::HUP),
        Err(rustix::io::Errno::INTR) => true,
        Err(_) => false,
    }
}

fn look(connection: &Connection, firewall: &Firewall) {
    let is_damaged = match connection.notices() {
        Ok(notices) => notices
            .iter()
            .any(|notice| firewall.is_damage(notice.kind, notice.sender, &notice.payload)),
        // More was told than there was room for: anything may have happened.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
            true
        }
        Err(error) => {
            tracing::warn!(%error, "listen to changes of nftables");
            false
        }
    };
    if !is_damaged {
        return;
    }
    match firewall.restore() {
        Ok(()) => tracing::warn!("the firewall tables were changed by somebody; restored"),
        Err(failure) => tracing::error!("restore the firewall tables: {failure:#}"),
    }
}
