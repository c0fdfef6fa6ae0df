//! The sockets that the DNS resolver serves a sandbox on, at 127.0.0.11.
//!
//! They are bound to ports of the kernel's choice, and a table inside the sandbox's namespace leads
//! port 53 there: the container is free to serve DNS itself on all of its addresses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use davit_types::{Context, Result};

use crate::firewall;
use crate::netns;
use crate::networks::Networks;
use crate::sandbox::Sandbox;

/// Where the resolver answers.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// What serves a sandbox.
#[derive(Debug)]
pub struct ResolverSockets {
    /// For UDP.
    pub datagrams: OwnedFd,
    /// For TCP, listening.
    pub connections: OwnedFd,
    /// The network namespace.
    pub namespace: OwnedFd,
}

impl Networks {
    /// Opens sockets for the resolver inside a sandbox; queries go to the last ones opened.
    ///
    /// # Errors
    /// The sandbox is gone, or the kernel refuses.
    pub fn open_resolver(&self, sandbox: &Sandbox) -> Result<ResolverSockets> {
        let (sockets, connection) = netns::enter(&sandbox.key, |namespace| {
            let failed = || format!("bind to {ADDRESS}");
            let datagrams = UdpSocket::bind((ADDRESS, 0)).context(failed)?;
            let connections = TcpListener::bind((ADDRESS, 0)).context(failed)?;
            let ports = [
                datagrams.local_addr().context(failed)?.port(),
                connections.local_addr().context(failed)?.port(),
            ];
            let connection = firewall::lead_to_resolver(ADDRESS, ports)
                .context(|| format!("lead port 53 of {ADDRESS} to the resolver"))?;
            let sockets = ResolverSockets {
                datagrams: datagrams.into(),
                connections: connections.into(),
                namespace: namespace.into(),
            };
            Ok((sockets, connection))
        })?;
        self.janitor.close(connection);
        Ok(sockets)
    }
}
