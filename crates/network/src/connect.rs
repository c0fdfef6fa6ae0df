//! Connecting a sandbox that is there to a further network, and disconnecting it.
//!
//! Published ports follow the endpoint that leads out; where there was none, they are published
//! when one comes.

use std::fs::File;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use davit_types::{Context, Error, Result};

use crate::create::set_default_routes;
use crate::link;
use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::netns;
use crate::networks::{Held, Networks};
use crate::sandbox::{Endpoint, EndpointSpec, PortRequest, Sandbox};

impl Networks {
    /// Connects a container's sandbox to a further network; undone on any error.
    ///
    /// `ports` are those that the container wants; they are published if it had no way out before.
    ///
    /// # Errors
    /// It has no sandbox or is connected already, addresses are used up, or the kernel refuses.
    pub fn connect(
        &self,
        container_id: &str,
        spec: &EndpointSpec,
        ports: &[PortRequest],
    ) -> Result<Sandbox> {
        let held = self.held(container_id)?;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        check_there(&held, container_id)?;
        let before = held.sandbox.gateway().cloned();
        let attachment = self.allocate(&mut held, spec)?;
        let endpoint = attachment.endpoint.clone();
        let host = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let has_ports = !ports.is_empty();
        let sandbox = held.sandbox.clone();
        let attached = netns::enter(&sandbox.key, |namespace: File| {
            let inside = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
            attachment.attach((&host, &inside), &namespace, has_ports)?;
            switch_routes(&inside, before.as_ref(), &sandbox)
        });
        let done = attached.and_then(|()| self.follow_gateway(&mut held, before.as_ref(), ports));
        if let Err(error) = done {
            let undone = self.cut(&mut held, &endpoint, ports);
            if let Err(failure) = undone {
                tracing::warn!(container_id, "undo a connection: {failure:#}");
            }
            return Err(error);
        }
        Ok(held.sandbox.clone())
    }

    /// Disconnects a container's sandbox from a network; one it isn't connected to is no error.
    ///
    /// # Errors
    /// It has no sandbox, or the kernel refuses.
    pub fn disconnect(
        &self,
        container_id: &str,
        network_id: &str,
        ports: &[PortRequest],
    ) -> Result<Sandbox> {
        let held = self.held(container_id)?;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        check_there(&held, container_id)?;
        let mut endpoints = held.sandbox.endpoints.iter();
        if let Some(endpoint) = endpoints.find(|one| one.network_id == network_id).cloned() {
            self.cut(&mut held, &endpoint, ports)?;
        }
        Ok(held.sandbox.clone())
    }

    /// A container is called otherwise now: messages are to say so.
    pub fn rename(&self, container_id: &str, name: &str) {
        let Ok(held) = self.held(container_id) else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        name.clone_into(&mut held.name);
        for endpoint in &held.sandbox.endpoints {
            if let Ok(net) = self.find(&endpoint.network_id) {
                net.rename(&endpoint.endpoint_id, name);
            }
        }
    }

    fn held(&self, container_id: &str) -> Result<Arc<Mutex<Held>>> {
        let found = self.sandboxes().get(container_id).cloned();
        found.ok_or_else(|| no_sandbox(container_id))
    }

    /// Takes one endpoint away.
    fn cut(&self, held: &mut Held, endpoint: &Endpoint, ports: &[PortRequest]) -> Result<()> {
        let before = held.sandbox.gateway().cloned();
        held.sandbox.endpoints.retain(|other| other.endpoint_id != endpoint.endpoint_id);
        let sandbox = held.sandbox.clone();
        let moved = self.follow_gateway(held, before.as_ref(), ports);
        let rerouted = netns::enter(&sandbox.key, |_| {
            let inside = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
            // Deleting one end of a pair deletes both, and the routes through it.
            link::delete_link(&inside, &endpoint.interface)
                .context(|| format!("delete {}", endpoint.interface))?;
            set_default_routes(&inside, &sandbox)
        });
        if let Ok(net) = self.find(&endpoint.network_id) {
            net.take_back(&endpoint.endpoint_id, endpoint.given());
        }
        rerouted.and(moved)
    }

    /// Publishes the ports at the endpoint that leads out now, if that is another one than before.
    fn follow_gateway(
        &self,
        held: &mut Held,
        before: Option<&Endpoint>,
        ports: &[PortRequest],
    ) -> Result<()> {
        let now = held.sandbox.gateway().cloned();
        if before.map(|one| &one.endpoint_id) == now.as_ref().map(|one| &one.endpoint_id) {
            return Ok(());
        }
        let had_ports = !held.sandbox.ports.is_empty();
        if had_ports {
            for ip in before.into_iter().flat_map(Endpoint::addresses) {
                self.firewall.unpublish(ip)?;
                self.janitor.forget_flows_of(ip, &held.sandbox.ports);
            }
        }
        if self.reach(&held.sandbox)?.is_none() {
            self.ports.release(std::mem::take(&mut held.reservations));
            held.sandbox.ports.clear();
        } else if !had_ports {
            self.reserve_ports(held, ports)?;
        }
        self.publish(held)
    }
}

/// Makes the default routes lead through the endpoint they should, when it was another one.
fn switch_routes(inside: &Connection, before: Option<&Endpoint>, sandbox: &Sandbox) -> Result<()> {
    let Some(now) = sandbox.gateway() else { return Ok(()) };
    let Some(before) = before.filter(|one| one.endpoint_id != now.endpoint_id) else {
        return set_default_routes(inside, sandbox);
    };
    let gateways = [before.gateway.map(IpAddr::V4), before.ipv6_gateway.map(IpAddr::V6)];
    for gateway in gateways.into_iter().flatten() {
        link::delete_default_route(inside, &before.interface, gateway)
            .context(|| format!("delete the route by {gateway}"))?;
    }
    set_default_routes(inside, sandbox)
}

fn check_there(held: &Held, container_id: &str) -> Result<()> {
    if held.gone { Err(no_sandbox(container_id)) } else { Ok(()) }
}

fn no_sandbox(container_id: &str) -> Error {
    Error::conflict(format!("container {container_id} has no network namespace of its own"))
}
