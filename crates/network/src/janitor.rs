//! Work nobody has to wait for, on a thread of its own.
//!
//! Deleting the host's end of a veth pair waits for the kernel's RCU grace periods (about 20 ms)
//! while everybody else waits for the same lock. The end of the container's namespace does it as
//! well, many at a time, and nearly always comes first: the janitor only looks after those whose
//! namespace somebody else still holds.
//!
//! Forgetting flows walks the whole connection table (about 10 ms). UDP flows only: TCP ends by
//! itself.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use davit_types::{Context, Result};

use crate::netlink::{Connection, NETLINK_NETFILTER, NETLINK_ROUTE};
use crate::sandbox::{PortBinding, Protocol};
use crate::{conntrack, link};

/// How long the kernel is given to delete an interface by itself.
const GRACE: Duration = Duration::from_millis(500);

/// The thread's mailbox; the thread ends with it, once its work is done.
#[derive(Debug)]
pub(crate) struct Janitor {
    orders: Sender<Order>,
}

enum Order {
    DeleteLink(String),
    ForgetFlowsTo(Vec<PortBinding>),
    ForgetFlowsOf(IpAddr),
    Close(Connection),
}

impl Janitor {
    /// Starts the thread, in the caller's network namespace.
    pub(crate) fn start() -> Result<Self> {
        let open = |family| Connection::open(family).context(|| "open a netlink socket");
        let (route, filter) = (open(NETLINK_ROUTE)?, open(NETLINK_NETFILTER)?);
        let (orders, inbox) = channel();
        thread::Builder::new()
            .name("net-janitor".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || run(&route, &filter, &inbox))
            .context(|| "start a thread")?;
        Ok(Self { orders })
    }

    /// Sees to it that there is no interface of that name in a while.
    pub(crate) fn delete_link(&self, name: String) {
        self.order(Order::DeleteLink(name));
    }

    /// Lets running UDP flows notice that these ports were published.
    pub(crate) fn forget_flows_to(&self, ports: &[PortBinding]) {
        if has_udp(ports) {
            self.order(Order::ForgetFlowsTo(ports.to_vec()));
        }
    }

    /// Lets running UDP flows notice that a container's `ports` aren't published any more.
    pub(crate) fn forget_flows_of(&self, container: IpAddr, ports: &[PortBinding]) {
        if has_udp(ports) {
            self.order(Order::ForgetFlowsOf(container));
        }
    }

    /// Closes a connection that has changed firewall rules, which takes the kernel about 10 ms.
    pub(crate) fn close(&self, connection: Connection) {
        self.order(Order::Close(connection));
    }

    fn order(&self, order: Order) {
        // The thread ends only when this sender does.
        let _ = self.orders.send(order);
    }
}

fn run(route: &Connection, filter: &Connection, inbox: &Receiver<Order>) {
    // In the order they are due.
    let mut links: VecDeque<(Instant, String)> = VecDeque::new();
    loop {
        let wait = links.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let order = match wait {
            Some(wait) => inbox.recv_timeout(wait),
            None => inbox.recv().map_err(RecvTimeoutError::from),
        };
        match order {
            Ok(Order::Close(connection)) => drop(connection),
            Ok(Order::DeleteLink(name)) => links.push_back((Instant::now() + GRACE, name)),
            Ok(Order::ForgetFlowsTo(ports)) => {
                note_forgotten(conntrack::forget_flows_to(filter, &ports))
            }
            Ok(Order::ForgetFlowsOf(ip)) => note_forgotten(conntrack::forget_flows_of(filter, ip)),
            Err(RecvTimeoutError::Timeout) => {
                links.pop_front().into_iter().for_each(|(_, name)| delete(route, &name));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return links.iter().for_each(|(_, name)| delete(route, name));
            }
        }
    }
}

fn delete(route: &Connection, name: &str) {
    if let Err(error) = link::delete_link(route, name) {
        tracing::warn!(%error, interface = name, "interface of a removed container remains");
    }
}

/// Best effort: kernels before 6.8 can't select, and a running flow ends by its timeout.
fn note_forgotten(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "UDP flows are not forgotten");
    }
}

fn has_udp(ports: &[PortBinding]) -> bool {
    ports.iter().any(|port| port.protocol == Protocol::Udp)
}
