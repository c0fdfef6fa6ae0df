//! Deletes host ends of veth pairs in the background.
//!
//! Deleting one waits for the kernel's RCU grace periods (about 20 ms) while everybody else waits
//! for the same lock. The end of the container's namespace does it as well, many at a time, and
//! nearly always comes first: this thread only looks after those whose namespace somebody else
//! still holds.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use davit_types::{Context, Result};

use crate::link;
use crate::netlink::{Connection, NETLINK_ROUTE};

/// How long the kernel is given to do it by itself.
const GRACE: Duration = Duration::from_millis(500);

/// The thread's mailbox; the thread ends with it, once its work is done.
#[derive(Debug)]
pub(crate) struct Reaper {
    queue: Sender<(Instant, String)>,
}

impl Reaper {
    /// Starts the thread, in the caller's network namespace.
    pub(crate) fn start() -> Result<Self> {
        let route = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let (queue, orders) = channel();
        thread::Builder::new()
            .name("link-reaper".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(&route, &orders))
            .context(|| "start a thread")?;
        Ok(Self { queue })
    }

    /// Sees to it that there is no interface of that name in a while.
    pub(crate) fn delete(&self, name: String) {
        // The thread ends only when this sender does.
        let _ = self.queue.send((Instant::now() + GRACE, name));
    }
}

fn run(route: &Connection, orders: &Receiver<(Instant, String)>) {
    while let Ok((due, name)) = orders.recv() {
        // Orders come in the order they are due.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Err(error) = link::delete_link(route, &name) {
            tracing::warn!(%error, interface = name, "interface of a removed container remains");
        }
    }
}
