//! Making a sandbox: namespace, connections, default route, ports, in this order.
//!
//! Everything that is acquired is noted in [`Held`] at once, so that what removes a sandbox also
//! undoes one that was made only in part.

use std::fs::{self, File};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use davit_types::id::SHORT_LENGTH;
use davit_types::{Context, Error, Result};

use crate::firewall::table::{Family, Published};
use crate::link;
use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::netns;
use crate::networks::{Held, Networks};
use crate::options::GatewayMode;
use crate::ports::Reach;
use crate::sandbox::{PortRequest, Sandbox, SandboxSpec};
use crate::store::random_id;

impl Networks {
    /// Makes a container's network namespace, its endpoints and its published ports; undone
    /// completely on any error. A sandbox the container still has is removed first.
    ///
    /// # Errors
    /// A port is taken, addresses are used up, or the kernel refuses.
    pub fn create_sandbox(&self, container_id: &str, spec: &SandboxSpec) -> Result<Sandbox> {
        self.remove_sandbox(container_id)?;
        let id = random_id()?;
        let key = self.config.netns_dir.join(&id[..SHORT_LENGTH]);
        let sandbox = Sandbox { id, key, endpoints: Vec::new(), ports: Vec::new() };
        let name = spec.name.clone();
        let mut held = Held { name, sandbox, reservations: Vec::new(), gone: false };
        if let Err(error) = self.build(&mut held, spec) {
            for leftover in self.dismantle(&mut held) {
                tracing::warn!(container_id, "undo sandbox: {leftover:#}");
            }
            return Err(error);
        }
        let sandbox = held.sandbox.clone();
        self.sandboxes().insert(container_id.to_owned(), Arc::new(Mutex::new(held)));
        Ok(sandbox)
    }

    fn build(&self, held: &mut Held, spec: &SandboxSpec) -> Result<()> {
        let mut attachments = Vec::new();
        for endpoint in &spec.endpoints {
            attachments.push(self.allocate(held, endpoint)?);
        }
        self.reserve_ports(held, &spec.ports)?;
        let host = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let key = held.sandbox.key.clone();
        let has_ports = !held.sandbox.ports.is_empty();
        netns::create(&key, |namespace: File| {
            let inside = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
            link::set_loopback_up(&inside).context(|| "take loopback up")?;
            for attachment in &attachments {
                attachment.attach((&host, &inside), &namespace, has_ports)?;
            }
            set_default_routes(&inside, &held.sandbox)?;
            write_sysctls(&spec.sysctls)
        })?;
        self.publish(held).context(|| failed_to_publish(held))
    }

    /// Reserves the ports, if there is a way in.
    pub(crate) fn reserve_ports(&self, held: &mut Held, requests: &[PortRequest]) -> Result<()> {
        let Some(reach) = self.reach(&held.sandbox)?.filter(|_| !requests.is_empty()) else {
            return Ok(());
        };
        held.reservations =
            self.ports.reserve(requests, &reach).context(|| failed_to_publish(held))?;
        let bindings = held.reservations.iter().map(|held| held.binding.clone());
        held.sandbox.ports = bindings.collect();
        Ok(())
    }

    /// Where ports can be published; absent: nowhere.
    pub(crate) fn reach(&self, sandbox: &Sandbox) -> Result<Option<Reach>> {
        let Some(gateway) = sandbox.gateway() else { return Ok(None) };
        let net = self.find(&gateway.network_id)?;
        if net.parent.is_some() {
            return Ok(None);
        }
        let binding = net.options.host_binding.map(IpAddr::V4);
        Ok(Some(Reach {
            default_ip: binding.unwrap_or(self.config.default_host_ip),
            has: [gateway.ipv4.is_some(), gateway.ipv6.is_some()],
            routed: net.options.modes.map(|mode| mode == GatewayMode::Routed),
        }))
    }

    /// Serves the ports at the addresses of the endpoint that leads out.
    pub(crate) fn publish(&self, held: &Held) -> Result<()> {
        let (sandbox, Some(gateway)) = (&held.sandbox, held.sandbox.gateway()) else {
            return Ok(());
        };
        if sandbox.ports.is_empty() {
            return Ok(());
        }
        for (ip, published) in self.published(sandbox)? {
            self.firewall.publish(ip, &published)?;
        }
        self.janitor.forget_flows_to(&sandbox.ports);
        tracing::debug!(endpoint = %gateway.endpoint_id, "published ports");
        Ok(())
    }

    /// What the firewall is to know of a sandbox's ports.
    pub(crate) fn published(&self, sandbox: &Sandbox) -> Result<Vec<(IpAddr, Published)>> {
        let Some(gateway) = sandbox.gateway().filter(|_| !sandbox.ports.is_empty()) else {
            return Ok(Vec::new());
        };
        let modes = self.find(&gateway.network_id)?.options.modes;
        let of = |ip: IpAddr| {
            let routed = modes[Family::of(ip).index()] == GatewayMode::Routed;
            (ip, Published { ports: sandbox.ports.clone(), routed })
        };
        Ok(gateway.addresses().map(of).collect())
    }
}

fn failed_to_publish(held: &Held) -> String {
    let id = held.sandbox.gateway().map_or("", |endpoint| endpoint.endpoint_id.as_str());
    let name = &held.name;
    format!("driver failed programming external connectivity on endpoint {name} ({id})")
}

/// Makes the default routes lead through the endpoint they should.
pub(crate) fn set_default_routes(inside: &Connection, sandbox: &Sandbox) -> Result<()> {
    let Some(endpoint) = sandbox.gateway() else { return Ok(()) };
    let gateways = [endpoint.gateway.map(IpAddr::V4), endpoint.ipv6_gateway.map(IpAddr::V6)];
    for gateway in gateways.into_iter().flatten() {
        link::set_default_route(inside, &endpoint.interface, gateway)
            .context(|| format!("route by {gateway} on {}", endpoint.interface))?;
    }
    Ok(())
}

/// Writes settings of the calling thread's network namespace.
pub(crate) fn write_sysctls(sysctls: &[(String, String)]) -> Result<()> {
    for (name, value) in sysctls {
        let path = name.replace('.', "/");
        if !path.starts_with("net/") || path.split('/').any(str::is_empty) {
            return Err(Error::invalid(format!("sysctl {name} is not of a network namespace")));
        }
        fs::write(format!("/proc/sys/{path}"), value)
            .context(|| format!("set sysctl {name} to {value}"))?;
    }
    Ok(())
}
