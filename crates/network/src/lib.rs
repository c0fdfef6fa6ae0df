//! Networks of containers: bridge, addresses, published ports, firewall.
//!
//! Everything is done in process, by netlink. The kernel is the truth about what exists, the
//! containers' records (kept by the engine) are the truth about what should: [`Networks::recover`]
//! brings the first in line with the second. All work happens in the network and mount namespace
//! of the thread that calls, which has to be the one that [`Networks::open`] was called in.

mod attach;
mod bridge;
mod config;
mod configuration;
mod connect;
mod conntrack;
mod create;
mod default_bridge;
mod definition;
mod definitions;
pub mod files;
mod firewall;
mod ipam;
mod janitor;
mod link;
mod net;
mod netlink;
mod netns;
mod networks;
mod options;
mod parent;
mod ports;
mod recover;
mod remove;
mod resolver;
mod sandbox;
mod store;
mod sublink;
mod watch;

pub use config::Config;
pub use definition::{Definition, NetworkRequest, Subnet, SubnetRequest};
pub use ipam::AddressPool;
pub use ipnet::{IpNet, Ipv4Net};
pub use networks::{NetworkInfo, Networks};
pub use resolver::ResolverSockets;
pub use sandbox::{
    Endpoint, EndpointSpec, PortBinding, PortRequest, Protocol, Sandbox, SandboxSpec,
};
