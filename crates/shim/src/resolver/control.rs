//! The conversation with the daemon, and what its orders do.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use davit_monitor::resolver::{Known, MAX_MESSAGE, Order};
use davit_sys::epoll::Interest;
use davit_sys::fdpass;

use super::server::Servers;
use super::{Owner, Resolver, Watch};

/// The connection to the daemon.
#[derive(Debug)]
pub(super) struct Control {
    connection: Option<(OwnedFd, u64)>,
    /// Since when there is none.
    alone_since: Instant,
    /// What the daemon has named since it began to tell everything.
    named: Option<Named>,
}

#[derive(Debug, Default)]
struct Named {
    containers: BTreeSet<String>,
    endpoints: BTreeSet<String>,
}

impl Default for Control {
    fn default() -> Self {
        Self { connection: None, alone_since: Instant::now(), named: None }
    }
}

impl Control {
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// A daemon may come still.
    pub(super) fn waits(&self, patience: Duration) -> bool {
        self.alone_since.elapsed() < patience
    }

    /// Takes a new connection in place of the former one.
    pub(super) fn accept(&mut self, listener: &OwnedFd, watch: &mut Watch, servers: &Servers) {
        // A connection that is gone again is not there to be taken.
        let Ok(connection) = fdpass::accept(listener) else { return };
        let known = Known { containers: servers.ids().map(str::to_owned).collect() };
        let Ok(bytes) = serde_json::to_vec(&known) else { return };
        if fdpass::send(&connection, &bytes, &[]).is_err() {
            return;
        }
        self.hang_up(watch);
        if let Ok(token) = watch.add(&connection, Owner::Daemon, Interest::READ) {
            self.connection = Some((connection, token));
        }
    }

    /// All orders that have come.
    pub(super) fn receive(&mut self, watch: &mut Watch) -> Vec<(Order, Vec<OwnedFd>)> {
        let mut orders = Vec::new();
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let Some((connection, _)) = &self.connection else { return orders };
            match fdpass::recv(connection, &mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return orders,
                Ok((length, fds)) if length > 0 => {
                    // Of a newer daemon: what isn't understood is left out.
                    if let Ok(order) = serde_json::from_slice(&buffer[..length]) {
                        orders.push((order, fds));
                    }
                }
                _ => self.hang_up(watch),
            }
        }
    }

    /// Remembers what is named while the daemon tells everything.
    pub(super) fn note(&mut self, order: &Order) {
        match (order, &mut self.named) {
            (Order::Begin, named) => *named = Some(Named::default()),
            (Order::Container(container), Some(named)) => {
                named.containers.insert(container.id.clone());
            }
            (Order::Endpoint(endpoint), Some(named)) => {
                named.endpoints.insert(endpoint.id.clone());
            }
            _ => {}
        }
    }

    fn hang_up(&mut self, watch: &mut Watch) {
        if let Some((connection, token)) = self.connection.take() {
            watch.forget(token, &connection);
        }
        self.alone_since = Instant::now();
        self.named = None;
    }
}

impl Resolver {
    pub(super) fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) {
        match order {
            Order::Begin => {}
            Order::Container(container) => {
                if let Ok([datagrams, connections, namespace]) = <[OwnedFd; 3]>::try_from(fds) {
                    let sockets = (datagrams, connections, namespace);
                    self.servers.add(&container.id, sockets, &mut self.watch);
                }
                self.tables.set_container(container);
            }
            Order::Forget(id) => self.forget(&id),
            Order::Endpoint(endpoint) => self.tables.set_endpoint(endpoint),
            Order::Leave(id) => self.tables.forget_endpoint(&id),
            Order::End => {
                let Some(named) = self.control.named.take() else { return };
                let gone = |ids: Vec<String>, named: &BTreeSet<String>| -> Vec<String> {
                    ids.into_iter().filter(|id| !named.contains(id)).collect()
                };
                let containers = self.servers.ids().map(str::to_owned).collect();
                for id in gone(containers, &named.containers) {
                    self.forget(&id);
                }
                let endpoints = self.tables.endpoint_ids().cloned().collect();
                for id in gone(endpoints, &named.endpoints) {
                    self.tables.forget_endpoint(&id);
                }
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.servers.remove(id, &mut self.watch);
        self.tables.forget_container(id);
        self.upstream.forget(id);
    }
}
