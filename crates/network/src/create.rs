//! Making a sandbox: address, ports, namespace, veth pair, rules, in this order.
//!
//! Everything that is acquired is noted in [`Held`] at once, so that what removes a sandbox also
//! undoes one that was made only in part.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use davit_types::id::{SHORT_LENGTH, hex};
use davit_types::{Context, Error, Result};
use ipnet::Ipv4Net;

use crate::bridge::random_mac;
use crate::link::{self, Mac, Port, Veth};
use crate::netlink::{Connection, NETLINK_ROUTE};
use crate::netns;
use crate::networks::{Held, Networks, Uplink};
use crate::sandbox::{Endpoint, Mode, Sandbox, SandboxSpec};
use crate::store::{random, random_id};

const BRIDGE_CALLS_FIREWALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const ARP_NOTIFY: &str = "/proc/sys/net/ipv4/conf/eth0/arp_notify";
const NO_IPV6_ON_ETH0: &str = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";

impl Networks {
    /// Makes a container's network namespace, its endpoint and its published ports; undone
    /// completely on any error. A sandbox the container still has is removed first.
    ///
    /// # Errors
    /// A port is taken, addresses are used up, or the kernel refuses.
    pub fn create_sandbox(&self, container_id: &str, spec: &SandboxSpec) -> Result<Sandbox> {
        self.remove_sandbox(container_id)?;
        let id = random_id()?;
        let key = self.config.netns_dir.join(&id[..SHORT_LENGTH]);
        let sandbox = Sandbox { id, key, endpoint: None, ports: Vec::new() };
        let mut held = Held { sandbox, reservations: Vec::new() };

        let built = match spec.mode {
            Mode::None => build_unconnected(&held, spec),
            Mode::Bridge => self.build_connected(&mut held, spec),
        };
        if let Err(error) = built {
            for leftover in self.dismantle(held) {
                tracing::warn!(container_id, "undo sandbox: {leftover:#}");
            }
            return Err(error);
        }
        let sandbox = held.sandbox.clone();
        self.sandboxes().insert(container_id.to_owned(), held);
        Ok(sandbox)
    }

    fn build_connected(&self, held: &mut Held, spec: &SandboxSpec) -> Result<()> {
        let uplink = self.uplink()?;
        let mac = choose_mac(spec)?;
        let endpoint = self.allocate_endpoint(uplink, mac)?;
        let endpoint = held.sandbox.endpoint.insert(endpoint).clone();
        let failed = || {
            let (name, id) = (&spec.name, &endpoint.endpoint_id);
            format!("driver failed programming external connectivity on endpoint {name} ({id})")
        };
        held.reservations =
            self.ports.reserve(&spec.ports, self.config.default_host_ip).context(failed)?;
        let bindings = held.reservations.iter().map(|held| held.binding.clone());
        held.sandbox.ports = bindings.collect();

        self.connect(held, uplink, &endpoint, mac, spec)?;
        self.publish(uplink, &held.sandbox, &endpoint).context(failed)
    }

    fn allocate_endpoint(&self, uplink: &Uplink, mac: Mac) -> Result<Endpoint> {
        let [a, b, c, d] = random::<4>()?;
        // Random parts first: an address is only taken when nothing can fail any more.
        let (endpoint_id, name) = (random_id()?, hex(&[a, b, c, d]));
        let ip = uplink.pool().allocate(Instant::now()).ok_or_else(|| {
            Error::internal("no available IPv4 addresses on this network's address pools: bridge")
        })?;
        Ok(Endpoint {
            network_id: self.records.bridge.id.clone(),
            endpoint_id,
            gateway: uplink.bridge.gateway(),
            ip,
            prefix_len: uplink.bridge.address.prefix_len(),
            mac: link::format_mac(mac),
            host_interface: format!("veth{}", &name[..7]),
        })
    }

    /// The namespace and the veth pair into it.
    fn connect(
        &self,
        held: &Held,
        uplink: &Uplink,
        endpoint: &Endpoint,
        mac: Mac,
        spec: &SandboxSpec,
    ) -> Result<()> {
        let host = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        let veth = Veth {
            host: &endpoint.host_interface,
            bridge: uplink.bridge.index,
            mtu: self.config.mtu,
            mac,
            ip: endpoint.ip,
            port: self.bridge_port(&held.sandbox),
        };
        let address = Ipv4Net::new(endpoint.ip, endpoint.prefix_len)
            .map_err(|_| Error::internal("the bridge's prefix is no IPv4 prefix"))?;
        netns::create(&held.sandbox.key, |namespace: File| {
            link::create_veth(&host, namespace.as_fd(), &veth)
                .context(|| format!("create veth pair {}", veth.host))?;
            disable_ipv6()?;
            let inside = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
            link::configure_container(&inside, address, endpoint.gateway)
                .context(|| format!("configure eth0 with {address}"))?;
            link::await_veth(&host, veth.host, &inside)
                .context(|| format!("look at veth pair {}", veth.host))?;
            announce(&inside, mac)?;
            write_sysctls(&spec.sysctls)
        })
    }

    /// What the port needs depends on whether the bridge's packets pass the firewall (br_netfilter).
    ///
    /// If they do, the firewall keeps siblings apart, and a container that calls a port of its own
    /// by the host's address is sent back by the bridge. If not, the bridge has to keep them apart,
    /// and the host sends everything back itself.
    fn bridge_port(&self, sandbox: &Sandbox) -> Port {
        // Without the module there is no such file.
        let filtered = fs::read_to_string(BRIDGE_CALLS_FIREWALL).is_ok_and(|text| text == "1\n");
        Port {
            isolated: !self.config.icc && !filtered,
            hairpin: filtered && !sandbox.ports.is_empty(),
        }
    }

    fn publish(&self, uplink: &Uplink, sandbox: &Sandbox, endpoint: &Endpoint) -> Result<()> {
        if sandbox.ports.is_empty() {
            return Ok(());
        }
        uplink.firewall.publish(endpoint.ip, &sandbox.ports)?;
        uplink.janitor.forget_flows_to(&sandbox.ports);
        Ok(())
    }
}

fn build_unconnected(held: &Held, spec: &SandboxSpec) -> Result<()> {
    netns::create(&held.sandbox.key, |_| {
        let inside = Connection::open(NETLINK_ROUTE).context(|| "open a netlink socket")?;
        link::set_loopback_up(&inside).context(|| "take loopback up")?;
        write_sysctls(&spec.sysctls)
    })
}

fn choose_mac(spec: &SandboxSpec) -> Result<Mac> {
    match spec.mac.as_deref() {
        None | Some("") => random_mac(),
        Some(text) => link::parse_mac(text)
            .ok_or_else(|| Error::invalid(format!("invalid MAC address: {text}"))),
    }
}

/// The bridge has no IPv6, so its containers' interface shall have none either (as with Docker);
/// their loopback keeps it.
fn disable_ipv6() -> Result<()> {
    match fs::write(NO_IPV6_ON_ETH0, "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.context(|| format!("write {NO_IPV6_ON_ETH0}")),
    }
}

/// Has the kernel send a gratuitous ARP: siblings may remember another hardware address of the
/// address's last owner for half a minute, and would send into the void.
fn announce(inside: &Connection, mac: Mac) -> Result<()> {
    let set = |value| fs::write(ARP_NOTIFY, value).context(|| format!("write {ARP_NOTIFY}"));
    set("1")?;
    link::touch_mac(inside, mac).context(|| "announce eth0")?;
    set("0")
}

/// Writes settings of the calling thread's network namespace.
fn write_sysctls(sysctls: &[(String, String)]) -> Result<()> {
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
