//! A container's share of the network, as asked for ([`SandboxSpec`]) and as made ([`Sandbox`]).
//!
//! The engine keeps the [`Sandbox`] in the container's record and hands it back to
//! [`crate::Networks::recover`] after a restart: nothing else about a container is persisted here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use davit_types::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a container wants of the network.
#[derive(Debug, Clone, Default)]
pub struct SandboxSpec {
    /// The container's name, for error messages.
    pub name: String,
    /// What is connected.
    pub mode: Mode,
    /// Ports to publish; ignored without a bridge endpoint.
    pub ports: Vec<PortRequest>,
    /// Hardware address of the container's interface; absent: a random one.
    pub mac: Option<String>,
    /// `net.*` settings written inside the namespace, by dotted name.
    pub sysctls: Vec<(String, String)>,
}

/// What a network namespace of its own is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The default bridge.
    #[default]
    Bridge,
    /// Nothing but its own loopback interface.
    None,
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
    /// The connection to the bridge; absent in [`Mode::None`].
    pub endpoint: Option<Endpoint>,
    /// The ports that are served.
    pub ports: Vec<PortBinding>,
}

/// A sandbox's connection to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id, 64 hex digits.
    pub network_id: String,
    /// The endpoint's own id, 64 hex digits.
    pub endpoint_id: String,
    /// The default route's next hop.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub ip: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix_len: u8,
    /// The hardware address of `eth0`, colon-separated.
    pub mac: String,
    /// The host's end of the veth pair.
    pub host_interface: String,
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
