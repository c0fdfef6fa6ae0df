//! The network that containers are on when nothing is said: its subnets are the daemon's settings.

use std::collections::BTreeMap;
use std::net::IpAddr;

use davit_types::{Context, Error, Result};
use ipnet::IpNet;

use crate::bridge::{self, Wanted};
use crate::config::Config;
use crate::definition::{Definition, Subnet};
use crate::firewall::table::Family;
use crate::ipam::{AddressPool, choose_subnet, first_host, overlap};
use crate::link;
use crate::net::{Net, next_hop_name};
use crate::netlink::Connection;
use crate::networks::{mtu, plain};
use crate::options::BridgeOptions;
use crate::store::Records;

/// What an address of the bridge's can be.
struct Choice<'a> {
    present: Option<IpNet>,
    pools: &'a [AddressPool],
    taken: &'a [IpNet],
}

/// Makes it, or takes it over; what was chosen is noted in `records`.
pub(crate) fn default_bridge(
    config: &Config,
    route: &Connection,
    records: &mut Records,
    (pools, others): (&[AddressPool], &[Definition]),
) -> Result<Net> {
    let name = &config.bridge_name;
    let (present, own) = bridge::present_address(route, name)?;
    let mut taken = link::routed_subnets(route, &own).context(|| "list routes")?;
    taken.extend(others.iter().flat_map(|other| other.subnets.iter().map(|s| s.subnet)));
    let choice = Choice { present, pools, taken: &taken };
    let mut subnets = vec![choice.v4(config, records)?];
    if config.ipv6 {
        subnets.push(choice.v6(config, records)?);
    }
    let mtu = mtu(config, route, None)?;
    let addresses: Vec<IpNet> = subnets.iter().filter_map(own_address).collect();
    let wanted = Wanted { name, addresses: &addresses, ipv6: config.ipv6, mtu };
    let bridge = bridge::ensure(route, &wanted)?;
    let mut definition = plain("bridge", "bridge", &records.bridge).definition;
    definition.ipv6 = config.ipv6;
    definition.subnets = subnets;
    definition.options = options(config, mtu);
    let options = BridgeOptions {
        interface: Some(name.clone()),
        icc: config.icc,
        masquerade: config.ip_masq,
        mtu: Some(mtu),
        ..BridgeOptions::default()
    };
    Ok(Net::new(definition, options, Some(bridge), true))
}

impl Choice<'_> {
    fn v4(&self, config: &Config, records: &mut Records) -> Result<Subnet> {
        let fixed = config.fixed_cidr.map(IpNet::V4);
        let around = |fixed: IpNet| {
            let present = self.present.filter(|net| net.contains(&fixed));
            present.or_else(|| with_first_host(fixed))
        };
        let configured = config.bridge_ip.map(IpNet::V4).or_else(|| fixed.and_then(around));
        let remembered = records.bridge_ip.map(IpNet::V4);
        let given = (self.pools, self.taken);
        let address = bridge::choose_address(configured, remembered, self.present, given)?;
        // A configured address is not a choice to remember.
        if let (None, IpNet::V4(v4)) = (configured, address) {
            records.bridge_ip = Some(v4);
        }
        subnet(address, fixed, config.default_gateway.map(IpAddr::V4))
    }

    fn v6(&self, config: &Config, records: &mut Records) -> Result<Subnet> {
        let fixed = config.fixed_cidr_v6.map(IpNet::V6);
        let configured = config.bridge_ipv6.map(IpNet::V6);
        let configured = configured.or_else(|| fixed.and_then(with_first_host));
        let is_free = |net: &IpNet| !self.taken.iter().any(|other| overlap(net, other));
        let chosen = || {
            let is_v6 = |pool: &&AddressPool| Family::of_net(&pool.base) == Family::V6;
            let pools: Vec<AddressPool> = self.pools.iter().filter(is_v6).copied().collect();
            choose_subnet(&pools, self.taken).and_then(with_first_host)
        };
        let remembered = records.bridge_ipv6.map(IpNet::V6).filter(is_free);
        let address = configured.or(remembered).or_else(chosen).ok_or_else(|| {
            Error::internal("all predefined IPv6 address pools have been fully subnetted")
        })?;
        if let (None, IpNet::V6(v6)) = (configured, address) {
            records.bridge_ipv6 = Some(v6);
        }
        subnet(address, fixed, config.default_gateway_v6.map(IpAddr::V6))
    }
}

/// The subnet of the bridge's own address, of which containers get `range`.
fn subnet(address: IpNet, range: Option<IpNet>, next_hop: Option<IpAddr>) -> Result<Subnet> {
    let subnet = address.trunc();
    if let Some(range) = range.filter(|range| !subnet.contains(range)) {
        let message = format!("fixed-cidr {range} is not inside the default bridge's {subnet}");
        return Err(Error::invalid(message));
    }
    if let Some(ip) = next_hop.filter(|ip| !subnet.contains(ip)) {
        let message = format!("default gateway {ip} is not inside the default bridge's {subnet}");
        return Err(Error::invalid(message));
    }
    let name = next_hop_name(Family::of_net(&subnet)).to_owned();
    Ok(Subnet {
        subnet,
        range,
        gateway: Some(address.addr()),
        auxiliary: next_hop.map(|ip| (name, ip)).into_iter().collect(),
        chosen: true,
    })
}

fn with_first_host(subnet: IpNet) -> Option<IpNet> {
    IpNet::new(first_host(&subnet)?, subnet.prefix_len()).ok()
}

/// The bridge's address in a subnet.
fn own_address(subnet: &Subnet) -> Option<IpNet> {
    IpNet::new(subnet.gateway?, subnet.subnet.prefix_len()).ok()
}

fn options(config: &Config, mtu: u16) -> BTreeMap<String, String> {
    [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", config.icc.to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", config.ip_masq.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", config.default_host_ip.to_string()),
        ("com.docker.network.bridge.name", config.bridge_name.clone()),
        ("com.docker.network.driver.mtu", mtu.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
