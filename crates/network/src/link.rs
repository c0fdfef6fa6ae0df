//! Interfaces, addresses and routes: the requests to the kernel's route family.
//!
//! A container's veth pair comes into being by one request: the host's end in the bridge and up,
//! the other end as `eth0` in the container's namespace, with its hardware address.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{Batch, CREATE, Connection, EXCLUSIVE, REPLACE};

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// 100 ms in all; then the container starts without.
const CARRIER_POLLS: u32 = 500;
const CARRIER_POLL: Duration = Duration::from_micros(200);

/// An interface, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Index of the bridge it is a port of.
    pub(crate) master: Option<u32>,
    /// `bridge`, `veth`, ...
    pub(crate) kind: Option<String>,
    pub(crate) mtu: Option<u32>,
    /// Whether it carries packets now.
    pub(crate) is_operational: bool,
}

/// A veth pair to make.
#[derive(Debug, Clone)]
pub(crate) struct Veth<'a> {
    /// Name of the host's end.
    pub(crate) host: &'a str,
    /// Name of the container's.
    pub(crate) inside: &'a str,
    /// Index of the bridge.
    pub(crate) bridge: u32,
    pub(crate) mtu: u16,
    /// Hardware address of the container's end.
    pub(crate) mac: Mac,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) port: Port,
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Port {
    /// Kept from other isolated ports.
    pub(crate) isolated: bool,
    /// May be sent back what came from it.
    pub(crate) hairpin: bool,
}

/// All interfaces.
pub(crate) fn links(route: &Connection) -> io::Result<Vec<Link>> {
    let found = route.dump_route(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(found.iter().filter_map(|payload| parse_link(payload)).collect())
}

/// The interface of that name.
pub(crate) fn link(route: &Connection, name: &str) -> io::Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut payload = vec![0; netlink_packet_core::Emitable::buffer_len(&message)];
    netlink_packet_core::Emitable::emit(&message, &mut payload);
    const RTM_GETLINK: u16 = 18;
    match route.get(RTM_GETLINK, &payload) {
        Ok(found) => Ok(parse_link(&found)),
        Err(error) if is_no_device(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a bridge, down, with a hardware address that doesn't follow its ports'.
pub(crate) fn create_bridge(route: &Connection, name: &str, mac: Mac) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    let mut batch = Batch::default();
    batch.push_route(CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message));
    route.send_all(&batch)
}

/// Gives an interface its MTU and takes it up.
pub(crate) fn set_up(route: &Connection, index: u32, mtu: u16) -> io::Result<()> {
    let mut message = up(index);
    message.attributes.push(LinkAttribute::Mtu(u32::from(mtu)));
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::SetLink(message));
    route.send_all(&batch)
}

/// Takes the loopback interface of the connection's namespace up.
pub(crate) fn set_loopback_up(route: &Connection) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::SetLink(loopback_up()));
    route.send_all(&batch)
}

/// Deletes an interface; none of that name is no error.
pub(crate) fn delete_link(route: &Connection, name: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::DelLink(message));
    match route.send_all(&batch) {
        Err(error) if is_no_device(&error) => Ok(()),
        result => result,
    }
}

/// The addresses of an interface, but those the kernel gives itself.
pub(crate) fn addresses(route: &Connection, index: u32) -> io::Result<Vec<IpNet>> {
    let message = AddressMessage::default();
    let found = route.dump_route(&RouteNetlinkMessage::GetAddress(message))?;
    let own = |payload: &Vec<u8>| {
        let message = AddressMessage::parse(payload).ok()?;
        let address = |local: bool| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) if local => Some(*ip),
                AddressAttribute::Address(ip) if !local => Some(*ip),
                _ => None,
            })
        };
        let address = address(true).or_else(|| address(false))?;
        let net = IpNet::new(address, message.header.prefix_len).ok()?;
        let is_given = message.header.scope != AddressScope::Link;
        (message.header.index == index && is_given).then_some(net)
    };
    Ok(found.iter().filter_map(own).collect())
}

