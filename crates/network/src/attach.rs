//! One connection of a sandbox to a network: what it is given, and the veth pair.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use davit_types::id::hex;
use davit_types::{Context, Error, Result};
use ipnet::IpNet;

use crate::bridge::random_mac;
use crate::create::write_sysctls;
use crate::firewall::table::Family;
use crate::link::{self, Mac, Port, Veth};
use crate::net::{Addresses, Net};
use crate::netlink::Connection;
use crate::networks::{Held, Networks};
use crate::options::is_interface_name;
use crate::sandbox::{Endpoint, EndpointSpec};
use crate::store::{random, random_id};

const BRIDGE_CALLS_FIREWALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// An endpoint that has its addresses, and is to be made.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) net: Arc<Net>,
    pub(crate) endpoint: Endpoint,
    mac: Mac,
    sysctls: Vec<(String, String)>,
    /// Whether the bridge's packets pass the firewall.
    filtered: bool,
}

impl Networks {
    /// Gives a sandbox a new endpoint, noted in it at once.
    pub(crate) fn allocate(&self, held: &mut Held, spec: &EndpointSpec) -> Result<Attachment> {
        let net = self.find(&spec.network)?;
        net.check_joinable()?;
        let mac = choose_mac(spec)?;
        let interface = choose_interface(held, &net, spec)?;
        let [a, b, c, d] = random::<4>()?;
        // Random parts first: an address is only taken when nothing can fail any more.
        let (endpoint_id, name) = (random_id()?, hex(&[a, b, c, d]));
        let given = net.give(&endpoint_id, &held.name, spec)?;
        let endpoint = Endpoint {
            network_id: net.definition.id.clone(),
            network_name: net.definition.name.clone(),
            endpoint_id,
            interface,
            ipv4: given.v4.and_then(|net| if let IpNet::V4(v4) = net { Some(v4) } else { None }),
            gateway: net.gateway(Family::V4).and_then(|ip| match ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            }),
            ipv6: given.v6.and_then(|net| if let IpNet::V6(v6) = net { Some(v6) } else { None }),
            ipv6_gateway: net.gateway(Family::V6).and_then(|ip| match ip {
                IpAddr::V6(ip) => Some(ip),
                IpAddr::V4(_) => None,
            }),
            mac: link::format_mac(mac),
            host_interface: match net.parent {
                Some(_) => String::new(),
                None => format!("veth{}", &name[..7]),
            },
            priority: spec.priority,
        };
        held.sandbox.endpoints.push(endpoint.clone());
        let sysctls = spec.sysctls.clone();
        Ok(Attachment { net, endpoint, mac, sysctls, filtered: bridges_are_filtered() })
    }
}

impl Attachment {
    /// Makes the container's interface. The calling thread is inside the sandbox's namespace.
    pub(crate) fn attach(
        &self,
        (host, inside): (&Connection, &Connection),
        namespace: &File,
        has_ports: bool,
    ) -> Result<()> {
        let endpoint = &self.endpoint;
        let interface = endpoint.interface.as_str();
        match &self.net.parent {
            Some(parent) => parent.attach(host, namespace, (interface, self.mac))?,
            None => self.create_veth(host, namespace, has_ports)?,
        }
        set_ipv6(interface, endpoint.ipv6.is_some())?;
        let nets = endpoint.nets();
        link::configure_container(inside, interface, &nets)
            .context(|| format!("configure {interface} with {nets:?}"))?;
        let name = endpoint.host_interface.as_str();
        if !name.is_empty() {
            link::await_veth((host, name), (inside, interface))
                .context(|| format!("look at veth pair {name}"))?;
        }
        if endpoint.ipv4.is_some() {
            announce(inside, interface, self.mac)?;
        }
        let named = self
            .sysctls
            .iter()
            .map(|(name, value)| (name.replace("IFNAME", interface), value.clone()));
        write_sysctls(&named.collect::<Vec<_>>())
    }

    fn create_veth(&self, host: &Connection, namespace: &File, has_ports: bool) -> Result<()> {
        let endpoint = &self.endpoint;
        let bridge = self.net.bridge()?;
        let addresses: Vec<IpAddr> = endpoint.addresses().collect();
        let veth = Veth {
            host: &endpoint.host_interface,
            inside: &endpoint.interface,
            bridge: bridge.index,
            mtu: bridge.mtu,
            mac: self.mac,
            addresses: &addresses,
            port: self.bridge_port(has_ports),
        };
        link::create_veth(host, namespace.as_fd(), &veth)
            .context(|| format!("create veth pair {}", veth.host))
    }

    /// What the port needs depends on whether the bridge's packets pass the firewall
    /// (br_netfilter).
    ///
    /// If they do, the firewall keeps siblings apart, and a container that calls a port of its own
    /// by the host's address is sent back by the bridge. If not, the bridge has to keep them apart,
    /// and the host sends everything back itself.
    fn bridge_port(&self, has_ports: bool) -> Port {
        Port {
            isolated: !self.net.options.icc && !self.filtered,
            hairpin: self.filtered && has_ports,
        }
    }
}

impl Endpoint {
    /// Its addresses with their subnets.
    pub(crate) fn nets(&self) -> Vec<IpNet> {
        self.ipv4.map(IpNet::V4).into_iter().chain(self.ipv6.map(IpNet::V6)).collect()
    }

    /// What it was given by its network.
    pub(crate) fn given(&self) -> Addresses {
        Addresses { v4: self.ipv4.map(IpNet::V4), v6: self.ipv6.map(IpNet::V6) }
    }
}

/// As the daemon's own network namespace has it, where the bridges are.
fn bridges_are_filtered() -> bool {
    // Without the module there is no such file.
    fs::read_to_string(BRIDGE_CALLS_FIREWALL).is_ok_and(|text| text == "1\n")
}

fn choose_mac(spec: &EndpointSpec) -> Result<Mac> {
    match spec.mac.as_deref() {
        None | Some("") => random_mac(),
        Some(text) => link::parse_mac(text)
            .ok_or_else(|| Error::invalid(format!("invalid MAC address: {text}"))),
    }
}

/// The one asked for, or the next of the network's prefix.
fn choose_interface(held: &Held, net: &Net, spec: &EndpointSpec) -> Result<String> {
    let taken =
        |name: &str| held.sandbox.endpoints.iter().any(|endpoint| endpoint.interface == name);
    if let Some(name) = &spec.interface {
        if !is_interface_name(name) || name == "lo" {
            return Err(Error::invalid(format!("invalid interface name: {name:?}")));
        }
        if taken(name) {
            return Err(Error::conflict(format!("interface name {name:?} is used already")));
        }
        return Ok(name.clone());
    }
    let prefix = &net.options.prefix;
    let mut names = (0_u32..).map(|number| format!("{prefix}{number}"));
    names.find(|name| !taken(name)).ok_or_else(|| Error::internal("no interface name is left"))
}

/// Without an IPv6 address the interface shall have none either, not even a link-local one (as with
/// Docker); the container's loopback keeps it.
fn set_ipv6(interface: &str, enabled: bool) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    match fs::write(&path, if enabled { "0" } else { "1" }) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !enabled => Ok(()),
        result => result.context(|| format!("write {path}")),
    }
}

/// Has the kernel send a gratuitous ARP: siblings may remember another hardware address of the
/// address's last owner for half a minute, and would send into the void.
fn announce(inside: &Connection, interface: &str, mac: Mac) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/arp_notify");
    let set = |value| fs::write(&path, value).context(|| format!("write {path}"));
    set("1")?;
    link::touch_mac(inside, interface, mac).context(|| format!("announce {interface}"))?;
    set("0")
}
