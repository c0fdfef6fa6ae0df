//! The messages between the daemon and the resolver, the process that answers containers' DNS
//! queries on networks of the user's.
//!
//! The socket is `SOCK_SEQPACKET`: one message per packet, JSON, file descriptors in ancillary data.
//! The resolver is started with the listening socket as fd [`LISTEN_FD`], and outlives the daemon.
//! A new connection replaces the former one; it is first told what the resolver [`Known`]s, and is
//! then used for orders only, which aren't answered.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The shim's first argument.
pub const ROLE: &str = "resolver";
/// Name of the socket in the exec root.
pub const SOCKET: &str = "resolver.sock";
/// The listening socket that the resolver finds at start.
pub const LISTEN_FD: i32 = 3;
/// Largest packet in bytes.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// The resolver's address in every container.
pub const ADDRESS: [u8; 4] = [127, 0, 0, 11];

/// What the resolver says to a new connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Containers whose sockets it has.
    pub containers: Vec<String>,
}

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// What follows, up to [`Order::End`], is everything there is.
    Begin,
    /// A container, or what has changed of one. New ones come with three descriptors: a UDP socket
    /// and a listening TCP socket inside its network namespace, and the namespace.
    Container(Container),
    /// A container is gone.
    Forget(String),
    /// Somebody's names on a network, or their change.
    Endpoint(Endpoint),
    /// An endpoint is gone.
    Leave(String),
    /// What hasn't been named since [`Order::Begin`] is gone.
    End,
}

/// A container that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Ids of its networks; the first ones are asked first.
    pub networks: Vec<String>,
    /// Names of its own for other containers.
    pub links: BTreeMap<String, String>,
    /// Servers that are asked from inside; none: the host's, from the host.
    pub servers: Vec<IpAddr>,
    /// Unknown names are asked for elsewhere.
    pub forwards: bool,
    /// Even those without a dot.
    pub forwards_single_labels: bool,
}

/// Somebody who is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// Id of its network.
    pub network: String,
    /// Name of its network.
    pub network_name: String,
    /// Its names; the first is the one that addresses lead back to.
    pub names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports, as exposed or published.
    #[serde(default)]
    pub ports: Vec<Ports>,
}

/// Ports of one protocol that follow each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}