/// Adds an address to an interface; having it already is no error.
pub(crate) fn add_address(route: &Connection, index: u32, address: IpNet) -> io::Result<()> {
    let mut batch = Batch::default();
    let message = RouteNetlinkMessage::NewAddress(address_message(index, address));
    batch.push_route(CREATE | REPLACE, &message);
    route.send_all(&batch)
}

/// Takes an address from an interface.
pub(crate) fn delete_address(route: &Connection, index: u32, address: IpNet) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::DelAddress(address_message(index, address)));
    route.send_all(&batch)
}

/// A route, as far as it matters here.
struct Route {
    /// Absent: the default route.
    destination: Option<IpNet>,
    through: Option<u32>,
}

fn routes(route: &Connection) -> io::Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        found.extend(route.dump_route(&RouteNetlinkMessage::GetRoute(message))?);
    }
    Ok(found.iter().filter_map(|payload| parse_route(payload)).collect())
}

fn parse_route(payload: &[u8]) -> Option<Route> {
    let message = RouteMessage::parse(payload).ok()?;
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let through = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    let length = message.header.destination_prefix_length;
    let destination = match destination {
        Some(ip) if length > 0 => Some(IpNet::new(ip, length).ok()?),
        _ => None,
    };
    Some(Route { destination, through })
}

/// The subnets that are routed, except by the default route and through the interfaces `but`.
pub(crate) fn routed_subnets(route: &Connection, but: &[u32]) -> io::Result<Vec<IpNet>> {
    let counts = |route: Route| {
        let elsewhere = route.through.is_none_or(|index| !but.contains(&index));
        route.destination.filter(|_| elsewhere)
    };
    Ok(routes(route)?.into_iter().filter_map(counts).collect())
}

/// The MTU of the interface that the default route goes through.
pub(crate) fn egress_mtu(route: &Connection) -> io::Result<Option<u16>> {
    let through = routes(route)?
        .into_iter()
        .find_map(|route| route.through.filter(|_| route.destination.is_none()));
    let Some(index) = through else { return Ok(None) };
    let link = links(route)?.into_iter().find(|link| link.index == index);
    Ok(link.and_then(|link| link.mtu).and_then(|mtu| u16::try_from(mtu).ok()))
}

/// Makes a veth pair between the host's bridge and `namespace`. The host learns the container's
/// hardware address right away: it may remember another one of the address's last owner.
pub(crate) fn create_veth(
    host: &Connection,
    namespace: BorrowedFd<'_>,
    veth: &Veth<'_>,
) -> io::Result<()> {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(veth.inside.to_owned()));
    peer.attributes.push(LinkAttribute::Address(veth.mac.to_vec()));
    peer.attributes.push(LinkAttribute::Mtu(u32::from(veth.mtu)));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
    let mut message = up(0);
    message.attributes.push(LinkAttribute::IfName(veth.host.to_owned()));
    message.attributes.push(LinkAttribute::Mtu(u32::from(veth.mtu)));
    message.attributes.push(LinkAttribute::Controller(veth.bridge));
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let mut batch = Batch::default();
    batch.push_route(CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message));
    if veth.port != Port::default() {
        batch.push_route(0, &port_settings(veth.host, veth.port));
    }
    for ip in veth.addresses {
        batch.push_route(CREATE | REPLACE, &neighbour(veth, *ip));
    }
    route_result(host.send(&batch)?)
}

/// Waits until both ends of a veth pair carry packets: the kernel gets to that in its own time, and
/// a first packet that comes too early is lost, which costs TCP a second. Asking makes newer
/// kernels (6.8) do it at once.
pub(crate) fn await_veth(
    (host, name): (&Connection, &str),
    (inside, interface): (&Connection, &str),
) -> io::Result<()> {
    for (connection, name) in [(inside, interface), (host, name)] {
        for _ in 0..CARRIER_POLLS {
            if link(connection, name)?.is_some_and(|link| link.is_operational) {
                break;
            }
            thread::sleep(CARRIER_POLL);
        }
    }
    Ok(())
}

