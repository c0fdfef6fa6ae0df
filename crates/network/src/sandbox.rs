//! A container's share of the network, as asked for ([`SandboxSpec`]) and as made ([`Sandbox`]).
//!
//! The engine keeps the [`Sandbox`] in the container's record and hands it back to
//! [`crate::Networks::recover`] after a restart: nothing else about a container is persisted here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use davit_types::{Error, Result};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// What a container wants of the network.
#[derive(Debug, Clone, Default)]
pub struct SandboxSpec {
    /// The container's name, for error messages.
    pub name: String,
    /// What it is connected to, in the order of its interfaces; nothing: only loopback.
    pub endpoints: Vec<EndpointSpec>,
    /// Ports to publish; ignored without a way in.
    pub ports: Vec<PortRequest>,
    /// `net.*` settings written inside the namespace, by dotted name.
    pub sysctls: Vec<(String, String)>,
}

/// A connection that a container wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The network's name or id.
    pub network: String,
    /// Its address; absent: any.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address; absent: any.
    pub ipv6: Option<Ipv6Addr>,
    /// Hardware address of the container's interface; absent: a random one.
    pub mac: Option<String>,
    /// The endpoint with the highest one has the default route.
    pub priority: i64,
    /// Name of the container's interface; absent: the next of its prefix.
    pub interface: Option<String>,
    /// Settings of the interface, `net.ipv4.conf.IFNAME.x` and the like, with their values.
    pub sysctls: Vec<(String, String)>,
}

/// One `-p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// The host address; absent: [`crate::Config::default_host_ip`].
    pub host_ip: Option<IpAddr>,
    /// The first free one of these; absent: an ephemeral port.
    pub host_port: Option<RangeInclusive<u16>>,
    /// The port inside the container.
    pub container_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What was made for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// 64 hex digits.
    pub id: String,
    /// The pinned network namespace.
    pub key: PathBuf,
    /// Its connections, in the order they were made.
    pub endpoints: Vec<Endpoint>,
    /// The ports that are served.
    pub ports: Vec<PortBinding>,
}

/// A sandbox's connection to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id, 64 hex digits.
    pub network_id: String,
    /// Its name when the endpoint was made.
    pub network_name: String,
    /// The endpoint's own id, 64 hex digits.
    pub endpoint_id: String,
    /// Name of the container's interface.
    pub interface: String,
    /// The container's address and the length of its subnet's prefix.
    pub ipv4: Option<Ipv4Net>,
    /// The IPv4 default route's next hop, should this endpoint have it.
    pub gateway: Option<Ipv4Addr>,
    /// The container's IPv6 address and the length of its subnet's prefix.
    pub ipv6: Option<Ipv6Net>,
    /// The IPv6 default route's next hop, should this endpoint have it.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// The hardware address of the interface, colon-separated.
    pub mac: String,
    /// The host's end of the veth pair.
    pub host_interface: String,
    /// The endpoint with the highest one has the default route.
    pub priority: i64,
}

impl Sandbox {
    /// The endpoint that the default route goes through and ports are published to.
    pub fn gateway(&self) -> Option<&Endpoint> {
        // The highest priority, then both families, then the first name.
        self.endpoints.iter().filter(|endpoint| endpoint.leads_out()).max_by(|one, other| {
            let rank = |endpoint: &Endpoint| {
                let families = [endpoint.gateway.is_some(), endpoint.ipv6_gateway.is_some()];
                (endpoint.priority, families.into_iter().filter(|has| *has).count())
            };
            rank(one).cmp(&rank(other)).then_with(|| other.network_name.cmp(&one.network_name))
        })
    }
}

impl Endpoint {
    /// There is a next hop.
    fn leads_out(&self) -> bool {
        self.gateway.is_some() || self.ipv6_gateway.is_some()
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        v4.into_iter().chain(self.ipv6.map(|net| IpAddr::V6(net.addr())))
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortBinding {
    /// The host address it is served on.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
    /// The port inside the container.
    pub container_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl Protocol {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("invalid protocol: {text}"))),
        }
    }
}
