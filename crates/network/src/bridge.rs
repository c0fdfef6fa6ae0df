//! Bridges: made, or taken over and brought in line with what is wanted.

use std::fs;
use std::io;
use std::net::IpAddr;

use davit_types::{Context, Error, Result};
use ipnet::IpNet;

use crate::firewall::table::Family;
use crate::ipam::{AddressPool, choose_subnet, first_host, overlap};
use crate::link;
use crate::netlink::Connection;
use crate::store::random;

/// The bridge as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: u16,
}

/// A bridge as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// The host's own addresses, with their subnets.
    pub(crate) addresses: &'a [IpNet],
    pub(crate) ipv6: bool,
    pub(crate) mtu: u16,
}

/// Makes the bridge what is wanted. Addresses it has beyond that are taken away.
pub(crate) fn ensure(route: &Connection, wanted: &Wanted<'_>) -> Result<Bridge> {
    let name = wanted.name;
    let index = ensure_link(route, name)?;
    let disable_ipv6 = if wanted.ipv6 { "0" } else { "1" };
    write_if_there(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), disable_ipv6)?;
    let present = link::addresses(route, index).context(|| format!("list addresses of {name}"))?;
    for other in present.iter().filter(|other| !wanted.addresses.contains(other)) {
        link::delete_address(route, index, *other)
            .context(|| format!("delete address {other} of {name}"))?;
    }
    for address in wanted.addresses {
        link::add_address(route, index, *address)
            .context(|| format!("add address {address} to {name}"))?;
    }
    link::set_up(route, index, wanted.mtu).context(|| format!("take {name} up"))?;
    // A connection to a port published on 127.0.0.1 leaves by the bridge with that source.
    write_setting(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")?;
    write_setting("/proc/sys/net/ipv4/ip_forward", "1")?;
    if wanted.ipv6 {
        write_setting("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(Bridge { name: name.to_owned(), index, mtu: wanted.mtu })
}

/// The IPv4 addresses a bridge that may be there has.
pub(crate) fn present_address(route: &Connection, name: &str) -> Result<(Option<IpNet>, Vec<u32>)> {
    let Some(found) = link::link(route, name).context(|| format!("look for bridge {name}"))? else {
        return Ok((None, Vec::new()));
    };
    let addresses =
        link::addresses(route, found.index).context(|| format!("list addresses of {name}"))?;
    let first = addresses.into_iter().find(|net| Family::of_net(net) == Family::V4);
    Ok((first, vec![found.index]))
}

/// The default bridge's own address: configured, remembered, found on the bridge, or the first of
/// the first free pool, in this order. A remembered subnet that is routed elsewhere by now is given
/// up.
pub(crate) fn choose_address(
    configured: Option<IpNet>,
    remembered: Option<IpNet>,
    present: Option<IpNet>,
    (pools, taken): (&[AddressPool], &[IpNet]),
) -> Result<IpNet> {
    let is_free = |net: &IpNet| !taken.iter().any(|other| overlap(net, other));
    let v4: Vec<AddressPool> =
        pools.iter().filter(|pool| Family::of_net(&pool.base) == Family::V4).copied().collect();
    let chosen = || {
        let subnet = choose_subnet(&v4, taken)?;
        IpNet::new(first_host(&subnet)?, subnet.prefix_len()).ok()
    };
    configured
        .or(remembered.filter(is_free))
        .or(present)
        .or_else(chosen)
        .ok_or_else(|| Error::internal("all predefined address pools have been fully subnetted"))
}

/// Deletes a bridge; none there is no error.
pub(crate) fn delete(route: &Connection, name: &str) -> Result<()> {
    link::delete_link(route, name).context(|| format!("delete bridge {name}"))
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

/// Writes a setting of the kernel unless it has that value: it may be read-only and right.
fn write_setting(path: &str, value: &str) -> Result<()> {
    let present = fs::read_to_string(path).context(|| format!("read {path}"))?;
    if present.trim() == value {
        return Ok(());
    }
    fs::write(path, value).context(|| format!("write {value} to {path}"))
}

/// Like [`write_setting`]; a kernel without IPv6 has no such settings.
fn write_if_there(path: &str, value: &str) -> Result<()> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => write_setting(path, value),
    }
}

/// An address with its subnet.
pub(crate) fn with_prefix(ip: IpAddr, subnet: &IpNet) -> Option<IpNet> {
    IpNet::new(ip, subnet.prefix_len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a subnet")
    }

    #[test]
    fn the_configured_address_wins_then_the_remembered_one() {
        let (bip, old) = (Some(net("10.1.0.1/16")), Some(net("172.18.0.1/16")));
        let choose = |bip, old, present: Option<IpNet>, routed: &[_]| {
            let pools = crate::ipam::default_pools();
            choose_address(bip, old, present, (&pools, routed)).expect("an address")
        };
        let found = Some(net("10.9.0.1/16"));
        assert_eq!(choose(bip, old, None, &[]), net("10.1.0.1/16"));
        assert_eq!(choose(None, old, found, &[]), net("172.18.0.1/16"));
        assert_eq!(choose(None, old, None, &[net("172.16.0.0/12")]), net("192.168.0.1/20"));
        assert_eq!(choose(None, None, found, &[]), net("10.9.0.1/16"));
        assert_eq!(choose(None, None, None, &[]), net("172.17.0.1/16"));
    }

    #[test]
    fn random_hardware_addresses_are_local_and_unicast() {
        for _ in 0..100 {
            assert_eq!(random_mac().expect("random bytes")[0] & 3, 2);
        }
    }
}