/// Inside the container's namespace: sets the hardware address `interface` has already, on which
/// the kernel tells it to the neighbours if `arp_notify` is set.
pub(crate) fn touch_mac(inside: &Connection, interface: &str, mac: Mac) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(interface.to_owned()));
    message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::SetLink(message));
    inside.send_all(&batch)
}

/// Inside the container's namespace: loopback up, the interface's addresses, and up with it.
pub(crate) fn configure_container(
    inside: &Connection,
    interface: &str,
    addresses: &[IpNet],
) -> io::Result<()> {
    // Not always 2: modules may put a device of their own into every new namespace.
    let index = index_of(inside, interface)?;
    let mut batch = Batch::default();
    batch.push_route(0, &RouteNetlinkMessage::SetLink(loopback_up()));
    for address in addresses {
        let address = RouteNetlinkMessage::NewAddress(address_message(index, *address));
        batch.push_route(CREATE | EXCLUSIVE, &address);
    }
    batch.push_route(0, &RouteNetlinkMessage::SetLink(up(index)));
    inside.send_all(&batch)
}

/// Inside the container's namespace: makes the default route of the gateway's family go there.
pub(crate) fn set_default_route(
    inside: &Connection,
    interface: &str,
    gateway: IpAddr,
) -> io::Result<()> {
    let index = index_of(inside, interface)?;
    let mut batch = Batch::default();
    let message = RouteNetlinkMessage::NewRoute(default_route(index, gateway));
    batch.push_route(CREATE | REPLACE, &message);
    inside.send_all(&batch)
}

/// Inside the container's namespace: there is no default route of this family any more.
pub(crate) fn delete_default_route(
    inside: &Connection,
    interface: &str,
    gateway: IpAddr,
) -> io::Result<()> {
    let Some(found) = link(inside, interface)? else { return Ok(()) };
    let mut batch = Batch::default();
    let message = RouteNetlinkMessage::DelRoute(default_route(found.index, gateway));
    batch.push_route(0, &message);
    match inside.send_all(&batch) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Ok(())
        }
        result => result,
    }
}

fn index_of(route: &Connection, interface: &str) -> io::Result<u32> {
    let found = link(route, interface)?.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("{interface} is not there"))
    })?;
    Ok(found.index)
}

/// Colon-separated hex digits.
pub(crate) fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads six colon- or dash-separated pairs of hex digits.
pub(crate) fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // The lowest bit of the first byte marks a group address.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

fn route_result(failed: Vec<(u32, io::Error)>) -> io::Result<()> {
    failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
}

/// The request that takes an interface up.
pub(crate) fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// The loopback interface is always the first one.
fn loopback_up() -> LinkMessage {
    up(1)
}

fn port_settings(name: &str, port: Port) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let data =
        vec![InfoBridgePort::Isolated(port.isolated), InfoBridgePort::HairpinMode(port.hairpin)];
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(data)),
    ]));
    RouteNetlinkMessage::NewLink(message)
}

fn neighbour(veth: &Veth<'_>, ip: IpAddr) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match ip {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.header.ifindex = veth.bridge;
    message.header.state = NeighbourState::Reachable;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(veth.mac.to_vec()));
    RouteNetlinkMessage::NewNeighbour(message)
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    match address {
        IpNet::V4(net) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // Nobody else has it: usable at once.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message
}

fn default_route(index: u32, gateway: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, address) = match gateway {
        IpAddr::V4(ip) => (AddressFamily::Inet, RouteAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, RouteAddress::Inet6(ip)),
    };
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Gateway(address));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    let message = LinkMessage::parse(payload).ok()?;
    let mut link = Link { index: message.header.index, ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = Some(mtu),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::OperState(state) => link.is_operational = state == State::Up,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(link)
}

fn is_no_device(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_strictly() {
        let mac = [0x02, 0x42, 0xac, 0x11, 0x00, 0x02];
        assert_eq!(parse_mac("02:42:ac:11:00:02"), Some(mac));
        assert_eq!(parse_mac("02-42-AC-11-00-02"), Some(mac));
        assert_eq!(format_mac(mac), "02:42:ac:11:00:02");
        for bad in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:0:2", "01:00:5e:00:00:01"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
