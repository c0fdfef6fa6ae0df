//! What the daemon decides once about its networks: names, places, and the bridge's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::ipam::AddressPool;

/// The settings [`crate::Networks::open`] works by.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where network ids and the chosen subnet are kept (`<data-root>/network`).
    pub state_dir: PathBuf,
    /// Where network namespaces are pinned (`<exec-root>/netns`).
    pub netns_dir: PathBuf,
    /// Interface name of the default bridge.
    pub bridge_name: String,
    /// The bridge's own address and its subnet (`--bip`); absent: the first free pool.
    pub bridge_ip: Option<Ipv4Net>,
    /// Whether the default bridge has IPv6 as well (`--ipv6`).
    pub ipv6: bool,
    /// Its IPv6 address and subnet (`--bip6`); absent: `fixed_cidr_v6`'s, or a unique local one.
    pub bridge_ipv6: Option<Ipv6Net>,
    /// The part of the default bridge's subnet that containers get addresses of (`--fixed-cidr`).
    pub fixed_cidr: Option<Ipv4Net>,
    /// The same for IPv6 (`--fixed-cidr-v6`).
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// The next hop of the default bridge's containers, if it isn't the bridge itself.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// Name of the nftables table, which is ours alone.
    pub table: String,
    /// MTU of bridges and of the containers' interfaces; absent: that of the interface that leads
    /// out, or 1500.
    pub mtu: Option<u16>,
    /// The host address ports are published on unless a request names one.
    pub default_host_ip: IpAddr,
    /// Whether containers of the default bridge may talk to each other.
    pub icc: bool,
    /// Whether traffic that leaves the bridge gets the host's source address.
    pub ip_masq: bool,
    /// `false`: there is no default bridge (`--bridge none`).
    pub enabled: bool,
    /// `false`: no firewall tables are made, and no bridges either (`--iptables=false`).
    pub firewall: bool,
    /// What subnets that nobody chose are cut from; empty: Docker's.
    pub address_pools: Vec<AddressPool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/davit/network"),
            netns_dir: PathBuf::from("/run/davit/netns"),
            bridge_name: "davit0".to_owned(),
            bridge_ip: None,
            ipv6: false,
            bridge_ipv6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            table: "davit".to_owned(),
            mtu: None,
            default_host_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            icc: true,
            ip_masq: true,
            enabled: true,
            firewall: true,
            address_pools: Vec::new(),
        }
    }
}
