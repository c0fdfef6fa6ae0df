//! The default bridge: made, or taken over and brought in line with the configuration.

use std::fs;
use std::net::Ipv4Addr;

use davit_types::{Context, Error, Result};
use ipnet::Ipv4Net;

use crate::config::Config;
use crate::ipam::{choose_subnet, overlap};
use crate::link;
use crate::netlink::Connection;
use crate::store::random;

/// The bridge as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    /// Its own address, the containers' gateway, with the subnet.
    pub(crate) address: Ipv4Net,
}

impl Bridge {
    /// The containers' next hop.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.address.addr()
    }
}

/// Makes the bridge what the configuration says. `remembered` is the subnet it was given before.
pub(crate) fn ensure(
    route: &Connection,
    config: &Config,
    remembered: Option<Ipv4Net>,
) -> Result<Bridge> {
    let name = &config.bridge_name;
    let index = ensure_link(route, name)?;
    let present = link::addresses(route, index).context(|| format!("list addresses of {name}"))?;
    let routed = link::routed_subnets(route, Some(index)).context(|| "list routes")?;
    let address = choose_address(config.bridge_ip, remembered, &present, &routed)?;

    for other in present.iter().filter(|other| **other != address) {
        link::delete_address(route, index, *other)
            .context(|| format!("delete address {other} of {name}"))?;
    }
    link::add_address(route, index, address)
        .context(|| format!("add address {address} to {name}"))?;
    link::set_up(route, index, config.mtu).context(|| format!("take {name} up"))?;
    // A connection to a port published on 127.0.0.1 leaves by the bridge with that source.
    write_setting(&format!("conf/{name}/route_localnet"), "1")?;
    write_setting("ip_forward", "1")?;
    Ok(Bridge { index, address })
}

/// Configured, remembered, found on the bridge, or the first free pool, in this order. A remembered
/// subnet that is routed elsewhere by now is given up.
fn choose_address(
    configured: Option<Ipv4Net>,
    remembered: Option<Ipv4Net>,
    present: &[Ipv4Net],
    routed: &[Ipv4Net],
) -> Result<Ipv4Net> {
    let is_free = |net: &Ipv4Net| !routed.iter().any(|other| overlap(net, other));
    configured
        .or(remembered.filter(is_free))
        .or(present.first().copied())
        .or_else(|| choose_subnet(routed))
        .ok_or_else(|| Error::internal("all predefined address pools have been fully subnetted"))
}

fn ensure_link(route: &Connection, name: &str) -> Result<u32> {
    let find = || link::link(route, name).context(|| format!("look for bridge {name}"));
    if let Some(found) = find()? {
        if found.kind.as_deref() != Some("bridge") {
            return Err(Error::conflict(format!("interface {name} exists and is not a bridge")));
        }
        return Ok(found.index);
    }
    link::create_bridge(route, name, random_mac()?).context(|| format!("create bridge {name}"))?;
    let found = find()?.ok_or_else(|| Error::internal(format!("bridge {name} vanished")))?;
    Ok(found.index)
}

/// A random unicast hardware address of the locally administered kind.
pub(crate) fn random_mac() -> Result<link::Mac> {
    let mut mac = random::<6>()?;
    mac[0] = (mac[0] | 2) & !1;
    Ok(mac)
}

/// Writes `/proc/sys/net/ipv4/<name>` unless it has that value: it may be read-only and right.
fn write_setting(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let present = fs::read_to_string(&path).context(|| format!("read {path}"))?;
    if present.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).context(|| format!("write {value} to {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a subnet")
    }

    #[test]
    fn the_configured_address_wins_then_the_remembered_one() {
        let (bip, old) = (Some(net("10.1.0.1/16")), Some(net("172.18.0.1/16")));
        let choose = |bip, old, present: &[_], routed: &[_]| {
            choose_address(bip, old, present, routed).expect("an address")
        };
        assert_eq!(choose(bip, old, &[], &[]), net("10.1.0.1/16"));
        assert_eq!(choose(None, old, &[net("10.9.0.1/16")], &[]), net("172.18.0.1/16"));
        assert_eq!(choose(None, old, &[], &[net("172.16.0.0/12")]), net("192.168.0.1/20"));
        assert_eq!(choose(None, None, &[net("10.9.0.1/16")], &[]), net("10.9.0.1/16"));
        assert_eq!(choose(None, None, &[], &[]), net("172.17.0.1/16"));
    }

    #[test]
    fn random_hardware_addresses_are_local_and_unicast() {
        for _ in 0..100 {
            assert_eq!(random_mac().expect("random bytes")[0] & 3, 2);
        }
    }
}
